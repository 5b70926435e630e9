"""The Python interface: types of images, settings of sampling, and lack of memory."""

import re
from dataclasses import asdict, replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import lsr
from lsr.images import Photograph
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import BeyondBudget, MemoryEstimate
from lsr.inference.picture_sampler import PictureSampler
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser


@pytest.fixture
def upscaler(denoiser):
    return Upscaler(denoiser, 3.0)


KINDS = {
    "rgb8": lambda p: p,
    "rgba8": lambda p: np.dstack([p, p[..., 0]]),
    "grey8": lambda p: p[..., 0],
    "grey8 with an axis": lambda p: p[..., :1],
    "rgb16": lambda p: p.astype(np.uint16) * 257,
    "float32": lambda p: p.astype(np.float32) / 255,
    "float64": lambda p: p / 255,
    "tensor": lambda p: torch.from_numpy(p).permute(2, 0, 1),
    "batch": lambda p: torch.from_numpy(np.stack([p, 255 - p])).permute(0, 3, 1, 2) / 255,
    "bfloat16": lambda p: (torch.from_numpy(p).permute(2, 0, 1) / 255).bfloat16(),
    "PIL": Image.fromarray,
    "PIL grey": lambda p: Image.fromarray(p).convert("L"),
    "PIL transparent grey": lambda p: Image.fromarray(p).convert("LA"),
    "PIL 16": lambda p: Image.fromarray(p[..., 0].astype(np.uint16) * 257),
}


def as_array(image):
    if isinstance(image, torch.Tensor):
        return image.float().movedim(-3, -1).numpy()
    return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_comes_back_in_the_kind_that_it_went_in(upscaler, photo, kind):
    image = KINDS[kind](photo[:10, :12])
    result = upscaler.upscale(image)
    before, after = as_array(image), as_array(result)
    assert type(result) is type(image) and before.dtype == after.dtype
    for attribute in ("mode",) if isinstance(image, Image.Image) else ("dtype",):
        assert getattr(result, attribute) == getattr(image, attribute)
    batch = before.shape[:1] if before.ndim == 4 else ()
    assert after.shape == (*batch, 40, 48, *before.shape[len(batch) + 2 :])
    top = np.iinfo(before.dtype).max if before.dtype.kind == "u" else 255 if kind == "tensor" else 1
    reference = upscaler.upscale(Photograph(photo[:10, :12].astype(np.float32) / 255)).pixels
    if "rgb" in kind or kind in ("float32", "tensor", "PIL"):
        found = after.reshape(40, 48, -1)[..., :3] / top
        assert (
            np.abs(found - reference).max() <= 0.51 / min(top, 65535)
            if top > 1
            else np.array_equal(found, reference)
        )


