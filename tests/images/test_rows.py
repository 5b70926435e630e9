import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsr.images.resampling import upsample_bicubic
from lsr.images.rows import RowWindow, resize_rows, upsample_rows


@pytest.mark.parametrize("height", [1, 2, 31, 32, 33, 100])
def test_upsampling_by_blocks_is_upsampling_the_whole(generator, height):
    image = torch.rand(3, height, 9, generator=generator)
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    torch.testing.assert_close(
        torch.cat(list(upsample_rows(pixels, 4)), 1), upsample_bicubic(image[None], 4)[0]
    )


@pytest.mark.parametrize(
    "target",
    [(300, 200), (150, 100), (301, 77), (77, 301), (1, 1), (450, 600), (300, 17), (17, 200)],
)
def test_resizing_by_blocks_is_resizing_the_whole(generator, target):
    image = torch.rand(3, 300, 200, generator=generator)
    resized = torch.cat(list(resize_rows(iter(image.split(37, dim=1)), (300, 200), target)), 1)
    expected = F.interpolate(image[None], target, mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(resized, expected, rtol=1e-4, atol=5e-5)


def test_a_window_forgets_what_lies_above_it():
    blocks = (torch.full((1, 10, 2), float(number)) for number in range(100))
    window = RowWindow(blocks)
    for top in range(0, 900, 30):
        found = window.take(top, top + 50)
        assert found[0, :, 0].tolist() == [row // 10 for row in range(top, top + 50)]
        assert window._held is not None and window._held.untyped_storage().nbytes() <= 4 * 2 * 60


def test_a_stream_is_not_read_further_than_it_is_needed():
    read = []

    def rows():
        for number in range(100):
            read.append(number)
            yield torch.zeros(3, 10, 40)

    next(resize_rows(rows(), (1000, 40), (1000, 20)))
    assert len(read) == 1
    read.clear()
    next(resize_rows(rows(), (1000, 40), (500, 20)))
    assert len(read) <= 28
