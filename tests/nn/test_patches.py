import pytest
import torch
import torch.nn.functional as F

from lsr.nn.patches import from_patches, to_patches


@pytest.mark.parametrize("shape", [(3, 12, 20), (2, 5, 4, 8)])
def test_patches_are_those_of_pytorch_and_can_be_put_back(generator, shape):
    image = torch.randn(shape, generator=generator)
    patches = to_patches(image, 4)
    assert torch.equal(patches, F.pixel_unshuffle(image, 4)) and patches.is_contiguous()
    assert torch.equal(from_patches(patches, 4), image) and from_patches(patches, 4).is_contiguous()
