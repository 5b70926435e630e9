"""Blur and unsharp mask, compared with plain correlations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from lsr.degradations import filtering
from lsr.degradations.canvas import Extent
from lsr.degradations.filtering import blur, blur_ragged, mirror, unsharp_mask
from lsr.degradations.kernels import make_kernels
from lsr.degradations.parameters import Kernel

KERNELS = [
    Kernel("aniso", 7, 2, 0.5, 0.4),
    Kernel("sinc", 13, cutoff=1.5),
    Kernel("plateau_aniso", 15, 3, 1, -1, 1.5),
    Kernel("iso", 21, 3, 3),
]
SIZES = [(1, 1), (1, 5), (3, 2), (11, 64), (16, 16), (65, 63), (130, 33), (200, 210)]


def correlate(x, kernel):
    """Correlation with `mode="mirror"`, the reflection at the centre of the border pixel."""
    planes = x.double().numpy()
    return np.stack([ndimage.correlate(plane, kernel, mode="mirror") for plane in planes])


@pytest.mark.parametrize("size", SIZES)
def test_blur_is_a_reflected_correlation(size, generator):
    x = torch.rand((3, *size), generator=generator)
    for values in make_kernels(KERNELS):
        assert np.abs(blur(x, values).numpy() - correlate(x, values.double().numpy())).max() < 2e-6


def test_blur_compiles_a_bounded_number_of_convolutions(monkeypatch):
    """The convolution library never frees its routines, of which it makes one per shape."""
    shapes = set()
    convolve = F.conv2d

    def recording(x, weight, groups):
        shapes.add((x.shape, weight.shape))
        return convolve(x, weight, groups=groups)

    monkeypatch.setattr(filtering.F, "conv2d", recording)
    values = make_kernels(KERNELS)
    for side in range(1, 200, 3):
        blur(torch.zeros((3, side, 2 * side)), values[side % 4])
    assert 4 <= len(shapes) <= 4 * len(KERNELS)


def test_a_ragged_batch_is_blurred_image_by_image(generator):
    x = torch.rand((len(SIZES), 3, 200, 210), generator=generator)
    values = make_kernels([KERNELS[i % 4] for i in range(len(SIZES))])
    together = blur_ragged(x, values, 21, Extent.of(SIZES, x.device))
    assert together.isfinite().all()
    for i, (h, w) in enumerate(SIZES):
        assert (together[i, :, :h, :w] - blur(x[i, :, :h, :w], values[i])).abs().max() < 2e-6


def test_mirror_visits_every_pixel_back_and_forth():
    folded = mirror(torch.arange(-5, 6), torch.tensor(3)).tolist()
    assert "".join(map(str, folded)) == "10121012101"
    assert mirror(torch.arange(-3, 3), torch.tensor(1)).tolist() == [0] * 6


def full_unsharp_mask(x):
    """The 51 x 51 convolution as published."""
    taps = torch.exp(-((torch.arange(51, dtype=torch.float64) - 25) ** 2) / (2 * 8.0**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2

    def gaussian(image):
        return F.conv2d(F.pad(image[:, None], (25,) * 4, mode="reflect"), kernel[None, None])[:, 0]

    x = x.double()
    residual = x - gaussian(x)
    soft = gaussian((residual.abs() * 255 > 10).double())
    return soft * (x + 0.5 * residual).clamp(0, 1) + (1 - soft) * x


@pytest.mark.parametrize("size", [(26, 40), (64, 64), (97, 130)])
def test_unsharp_mask_is_the_published_one(size, generator):
    coarse = torch.rand((1, 3, 9, 9), generator=generator)
    x = F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)
    difference = (unsharp_mask(x) - full_unsharp_mask(x)).abs()
    # Where the residual equals the threshold up to rounding, the mask may flip.
    assert (difference > 1e-5).double().mean() <= 1e-4
    assert (unsharp_mask(x) - x).abs().max() > 0.02


def test_unsharp_mask_leaves_flat_and_tiny_images(generator):
    flat = torch.full((3, 40, 40), 0.3)
    assert torch.allclose(unsharp_mask(flat), flat, atol=1e-6)
    assert unsharp_mask(torch.rand((3, 1, 2), generator=generator)).isfinite().all()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_precision_of_the_training_does_not_reach_the_filters(precision, generator):
    x = torch.rand((3, 64, 64), generator=generator)
    exact = unsharp_mask(x)
    torch.set_float32_matmul_precision(precision)
    try:
        assert (unsharp_mask(x) - exact).abs().max() < 1e-5
    finally:
        torch.set_float32_matmul_precision("highest")
