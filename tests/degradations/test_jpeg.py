"""JPEG compression, compared with libjpeg and with DiffJPEG."""

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.fft import dctn, idctn

from lsr.degradations.canvas import Extent
from lsr.degradations.jpeg import compress

# Table K.1 of ITU-T T.81, rows of increasing vertical frequency.
LUMA = """16 11 10 16 24 40 51 61     12 12 14 19 26 58 60 55
          14 13 16 24 40 57 69 56     14 17 22 29 51 87 80 62
          18 22 37 56 68 109 103 77   24 35 55 64 81 104 113 92
          49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMA_CORNER = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


@pytest.fixture
def image(generator):
    """Smooth colours with edges and a little grain, (3, 200, 232)."""
    coarse = torch.rand((1, 3, 12, 14), generator=generator)
    x = F.interpolate(coarse, size=(200, 232), mode="bicubic")[0]
    x[:, 60:120, 50:130] = torch.rand((3, 1, 1), generator=generator)
    return (x + 0.02 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def pillow(x, quality):
    stream = io.BytesIO()
    pixels = (x * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1) / 255


def diffjpeg(x, quality):
    """The approximation of the published pipeline, block by block, in double precision."""
    luma = np.array(LUMA.split(), float).reshape(8, 8).T
    chroma = np.full((8, 8), 99.0)
    chroma[:4, :4] = CHROMA_CORNER
    factor = 50 / quality if quality < 50 else 2 - quality / 50
    height, width = x.shape[1:]
    rgb = np.pad(x.double().numpy() * 255, ((0, 0), (0, -height % 16), (0, -width % 16)))
    r, g, b = rgb
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.168736 * r - 0.331264 * g + 0.5 * b + 128
    cr = 0.5 * r - 0.418688 * g - 0.081312 * b + 128
    cb, cr = (c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean((1, 3)) for c in (cb, cr))

    def code(plane, table):
        out = np.empty_like(plane)
        for top in range(0, plane.shape[0], 8):
            for left in range(0, plane.shape[1], 8):
                block = np.s_[top : top + 8, left : left + 8]
                coefficients = dctn(plane[block] - 128, norm="ortho")
                coefficients = np.round(coefficients / (table * factor)) * table * factor
                out[block] = idctn(coefficients, norm="ortho") + 128
        return out

    y = code(y, luma)
    cb, cr = (code(c, chroma).repeat(2, 0).repeat(2, 1) - 128 for c in (cb, cr))
    out = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
    return torch.from_numpy(out[:, :height, :width].clip(0, 255) / 255)


@pytest.mark.parametrize("size", [(64, 96), (100, 83), (5, 3)])
@pytest.mark.parametrize("quality", [30.0, 49.9, 50.0, 71.37, 95.0])
def test_compat_is_diffjpeg(image, quality, size):
    x = image[:, : size[0], : size[1]]
    difference = (compress(x[None], [quality], "compat")[0] - diffjpeg(x, quality)).abs()
    # A quotient on the rounding border may fall to either side; it moves a whole block.
    assert (difference > 1e-5).double().mean() <= 1e-3


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
@pytest.mark.parametrize("size", [(200, 232), (199, 231), (100, 83)])
def test_true_is_libjpeg_to_within_its_arithmetic(image, quality, size):
    x = image[:, : size[0], : size[1]]
    difference = 255 * (compress(x[None], [quality + 0.3], "true")[0] - pillow(x, quality))
    assert 20 * math.log10(255 / difference.square().mean().sqrt().item()) >= 45
    assert difference.abs().mean() <= 0.7


@pytest.mark.parametrize("mode", ["true", "compat", "libjpeg"])
@pytest.mark.parametrize("quality", [1, 100])
def test_extreme_qualities_are_finite(image, mode, quality):
    out = compress(image[None], [quality], mode)
    assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1
    assert mode == "compat" or torch.equal(out, (out * 255).round() / 255)
    assert (out - image).abs().mean() < (0.02 if quality == 100 else 0.5)


def test_libjpeg_is_libjpeg_to_the_byte(image):
    for quality in (30, 77, 100):
        assert torch.equal(compress(image[None], [quality], "libjpeg")[0], pillow(image, quality))


def test_only_compat_swaps_the_luma_frequencies():
    """JPEG divides horizontal frequency 1, vertical frequency 5 by 35; a transposed table by 58."""
    y, x = np.mgrid[:16, :16]
    wave = 128 + 5.75 * np.cos((2 * x + 1) * math.pi / 16) * np.cos((2 * y + 1) * 5 * math.pi / 16)
    image = torch.from_numpy(wave / 255).float().expand(1, 3, 16, 16)
    for mode, survives in (("true", True), ("compat", False), ("libjpeg", True)):
        assert (compress(image, [50], mode).std() > 0.005) == survives, mode


def test_only_compat_bleeds_black_into_the_border():
    flat = torch.full((1, 3, 100, 100), 200 / 255)
    assert (compress(flat, [30], "compat") - flat).abs().max() > 2 / 255
    assert (compress(flat, [30], "true") - flat).abs().max() <= 2 / 255


@pytest.mark.parametrize("mode", ["true", "compat"])
def test_a_ragged_batch_is_compressed_image_by_image(image, mode):
    sizes = [(64, 96), (33, 50), (1, 1), (17, 96), (50, 15)]
    qualities = [40, 95, 60, 31.7, 75]
    canvas = image[None, :, :64, :96].repeat(5, 1, 1, 1)
    together = compress(canvas, qualities, mode, Extent.of(sizes, canvas.device))
    for i, (h, w) in enumerate(sizes):
        alone = compress(canvas[i : i + 1, :, :h, :w], [qualities[i]], mode)
        assert (together[i, :, :h, :w] - alone[0]).abs().max() < 1e-5, i
