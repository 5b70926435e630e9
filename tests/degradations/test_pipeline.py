"""The whole degradation: one image at a time, in buckets, and compared with the published one."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from lsr.bench import published_degradations as published
from lsr.degradations import PRESETS, DegradationConfig, apply, batched, draw, noise, pair
from lsr.degradations.batched import degrade_batch


def photograph(batch, height, width, seed=0):
    generator = Generator().manual_seed(seed)
    coarse = torch.rand((batch, 3, height // 6 + 2, width // 6 + 2), generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def drawn(cfg, count, epoch=0):
    return [draw(cfg, 11, epoch, i) for i in range(count)]


def assert_lr(lr, hr, cfg):
    assert lr.shape == (len(hr), 3, hr.shape[2] // cfg.scale, hr.shape[3] // cfg.scale)
    assert lr.dtype == torch.float32 and lr.isfinite().all() and lr.min() >= 0 and lr.max() <= 1
    if cfg.quantise:
        assert torch.equal((lr * 255).round() / 255, lr)


@st.composite
def cases(draw_value):
    height, width = draw_value(st.tuples(st.integers(8, 90), st.integers(8, 90)))
    batch = draw_value(st.integers(1, 4) | st.integers(1, 17))
    content = draw_value(
        st.sampled_from(("photograph", "grey", "black", "white", "noise", "two levels"))
    )
    hr = photograph(batch, height, width)
    hr = {
        "photograph": hr,
        "grey": hr[:, :1].expand(-1, 3, -1, -1),
        "black": torch.zeros_like(hr),
        "white": torch.ones_like(hr),
        "noise": torch.rand(hr.shape, generator=Generator().manual_seed(1)),
        "two levels": (hr > 0.5).float(),
    }[content]
    changes = {
        "scale": draw_value(st.integers(1, 8)),
        "jpeg": draw_value(st.sampled_from(("true", "compat", "libjpeg"))),
        "aligned": draw_value(st.booleans()),
        "antialias": draw_value(st.booleans()),
    }
    cfg = DegradationConfig.preset(draw_value(st.sampled_from(list(PRESETS))), **changes)
    return hr, cfg, draw_value(st.integers(0, 10**6))


@settings(max_examples=60)
@given(cases())
def test_any_image_degrades_to_the_right_size_and_range(case):
    hr, cfg, epoch = case
    target, lr = pair(hr, drawn(cfg, len(hr), epoch), cfg)
    assert_lr(lr, hr, cfg)
    assert target.shape == (len(hr), 3, lr.shape[2] * cfg.scale, lr.shape[3] * cfg.scale)
    assert target.isfinite().all() and target.min() >= 0 and target.max() <= 1


@settings(max_examples=25)
@given(cases())
def test_any_image_degrades_in_a_bucket(case):
    hr, cfg, epoch = case
    jpeg = "true" if cfg.jpeg == "libjpeg" else cfg.jpeg
    cfg = dataclasses.replace(cfg, jpeg=jpeg, usm_lr=False, usm_target=False)
    height, width = (side // cfg.scale * cfg.scale for side in hr.shape[2:])
    hr = hr[..., :height, :width]
    lr = degrade_batch(hr, drawn(cfg, len(hr), epoch), cfg)
    assert_lr(lr, hr, dataclasses.replace(cfg, quantise=False))


@pytest.mark.parametrize("size", [(1, 1), (2, 70), (7, 9)])
def test_an_image_as_small_as_the_scale_is_enough(size):
    cfg = DegradationConfig(scale=min(size))
    hr = photograph(3, *size)
    for epoch in range(10):
        assert_lr(apply(hr, drawn(cfg, 3, epoch), cfg), hr, cfg)


@pytest.mark.parametrize("jpeg", ["true", "compat", "libjpeg"])
def test_a_sample_does_not_depend_on_its_batch(jpeg):
    cfg = DegradationConfig(jpeg=jpeg)
    hr, parameters = photograph(6, 75, 66), drawn(cfg, 6)
    together = apply(hr, parameters, cfg)
    order = [4, 0, 5, 2]
    assert torch.equal(apply(hr[order], [parameters[i] for i in order], cfg), together[order])
    for i in range(6):
        assert torch.equal(apply(hr[i : i + 1], parameters[i : i + 1], cfg)[0], together[i])


@pytest.mark.parametrize("jpeg", ["true", "compat"])
def test_a_sample_does_not_depend_on_its_bucket(jpeg):
    cfg = DegradationConfig(jpeg=jpeg)
    hr, parameters = photograph(12, 76, 64), drawn(cfg, 12)
    together = degrade_batch(hr, parameters, cfg)
    for i in range(12):
        assert torch.equal(degrade_batch(hr[i : i + 1], parameters[i : i + 1], cfg)[0], together[i])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"jpeg": "compat", "aligned": False},
        {"antialias": True, "second_stage_probability": 0.5, "identity_probability": 0.2},
    ],
)
def test_buckets_compute_what_single_images_get(changes):
    """A block or a level may differ only where a value lies halfway between two levels."""
    cfg = DegradationConfig(usm_lr=False, usm_target=False, **changes)
    hr, parameters = photograph(24, 88, 64), drawn(cfg, 24)
    difference = (apply(hr, parameters, cfg) - degrade_batch(hr, parameters, cfg)).abs()
    assert (difference.amax((1, 2, 3)) < 0.6 / 255).double().mean() >= 0.8
    assert difference.mean((1, 2, 3)).max() < 4 / 255


def test_buckets_never_wait_for_the_device(monkeypatch):
    """On the device "meta" tensors have no storage: an operation that needs a value fails.

    It has no random generators either, so zeros take the place of the noise.
    """

    def zeros(dtype):
        return lambda size, grey, generator: torch.zeros((3, *size), dtype=dtype, device="meta")

    monkeypatch.setattr(batched, "Generator", lambda device: Generator())
    monkeypatch.setattr(noise, "_normal", zeros(torch.float32))
    monkeypatch.setattr(noise, "_bits", zeros(torch.int32))
    for jpeg in ("true", "compat"):
        cfg = DegradationConfig(jpeg=jpeg, second_stage_probability=0.8, identity_probability=0.1)
        lr = degrade_batch(torch.zeros((24, 3, 88, 64), device="meta"), drawn(cfg, 24), cfg)
        assert lr.shape == (24, 3, 22, 16) and lr.is_meta


def test_the_chain_is_the_published_one():
    """Both pipelines draw different noise, but without noise they must give the same image."""
    noise_ranges = dict.fromkeys(("gaussian_1", "gaussian_2", "poisson_1", "poisson_2"), (0, 0))
    cfg = DegradationConfig(jpeg="compat", aligned=False, **noise_ranges)
    hr = photograph(1, 128, 96)
    equal = []
    for index in range(24):
        parameters = [draw(cfg, 3, 0, index)]
        theirs = published.degrade(hr, parameters, cfg, Generator())
        difference = (apply(hr, parameters, cfg) - theirs).abs()
        equal.append((difference < 0.5 / 255).double().mean().item())
    assert sum(share > 0.99 for share in equal) >= 20 and min(equal) > 0.5, equal


def test_each_kind_of_parameter_changes_the_picture():
    cfg = DegradationConfig()
    hr = photograph(1, 64, 64)
    p = next(p for p in drawn(cfg, 200) if p.second.kernel and p.final_sinc)
    lr = apply(hr, [p], cfg)
    changes = [
        {"identity": True},
        {"second": None},
        {"final_sinc": None},
        {"quality_1": 1.0},
        {"quality_2": 1.0},
        {"jpeg_last": not p.jpeg_last},
        {"noise_seed": p.noise_seed + 1},
        {"first": dataclasses.replace(p.first, factor=0.2)},
        {"first": dataclasses.replace(p.first, amount=0.0)},
        {"second": dataclasses.replace(p.second, kernel=None)},
        {"second": dataclasses.replace(p.second, grey=not p.second.grey)},
    ]
    for change in changes:
        assert not torch.equal(apply(hr, [dataclasses.replace(p, **change)], cfg), lr), change


def test_identity_is_the_antialiased_bicubic_reduction():
    cfg = DegradationConfig.preset("bicubic")
    hr = photograph(2, 64, 50)
    wanted = F.interpolate(hr[..., :48], size=(16, 12), mode="bicubic", antialias=True).clamp(0, 1)
    assert (apply(hr, drawn(cfg, 2), cfg) - wanted).abs().max() <= 0.51 / 255


def test_sharpening_of_source_and_target_are_separate_switches():
    hr = photograph(1, 64, 64)
    both = DegradationConfig()
    target, lr = pair(hr, drawn(both, 1), both)
    assert not torch.equal(target, hr)
    cfg = dataclasses.replace(both, usm_target=False)
    plain_target, same_lr = pair(hr, drawn(cfg, 1), cfg)
    assert torch.equal(plain_target, hr) and torch.equal(same_lr, lr)
    cfg = dataclasses.replace(both, usm_lr=False)
    same_target, other_lr = pair(hr, drawn(cfg, 1), cfg)
    assert torch.equal(same_target, target) and not torch.equal(other_lr, lr)


def test_nothing_is_drawn_from_or_left_in_the_global_state():
    cfg = DegradationConfig()
    hr = photograph(2, 40, 40)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = apply(hr, drawn(cfg, 2), cfg)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(apply(hr.requires_grad_(), drawn(cfg, 2), cfg), first)
    assert not first.requires_grad


def test_the_input_is_left_alone():
    hr = photograph(3, 64, 64)
    copy = hr.clone()
    for name in PRESETS:
        cfg = DegradationConfig.preset(name)
        target, lr = pair(hr, drawn(cfg, 3), cfg)
        lr.zero_()
        assert torch.equal(hr, copy), name


def test_autocast_does_not_reach_the_degradation():
    cfg = DegradationConfig()
    hr = photograph(2, 64, 64)
    wanted = apply(hr, drawn(cfg, 2), cfg)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(apply(hr, drawn(cfg, 2), cfg), wanted)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 3, 64), (2, 3, 64, 64)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="hr must be|parameters"):
        apply(torch.zeros(shape), drawn(DegradationConfig(), 1), DegradationConfig())
