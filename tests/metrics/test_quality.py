import numpy as np
import pytest
import torch

from lsr.metrics.quality import CARDS, Quality


@pytest.fixture(scope="module")
def quality():
    return Quality(tuple(CARDS))


def luma(x):
    """ITU-R BT.601 luma of 8-bit RGB in [0, 255]."""
    return 16 + x @ np.array([65.481, 128.553, 24.966]) / 255


def test_psnr_is_that_of_the_rounded_luma(quality, photo):
    rng = np.random.default_rng(0)
    noisy = np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255)
    sr, hr = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (noisy, photo.astype(float)))
    mse = np.mean((luma(np.rint(noisy)) - luma(photo.astype(float))) ** 2)
    assert quality(sr, hr)["psnr_y"].item() == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)


def test_identical_images_are_perfect_and_noise_is_worse(quality, photo):
    hr = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    same, little, much = (quality(hr + a * noise, hr) for a in (0.0, 0.05, 0.3))
    assert same["ssim_y"].item() == pytest.approx(1, abs=1e-6)
    for name in CARDS:
        assert same[name] > little[name] > much[name]


def test_one_value_per_image(quality, photo):
    hr = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    batch = torch.cat([hr, hr.flip(-1)])
    values = quality(batch * 0.9, batch)
    for name in CARDS:
        assert values[name].shape == (2,)
        assert values[name][0].item() == pytest.approx(quality(hr * 0.9, hr)[name].item(), abs=1e-4)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric magic; known are psnr_y"):
        Quality(("magic",))
