import pytest
import torch

from lsr.inference.color_fix import adain, fix_rows, low_pass, wavelet


@pytest.fixture
def images(generator):
    """Return an SR image with a colour cast, and its base, without the cast and without detail."""
    base = low_pass(torch.rand(3, 300, 90, generator=generator)) * 2
    detail = 0.1 * torch.randn(base.shape, generator=generator)
    cast = torch.tensor([0.2, 0.0, 0.1])[:, None, None]
    return (0.6 * base + cast + detail).clamp(0, 1), base.clamp(0, 1)


def test_adain_gives_every_channel_the_mean_and_deviation_of_the_base(images):
    sr, base = images
    fixed = adain(sr, base)
    torch.testing.assert_close(fixed.mean((1, 2)), base.mean((1, 2)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fixed.std((1, 2)), base.std((1, 2)), rtol=1e-3, atol=1e-5)
    assert torch.corrcoef(torch.stack([fixed[0].flatten(), sr[0].flatten()]))[0, 1] > 0.9999


def test_wavelet_takes_low_frequencies_from_the_base_and_keeps_the_high_ones(images):
    sr, base = images
    fixed = wavelet(sr, base)
    torch.testing.assert_close(fixed - low_pass(base), sr - low_pass(sr), rtol=1e-4, atol=1e-5)
    left = (low_pass(fixed) - low_pass(base)).abs().mean()
    assert left < 0.2 * (low_pass(sr) - low_pass(base)).abs().mean()
    assert torch.equal(wavelet(base, base), base)


def test_low_pass_keeps_constants_and_its_kernel_is_the_product_of_five(generator):
    torch.testing.assert_close(low_pass(torch.full((3, 40, 40), 0.3)), torch.full((3, 40, 40), 0.3))
    impulse = torch.zeros(1, 127, 127)
    impulse[0, 63, 63] = 1
    row = torch.ones(1)
    for level in range(5):
        holed = torch.zeros(2 ** (level + 1) + 1)
        holed[[0, 2**level, -1]] = torch.tensor([0.25, 0.5, 0.25])
        row = torch.nn.functional.conv1d(
            row[None, None], holed[None, None], padding=len(holed) - 1
        )[0, 0]
    torch.testing.assert_close(
        low_pass(impulse)[0, 32:95, 32:95], row[:, None] * row, rtol=1e-4, atol=1e-8
    )


@pytest.mark.parametrize(
    ("kind", "whole"), [("adain", adain), ("wavelet", wavelet), ("none", lambda sr, base: sr)]
)
@pytest.mark.parametrize("height", [1, 40, 300])
def test_a_stream_is_fixed_like_the_whole_picture(images, kind, whole, height):
    sr, base = (image[:, :height] for image in images)
    fixed = torch.cat(
        list(fix_rows(kind, iter(sr.split(37, dim=1)), iter(base.split(50, dim=1)), height)), dim=1
    )
    torch.testing.assert_close(fixed, whole(sr, base), rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("kind", ["adain", "wavelet"])
def test_the_order_of_the_channels_in_memory_does_not_matter(images, kind):
    sr, base = images
    last = sr.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    fixed = list(fix_rows(kind, iter(last.split(37, dim=1)), iter(base.split(50, dim=1)), 300))
    expected = list(fix_rows(kind, iter(sr.split(37, dim=1)), iter(base.split(50, dim=1)), 300))
    torch.testing.assert_close(torch.cat(fixed, dim=1), torch.cat(expected, dim=1))


def test_a_flat_picture_stays_finite():
    flat = torch.full((3, 5, 5), 0.5)
    assert torch.equal(adain(flat, flat), flat)
