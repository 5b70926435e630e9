"""Resizing, compared with `torch.nn.functional.interpolate`."""

import pytest
import torch
import torch.nn.functional as F

from lsr.degradations.resizing import plan, resize, resize_ragged, scaled_size

MODES = ("area", "bilinear", "bicubic")
FACTORS = (0.15, 0.2371, 0.4567, 0.5, 0.731, 0.999, 1.0, 1.003, 1.25, 1.5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("by_factor", [False, True])
@pytest.mark.parametrize("size", [(41, 53), (64, 96), (7, 30)])
def test_ragged_resizing_is_interpolate(size, by_factor, antialias, generator):
    """Double precision on both sides, so that the weights themselves are compared."""
    height, width = size
    x = torch.rand((1, 3, *size), generator=generator, dtype=torch.float64)
    cases = [(mode, factor) for mode in MODES for factor in FACTORS]
    plans, expected = [], []
    for mode, factor in cases:
        out = scaled_size(height, width, factor)
        plans.append(plan(height, width, out, mode, factor if by_factor else None))
        options = {"antialias": antialias} if mode != "area" else {}
        target = {"scale_factor": factor} if by_factor else {"size": out}
        unchanged = out == size  # interpolate would not always leave it alone
        expected.append(x[0] if unchanged else F.interpolate(x, mode=mode, **target, **options)[0])
    canvas = scaled_size(height, width, 1.6)
    result = resize_ragged(x.expand(len(cases), -1, -1, -1), plans, canvas, antialias)
    assert result.isfinite().all()
    for case, wanted, got in zip(cases, expected, result, strict=True):
        assert (got[:, : wanted.shape[1], : wanted.shape[2]] - wanted).abs().max() < 1e-12, case


@pytest.mark.parametrize("factor", [None, 0.37, 1.21])
@pytest.mark.parametrize("mode", MODES)
def test_one_image_and_a_ragged_batch_agree(mode, factor, generator):
    x = torch.rand((3, 50, 61), generator=generator)
    size = scaled_size(50, 61, factor) if factor else (33, 70)
    one = resize(x, size, mode, factor=factor)
    assert one.shape == (3, *size)
    ragged = resize_ragged(x[None], [plan(50, 61, size, mode, factor)], size, False)[0]
    assert (ragged - one).abs().max() < 1e-5


@pytest.mark.parametrize("mode", MODES)
def test_a_pixel_is_never_lost(mode, generator):
    x = torch.rand((3, 1, 3), generator=generator)
    assert resize(x, scaled_size(1, 3, 0.15), mode, factor=0.15).shape == (3, 1, 1)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_only_the_compatible_mapping_shifts_the_content(mode):
    """The values of a ramp of slope 1 are the HR positions that the result was sampled at."""
    ramp = torch.arange(400.0).expand(3, 20, 400)
    size = scaled_size(20, 400, 0.4567)
    centres = (torch.arange(size[1]) + 0.5) * 400 / size[1] - 0.5
    shift = {
        factor: (resize(ramp, size, mode, factor=factor)[0, 2] - centres).abs()[3:-3].max()
        for factor in (None, 0.4567)
    }
    assert shift[None] < 0.1 and shift[0.4567] > 1


@pytest.mark.parametrize("mode", MODES)
def test_the_number_of_threads_does_not_matter(mode, generator):
    x = torch.rand((3, 384, 392), generator=generator)

    def resized():
        return [resize(x, scaled_size(384, 392, f), mode, factor=f) for f in (0.3, 0.7, 1.3)]

    one = resized()
    torch.set_num_threads(2)  # set back to one before every test
    assert all(torch.equal(a, b) for a, b in zip(one, resized(), strict=True))
