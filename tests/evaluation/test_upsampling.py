import numpy as np
import pytest
import torch
from PIL import Image

from lsr.evaluation.data import Item
from lsr.evaluation.upsampling import upsampled
from lsr.images.resampling import upsample_bicubic


@pytest.fixture
def enlarge(tmp_path, photo):
    """Upsample a photograph of 10 x 9 pixels; returns it and the result, both in [0, 1]."""
    lr = photo[40:49, 20:30]
    Image.fromarray(lr).save(tmp_path / "lr.png")

    def run(method, width, height):
        return lr / 255, upsampled(
            Item("lr", tmp_path / "lr.png", None, None, "", size=(width, height)), method
        ).pixels

    return run


def along_an_axis(kernel, reach, size, target):
    """Return the matrix (target, size) that resizes one axis.

    Each row has the kernel around one target pixel, cut at the border and normalised to sum 1.
    """
    offsets = np.abs((np.arange(target)[:, None] + 0.5) * size / target - 0.5 - np.arange(size))
    weights = np.where(offsets < reach, kernel(offsets), 0)
    return weights / weights.sum(1, keepdims=True)


def keys(x, a=-0.5):
    return np.where(
        x < 1, (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    )


def lanczos(x):
    return np.sinc(x) * np.sinc(x / 3)


@pytest.mark.parametrize(("width", "height"), [(40, 36), (20, 18), (25, 31)])
def test_the_kernels_are_those_of_the_formulas_at_any_size(enlarge, width, height):
    lr, bicubic = enlarge("bicubic", width, height)
    expected = np.einsum(
        "yi,xj,ijc->yxc", along_an_axis(keys, 2, 9, height), along_an_axis(keys, 2, 10, width), lr
    )
    np.testing.assert_allclose(bicubic, expected, atol=1e-5)
    _, large = enlarge("lanczos", width, height)
    # Pillow resizes the rows first, and clips and rounds before it resizes the columns.
    rows = (
        np.rint(np.einsum("xj,ijc->ixc", along_an_axis(lanczos, 3, 10, width), lr).clip(0, 1) * 255)
        / 255
    )
    expected = np.einsum("yi,ixc->yxc", along_an_axis(lanczos, 3, 9, height), rows).clip(0, 1)
    np.testing.assert_allclose(large, expected, atol=2.1 / 255)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_the_one_of_validation_to_the_last_digit(enlarge, scale):
    lr, large = enlarge("bicubic", 10 * scale, 9 * scale)
    expected = upsample_bicubic(torch.from_numpy(lr).float().permute(2, 0, 1)[None], scale)
    torch.testing.assert_close(
        torch.from_numpy(large).permute(2, 0, 1)[None], expected, rtol=0, atol=0
    )