def test_every_image_of_a_batch_is_upscaled_as_if_alone(upscaler, photo):
    batch = KINDS["batch"](photo[:10, :12])
    torch.testing.assert_close(upscaler.upscale(batch)[1], upscaler.upscale(batch[1]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.jpg", "must be a PIL image, a numpy array or a tensor, not str"),
        (np.zeros(5), "must be \\(H, W\\)"),
        (np.zeros((4, 4, 5)), "1 to 4 channels"),
        (np.zeros((0, 4, 3)), "at least one pixel"),
        (np.full((4, 4, 3), 255.0), "must be from 0 to 1, not from 255 to 255"),
        (np.full((4, 4, 3), np.nan), "must be from 0 to 1, not from nan to nan"),
        (np.zeros((4, 4, 3), np.int32), "not int32"),
        (torch.zeros(4), "must be \\(C, H, W\\)"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(upscaler, image, message):
    with pytest.raises(ValueError, match=message):
        upscaler.upscale(image)


def test_three_lines_are_enough(denoiser, tmp_path, photo):
    save_denoiser(
        tmp_path / "model.safetensors",
        denoiser.state_dict(),
        asdict(denoiser.config) | {"shift": 3.0},
    )
    upscaler = lsr.Upscaler.from_pretrained(tmp_path, num_inference_steps=2)
    assert upscaler.upscale(Image.fromarray(photo[:10, :12]), scale=2.5).size == (30, 25)


def test_memory_that_runs_out_is_tried_with_less_of_the_picture(upscaler, photo, monkeypatch):
    lr = Photograph(np.tile(photo, (2, 2, 1)).astype(np.float32) / 255)
    expected = upscaler.upscale(lr).pixels
    plans, rows = [], PictureSampler.rows

    def limited(sampler):
        plans.append(sampler.plan)
        for i, block in enumerate(rows(sampler)):
            if i == 1 and not sampler.plan.in_file:
                raise torch.OutOfMemoryError("no more")
            yield block

    monkeypatch.setattr(PictureSampler, "rows", limited)
    np.testing.assert_array_equal(upscaler.upscale(lr).pixels, expected)
    assert [plan.in_file for plan in plans] == [False, True] and plans[1].grid.cell_rows == 1


@pytest.mark.parametrize("color_fix", ["none", "adain", "wavelet"])
def test_who_waits_hears_of_every_sweep_as_it_is_made(denoiser, photo, color_fix):
    upscaler = Upscaler(denoiser, 3.0, SamplingConfig(color_fix=color_fix))
    heard, calls = [], []
    for block in denoiser.net.blocks:
        feed_forward = block.feed_forward
        block.feed_forward = lambda *a, f=feed_forward, **k: (calls.append(1), f(*a, **k))[1]
    lr = Photograph(np.tile(photo, (2, 2, 1)).astype(np.float32) / 255)
    upscaler.process(
        lr,
        None,
        lambda picture: list(picture.blocks),
        lambda share: heard.append((share, len(calls))),
    )
    assert heard[-1][0] == 1 and [share for share, _ in heard] == sorted(
        share for share, _ in heard
    )
    assert heard[0][1] == 0 < len(calls), "the first word comes before the first block"


@pytest.mark.parametrize("color_fix", ["none", "adain", "wavelet"])
def test_pixels_that_are_not_numbers_are_an_error(denoiser, photo, color_fix):
    with torch.no_grad():
        denoiser.net.out.bias[0] = float("nan")
    with pytest.raises(ValueError, match="not numbers"):
        Upscaler(denoiser, 3.0, SamplingConfig(color_fix=color_fix)).upscale(photo[:10, :12])


def test_memory_that_is_never_enough_is_an_error(denoiser, photo, monkeypatch):
    upscaler, calls = Upscaler(denoiser, 3.0), []

    def broken(sampler):
        calls.append(1)
        raise torch.OutOfMemoryError("no more")
        yield

    monkeypatch.setattr(PictureSampler, "rows", broken)
    with pytest.raises(torch.OutOfMemoryError):
        upscaler.upscale(photo)
    assert len(calls) == 2, "once as planned, once with as little memory as possible"


def estimate(upscaler, height, width, **sampling):
    return MemoryEstimate(
        upscaler.denoiser, SamplingConfig(**sampling), upscaler.device, height, width
    )


def test_free_memory_decides_what_is_in_memory(upscaler, photo, monkeypatch):
    def plan_with(free):
        memory = type("Memory", (), {"available": free})
        monkeypatch.setattr(psutil, "virtual_memory", memory)
        return estimate(upscaler, 2000, 1500).plan()

    roomy, tight = plan_with(20 * 2**30), plan_with(460 * 2**20)
    assert not roomy.in_file and tight.in_file
    assert roomy.grid.cell_rows > tight.grid.cell_rows == 1
    monkeypatch.setattr(psutil, "virtual_memory", type("Memory", (), {"available": 10_000}))
    with pytest.raises(BeyondBudget, match=r"128x96 pixels need .* MiB of memory, .* \(--memory\)"):
        upscaler.upscale(photo)


def test_a_budget_that_is_too_small_is_refused_before_the_work_begins(denoiser, photo):
    upscaler = Upscaler(denoiser, 3.0, SamplingConfig(memory=10_000))
    with pytest.raises(BeyondBudget):
        upscaler.upscale(photo)


def test_what_is_needed_is_more_than_the_budget_in_the_message_too(upscaler):
    needed = estimate(upscaler, 300, 500).band_bytes(1)
    with pytest.raises(BeyondBudget) as told:
        estimate(upscaler, 300, 500, memory=needed - 1).plan()
    of_picture, budget = map(int, re.findall(r"(\d+) MiB", str(told.value)))
    assert of_picture > budget
    assert estimate(upscaler, 300, 500, memory=of_picture * 2**20).plan()


def test_the_bands_of_a_tall_picture_need_no_more_memory_than_those_of_a_small_one(upscaler):
    tall, small = estimate(upscaler, 100_000, 500), estimate(upscaler, 300, 500)
    assert tall.band_bytes(2) == small.band_bytes(2)


def test_threads_of_the_cpu_take_memory_of_the_cpu_and_not_of_a_gpu(upscaler):
    on_cpu = estimate(upscaler, 300, 500)
    on_gpu = replace(on_cpu, device=torch.device("cuda"))
    needed = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        needed.append((on_cpu.band_bytes(1), on_gpu.band_bytes(1)))
    assert needed[0][0] < needed[1][0] and needed[0][1] == needed[1][1]


def test_guidance_needs_the_memory_of_twice_the_batch(upscaler):
    plain = estimate(upscaler, 300, 500)
    guided = estimate(upscaler, 300, 500, guidance_scale=2.0)
    assert guided.store_bytes() == 2 * plain.store_bytes()
    assert guided.band_bytes(1) > plain.band_bytes(1)


def test_an_unknown_setting_is_named_with_the_known_ones():
    with pytest.raises(TypeError) as unknown:
        Upscaler.from_pretrained(steps=4)
    assert str(unknown.value) == (
        "unknown keyword 'steps'; settings of sampling are "
        "num_inference_steps, seed, memory, color_fix, guidance_scale"
    )


def test_tiles_are_answered_with_what_took_their_place():
    with pytest.raises(TypeError, match=r"not cut into tiles any more: memory=2 \* 2\*\*30"):
        Upscaler.from_pretrained(tile=64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_inference_steps": 0},
            "steps .num_inference_steps, --steps. must be at least 1, not 0",
        ),
        ({"seed": 2**31}, "seed must be from 0 to 2.31 - 1, not 2147483648"),
        ({"memory": 0}, "memory budget is a number of bytes above 0, not 0"),
        ({"memory": "1GiB"}, "memory budget is a number of bytes above 0, not '1GiB'"),
        ({"color_fix": "sepia"}, "must be one of none, adain, wavelet"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_before_the_model_is_looked_for(settings, message):
    with pytest.raises(ValueError, match=message):
        Upscaler.from_pretrained("no such model", **settings)


def test_a_configuration_gives_what_its_fields_give_as_keywords(denoiser, photo, tmp_path):
    config = SamplingConfig(num_inference_steps=2, seed=3, memory=2**30, color_fix="none")
    path = tmp_path / "model.safetensors"
    save_denoiser(path, denoiser.state_dict(), asdict(denoiser.config) | {"shift": 3.0})
    loaded = Upscaler.from_pretrained(path, **asdict(config))
    assert loaded.sampling == config
    expected = Upscaler(denoiser, 3.0, sampling=config).upscale(photo)
    np.testing.assert_array_equal(loaded.upscale(photo), expected)


def test_tags_are_a_text_or_a_list(denoiser, photo):
    guided = Denoiser(replace(denoiser.config, guidance="tags", vocabulary=("cat", "fur")))
    upscaler = Upscaler(guided, 3.0)
    image = photo[:10, :12]
    text = upscaler.upscale(image, tags="cat, fur")
    assert np.array_equal(upscaler.upscale(image, tags=["cat", "fur"]), text)
    assert np.array_equal(upscaler.upscale(image, tags=("cat", "fur")), text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": 3}, "tags must be a text or a list of texts, not 3"),
        ({"tags": ["cat", 3]}, "tags must be a text or a list of texts, not"),
        ({"scale": "2"}, "scale must be a number, not str"),
    ],
)
def test_arguments_of_another_type_are_refused_in_one_line(upscaler, photo, change, message):
    with pytest.raises(TypeError, match=message):
        upscaler.upscale(photo[:10, :12], **change)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_inference_steps": "4"}, "num_inference_steps must be a whole number, not '4'"),
        ({"num_inference_steps": 1.5}, "num_inference_steps must be a whole number, not 1.5"),
        ({"seed": None}, "seed must be a whole number, not None"),
        ({"guidance_scale": "high"}, "guidance_scale must be a number, not 'high'"),
    ],
)
def test_settings_of_another_type_are_refused_in_one_line(model, setting, message):
    with pytest.raises(TypeError, match=message):
        Upscaler.from_pretrained(model, **setting)


def test_a_device_is_named_by_a_text_too(model):
    assert Upscaler.from_pretrained(model, device="cpu").device == torch.device("cpu")
