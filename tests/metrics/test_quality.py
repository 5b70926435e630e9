import random

import numpy as np
import pyiqa
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from PIL import Image
from support.apple_gpu import apple_gpu, on_gpu

from lsr.metrics.quality import Quality

HERE = ("psnr_y", "ssim_y", "niqe")
"""Metrics that need no weights."""


@pytest.fixture(scope="module")
def quality(niqe_parameters):
    return Quality(HERE, niqe_parameters)


@pytest.fixture(scope="module")
def pair(held_out_photographs, to_tensor):
    """SR and HR images (2, 3, 192, 288) in [-1, 1]."""
    hr = torch.cat([to_tensor(image[:192, :288]) for image in held_out_photographs[:2]])
    return hr + 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0)), hr


def luma(x):
    """Return ITU-R BT.601 luma of 8-bit RGB in [0, 255]."""
    return 16 + x @ np.array([65.481, 128.553, 24.966]) / 255


def luma_of(image):
    """Return the luma of a tensor (1, 3, H, W) in [-1, 1] after rounding to 8 bits."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().double()[0].permute(1, 2, 0)
    return torch.from_numpy(luma(pixels.numpy()))


def test_psnr_is_that_of_the_rounded_luma(quality, held_out_photographs, to_tensor):
    photograph = held_out_photographs[0].astype(float)
    noisy = np.clip(photograph + np.random.default_rng(0).normal(0, 12, photograph.shape), 0, 255)
    mse = np.mean((luma(np.rint(noisy)) - luma(photograph)) ** 2)
    assert quality(to_tensor(noisy), to_tensor(photograph))["psnr_y"].item() == pytest.approx(
        10 * np.log10(255**2 / mse), abs=1e-3
    )


def test_fidelity_to_the_lr_image_is_the_psnr_of_the_reduced_result(
    held_out_photographs, to_tensor, tmp_path
):
    photograph = held_out_photographs[0][:192, :288]
    reduced = F.interpolate(to_tensor(photograph), (48, 72), mode="bicubic", antialias=True)
    noisy = reduced + 0.1 * torch.randn(reduced.shape, generator=torch.Generator().manual_seed(0))
    mse = (luma_of(noisy) - luma_of(reduced)).square().mean().item()
    measure = Quality(("lr_psnr_y",))
    value = measure(to_tensor(photograph), lr=noisy)["lr_psnr_y"].item()
    assert value == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)
    with pytest.raises(ValueError, match="compares with the LR image"):
        measure(to_tensor(photograph))


def test_niqe_equals_that_of_pyiqa_for_the_file(
    niqe_parameters, quality, held_out_photographs, to_tensor, tmp_path
):
    Image.fromarray(held_out_photographs[2]).save(tmp_path / "photograph.png")
    direct = pyiqa.create_metric(
        "niqe", device=torch.device("cpu"), pretrained_model_path=str(niqe_parameters)
    )
    image = to_tensor(held_out_photographs[2])
    assert quality(image, image)["niqe"].item() == pytest.approx(
        float(direct(str(tmp_path / "photograph.png"))), abs=1e-6
    )


def test_identical_images_are_perfect_and_noise_is_worse(quality, pair):
    hr = pair[1]
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    same, little, much = (quality(hr + a * noise, hr) for a in (0.0, 0.05, 0.3))
    assert same["ssim_y"].numpy() == pytest.approx(1, abs=1e-6)
    for name in ("psnr_y", "ssim_y"):
        assert (same[name] > little[name]).all() and (little[name] > much[name]).all()


def test_a_value_does_not_depend_on_the_rest_of_the_batch_or_on_when(quality, pair):
    sr, hr = pair
    together = quality(sr, hr)
    for index in range(2):
        alone = quality(sr[index : index + 1], hr[index : index + 1])
        for name in HERE:
            assert together[name].dtype == torch.float64 and together[name].shape == (2,)
            assert torch.equal(together[name][index : index + 1], alone[name])


def test_the_arithmetic_of_a_training_does_not_reach_the_values(quality, pair):
    expected = quality(*pair)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = quality(*pair)
    finally:
        torch.set_float32_matmul_precision("highest")
    for name in HERE:
        assert torch.equal(values[name], expected[name])


def test_global_generators_stay_where_they_are(niqe_parameters, pair):
    def states():
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
        return torch.get_rng_state().tolist(), numpy_state, random.getstate()

    before = states()
    Quality(HERE, niqe_parameters)(*pair)
    assert states() == before


def test_no_reference_metrics_need_no_hr_image(niqe_parameters, quality, pair):
    sr, hr = pair
    assert torch.equal(Quality(("niqe",), niqe_parameters)(sr)["niqe"], quality(sr, hr)["niqe"])
    with pytest.raises(ValueError, match="metric psnr_y compares with the HR image"):
        quality(sr)


def test_an_image_without_texture_has_no_niqe(quality, pair):
    sr = torch.stack([torch.zeros_like(pair[0][0]), pair[0][1]])
    assert quality(sr, sr)["niqe"].isnan().tolist() == [True, False]


def test_an_image_with_nan_has_no_value(quality, pair):
    sr, hr = pair
    sr = sr.clone()
    sr[0, 0, 3, 4] = torch.nan
    values = quality(sr, hr)
    expected = quality(sr[1:], hr[1:])
    for name, value in values.items():
        assert value[0].isnan() and value[1:].equal(expected[name])


@pytest.mark.parametrize(("name", "side"), [("niqe", 96), ("ssim_y", 11)])
def test_the_smallest_image(niqe_parameters, pair, name, side):
    quality = Quality((name,), niqe_parameters)
    sr, hr = (x[..., :side, :200] for x in pair)
    assert quality(sr, hr)[name].isfinite().all()
    with pytest.raises(
        ValueError,
        match=f"metric {name} needs images of at least {side} pixels a side, not 200 x {side - 1}",
    ):
        quality(sr[..., 1:, :], hr[..., 1:, :])


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric magic; known are psnr_y"):
        Quality(("magic",))


@pytest.mark.parametrize(
    "content",
    [None, b"photograph", {"mu_prisparam": np.zeros((1, 18)), "cov_prisparam": np.eye(18)}],
)
def test_unusable_niqe_parameters_are_named(tmp_path, content):
    path = tmp_path / "parameters.mat"
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"metric niqe cannot use .*parameters\.mat"):
        Quality(("niqe",), path)


class SeesFloat64(torch.nn.Module):
    """A metric that computes in float64, as those of pyiqa do."""

    def forward(self, sr, hr):
        assert sr.device.type == hr.device.type == "cpu"
        return (sr.double() - hr.double()).square().mean()


def test_apple_gpus_get_no_float64(quality, monkeypatch):
    monkeypatch.setitem(quality._metrics, "psnr_y", SeesFloat64())
    with apple_gpu() as mode:
        with pytest.raises(TypeError, match="float64"):
            on_gpu(mode, 2).double()
        images = on_gpu(mode, 2, 3, 32, 32)
        values = quality(images, images, ["psnr_y"])["psnr_y"]
    assert values.shape == (2,)
    assert (values.device.type, values.dtype) == ("mps", torch.float32)
