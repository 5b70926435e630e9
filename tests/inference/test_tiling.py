"""Tiles compared with the whole image, and the seams between tiles."""

import numpy as np
import pytest
import torch

from lsr.inference import tiling
from lsr.inference.config import SamplingConfig
from lsr.inference.sampling import super_resolve
from lsr.inference.tiling import TiledSampler, Tiles, blend, noise_rows
from lsr.models.denoiser import Denoiser, DenoiserConfig

CPU = torch.device("cpu")


def sampled(denoiser, lr, tile, steps=1, seed=0):
    sampler = TiledSampler(
        denoiser=denoiser,
        lr=lr,
        shift=3.0,
        sampling=SamplingConfig(num_inference_steps=steps, seed=seed),
        tile=tile,
        device=CPU,
    )
    return torch.cat(list(sampler.rows()), dim=1)


@pytest.fixture
def trained(denoiser):
    """Return a model whose output is as large as that of a trained model."""
    with torch.no_grad():
        denoiser.net.out.weight *= 0.1
        denoiser.net.out.bias.zero_()
    return denoiser


@pytest.fixture
def lr(photo):
    return photo[:70, :90].astype(np.float32) / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 41), (5, 3), (20, 33)])
@pytest.mark.parametrize("steps", [1, 3])
def test_one_tile_is_what_the_sampler_of_training_gives(denoiser, lr, size, steps):
    lr = lr[: size[0], : size[1]]
    batch = torch.from_numpy(lr).permute(2, 0, 1)[None] * 2 - 1
    reference = super_resolve(
        denoiser, batch, lambda shape: torch.cat(list(noise_rows(0, *shape)), 1)[None], steps, 3.0
    )[0]
    torch.testing.assert_close(
        sampled(denoiser, lr, 0, steps), (reference + 1) / 2, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("length", "side"), [(1, 8), (8, 8), (9, 8), (100, 8), (101, 7), (50, 1), (33, 32)]
)
def test_tiles_cover_an_axis_with_weights_that_sum_to_one(length, side):
    tiles = Tiles.cover(length, side)
    total = torch.zeros(length)
    for start, weights in zip(tiles.starts, tiles.weights(), strict=True):
        total[start : start + tiles.side] += weights
    torch.testing.assert_close(total, torch.ones(length))
    assert tiles.starts[0] == 0 and tiles.starts[-1] + tiles.side == length
    assert side == 1 or all(0 < step < side for step in np.diff(tiles.starts)), "neighbours overlap"


def test_blending_what_does_not_look_around_changes_nothing(generator):
    image = torch.randn(3, 50, 41, generator=generator)
    blocks = iter(image.split([7, 30, 1, 12], dim=1))
    down, across = Tiles.cover(50, 16), Tiles.cover(41, 16)
    blended = list(blend(blocks, lambda tile, top, left: 2 * tile, down, across))
    torch.testing.assert_close(torch.cat(blended, dim=1), 2 * image)


def test_noise_is_a_function_of_seed_and_place():
    whole = torch.cat(list(noise_rows(3, 5, 40, 7)), dim=1)
    assert torch.equal(torch.cat(list(noise_rows(3, 5, 23, 7)), dim=1), whole[:, :23])
    assert not torch.equal(torch.cat(list(noise_rows(4, 5, 40, 7)), dim=1), whole)
    assert abs(whole.mean()) < 0.1 and abs(whole.std() - 1) < 0.1
    assert len(whole.transpose(0, 1).flatten(1).unique(dim=0)) == 40, "no two rows are equal"


def test_an_untrained_model_is_bicubic_however_it_is_tiled(lr, monkeypatch):
    """The base of a tile does not depend on where the tile ends, even without overlap."""
    monkeypatch.setattr(tiling, "OVERLAP", 0)
    model = Denoiser(DenoiserConfig(width=32, depth=1, stem_width=8))
    torch.testing.assert_close(sampled(model, lr, 32), sampled(model, lr, 0), rtol=1e-4, atol=1e-4)


def seam(image, tiles, axis):
    """Return the mean absolute gradient across borders of tiles, divided by that elsewhere."""
    gradient = image.diff(dim=axis).abs().mean(dim=(0, 3 - axis))
    starts = np.array(tiles.starts)
    middles = (starts[1:] + starts[:-1] + tiles.side) // 2
    at = torch.zeros(len(gradient), dtype=torch.bool)
    at[np.concatenate([starts[1:], starts[:-1] + tiles.side, middles]) - 1] = True
    return float(gradient[at].mean() / gradient[~at].mean())


def contrast(tile, top, left):
    """Return values that depend on all pixels of a tile, as linear attention does."""
    return tile - 0.3 * tile.mean()


@pytest.fixture
def scene(generator):
    """Return (2, 384, 512): fine texture, darker towards one corner."""
    texture = 0.1 * torch.rand(2, 384, 512, generator=generator)
    return texture + torch.linspace(0, 1, 512) + torch.linspace(0, 1, 384)[:, None]


def seams(scene, side):
    down, across = Tiles.cover(384, side), Tiles.cover(512, side)
    assert len(down.starts) > 3
    tiled = torch.cat(list(blend(iter([scene]), contrast, down, across)), 1)
    whole = contrast(scene, 0, 0)
    return [
        seam(tiled, along, axis) / seam(whole, along, axis)
        for axis, along in ((1, down), (2, across))
    ]


def test_tiles_that_disagree_leave_no_seams(scene):
    assert all(abs(ratio - 1) < 0.05 for ratio in seams(scene, 96))


def test_without_overlap_the_seams_would_be_seen(scene, monkeypatch):
    monkeypatch.setattr(tiling, "OVERLAP", 0)
    assert seams(scene, 96)[0] > 1.5


@pytest.mark.parametrize("steps", [1, 3])
def test_tiles_of_a_model_give_nearly_what_the_whole_gives(trained, lr, steps):
    whole = sampled(trained, lr, 0, steps)
    tiles = sampled(trained, lr, 32, steps)
    assert (whole - sampled(trained, lr, 0, steps, seed=1)).abs().mean() > 0.005, (
        "the model does something"
    )
    assert not torch.equal(whole, tiles) and -10 * torch.log10((whole - tiles).square().mean()) > 30
