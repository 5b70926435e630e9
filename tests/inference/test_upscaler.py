"""The Python interface: types of images, settings of sampling, tiles, and lack of memory."""

from dataclasses import asdict

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import lsr
from lsr.images import Photograph
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import MemoryEstimate
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import save_denoiser


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


def test_memory_that_runs_out_is_tried_with_smaller_tiles(upscaler, photo):
    lr = Photograph(np.tile(photo, (2, 2, 1)).astype(np.float32) / 255)
    expected = Upscaler(upscaler.denoiser, 3.0, SamplingConfig(tile=64)).upscale(lr).pixels
    forward, sides = upscaler.denoiser.net.forward, []

    def limited(x, *arguments):
        sides.append(max(x.shape[-2:]))
        if sides[-1] > 32:
            raise torch.OutOfMemoryError("no more")
        return forward(x, *arguments)

    upscaler.denoiser.net.forward = limited
    np.testing.assert_array_equal(upscaler.upscale(lr).pixels, expected)
    assert sides[0] == 128 and sides[1] < 128


@pytest.mark.parametrize("color_fix", ["none", "adain", "wavelet"])
def test_who_waits_hears_of_every_row_as_it_is_made(denoiser, photo, color_fix):
    upscaler = Upscaler(denoiser, 3.0, SamplingConfig(tile=32, color_fix=color_fix))
    heard, calls = [], []
    forward = denoiser.net.forward
    denoiser.net.forward = lambda *arguments: (calls.append(1), forward(*arguments))[1]
    lr = Photograph(np.tile(photo, (2, 1, 1)).astype(np.float32) / 255)
    upscaler.process(
        lr,
        None,
        lambda picture: list(picture.blocks),
        lambda share: heard.append((share, len(calls))),
    )
    assert heard[-1][0] == 1 and [share for share, _ in heard] == sorted(
        share for share, _ in heard
    )
    assert heard[0][1] < 0.3 * len(calls), "the first word comes long before the last tile"


@pytest.mark.parametrize("color_fix", ["none", "adain", "wavelet"])
def test_pixels_that_are_not_numbers_are_an_error(denoiser, photo, color_fix):
    with torch.no_grad():
        denoiser.net.out.bias[0] = float("nan")
    with pytest.raises(ValueError, match="not numbers"):
        Upscaler(denoiser, 3.0, SamplingConfig(color_fix=color_fix)).upscale(photo[:10, :12])


@pytest.mark.parametrize("tile", [0, 64, "auto"])
def test_memory_that_is_never_enough_is_an_error(denoiser, photo, tile):
    upscaler, calls = Upscaler(denoiser, 3.0, SamplingConfig(tile=tile)), []

    def broken(*arguments):
        calls.append(1)
        raise torch.OutOfMemoryError("no more")

    upscaler.denoiser.net.forward = broken
    with pytest.raises(torch.OutOfMemoryError):
        upscaler.upscale(photo)
    assert len(calls) == (3 if tile == "auto" else 1), "tiles that were asked for are not cut"


def estimate(upscaler, height, width, **sampling):
    return MemoryEstimate(
        upscaler.denoiser, SamplingConfig(**sampling), upscaler.device, height, width
    )


def test_little_free_memory_makes_small_tiles_and_none_is_refused_before_it_is_tried(
    upscaler, photo, monkeypatch
):
    lr = np.tile(photo, (4, 4, 1))

    def tile_with(free):
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda: type("Memory", (), {"available": free})()
        )
        return estimate(upscaler, *lr.shape[:2]).choose_tile()

    assert tile_with(10 * 2**30) == 256 > tile_with(300 * 2**20) > tile_with(60 * 2**20) >= 32
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000})()
    )
    with pytest.raises(MemoryError, match="512x384 pixels need about"):
        upscaler.upscale(lr)


def test_wider_pictures_get_smaller_tiles_not_more_memory(upscaler):
    tiles = [estimate(upscaler, 3000, width).choose_tile() for width in (500, 2000, 4000, 8000)]
    assert tiles == [256, 256, 128, 64]
    wide, narrow = estimate(upscaler, 3000, 8000), estimate(upscaler, 3000, 2000)
    assert wide.host_bytes(64) <= 1.01 * narrow.host_bytes(256)


def test_the_rows_of_a_tall_picture_need_no_more_memory_than_those_of_a_small_one(upscaler):
    tall, small = estimate(upscaler, 100_000, 500), estimate(upscaler, 300, 500)
    assert tall.device_bytes(256) == small.device_bytes(256)


def test_guidance_needs_the_memory_of_twice_the_batch(upscaler):
    plain = estimate(upscaler, 300, 500)
    guided = estimate(upscaler, 300, 500, guidance_scale=2.0)
    bands = plain.host_bytes(256)
    assert guided.device_bytes(256) - bands == 2 * (plain.device_bytes(256) - bands)


def test_an_unknown_setting_is_named_with_the_known_ones():
    with pytest.raises(TypeError) as unknown:
        Upscaler.from_pretrained(steps=4)
    assert str(unknown.value) == (
        "unknown keyword 'steps'; settings of sampling are "
        "num_inference_steps, seed, tile, color_fix, guidance_scale"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_inference_steps": 0},
            "steps .num_inference_steps, --steps. must be at least 1, not 0",
        ),
        ({"seed": 2**31}, "seed must be from 0 to 2.31 - 1, not 2147483648"),
        ({"tile": -1}, "tile must be at least 32"),
        ({"tile": 31}, "tile must be at least 32"),
        ({"color_fix": "sepia"}, "must be one of none, adain, wavelet"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_before_the_model_is_looked_for(settings, message):
    with pytest.raises(ValueError, match=message):
        Upscaler.from_pretrained("no such model", **settings)


def test_a_configuration_gives_what_its_fields_give_as_keywords(denoiser, photo, tmp_path):
    config = SamplingConfig(num_inference_steps=2, seed=3, tile=32, color_fix="none")
    path = tmp_path / "model.safetensors"
    save_denoiser(path, denoiser.state_dict(), asdict(denoiser.config) | {"shift": 3.0})
    loaded = Upscaler.from_pretrained(path, **asdict(config))
    assert loaded.sampling == config
    expected = Upscaler(denoiser, 3.0, sampling=config).upscale(photo)
    np.testing.assert_array_equal(loaded.upscale(photo), expected)
