"""The preview of a degradation: every LR image is complete, every word of its caption true."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import ImageFont

from lsr.degradations import PRESETS, DegradationConfig, draw
from lsr.degradations.noise import add_gaussian, add_poisson
from lsr.degradations.parameters import Stage
from lsr.degradations.preview import describe, draw_grid, wrap


def test_every_picture_of_the_grid_is_whole_and_enlarged_without_smoothing():
    noise = np.random.default_rng(0)
    hr = noise.integers(0, 200, (200, 240, 3), dtype=np.uint8)
    lrs = [noise.integers(0, 200, (50, 60, 3), dtype=np.uint8) for _ in range(5)]
    grid = draw_grid("title", hr, "photograph", lrs, [["caption"]] * 5)
    for picture in [hr, *(lr.repeat(4, 0).repeat(4, 1) for lr in lrs)]:
        windows = np.lib.stride_tricks.sliding_window_view(grid[..., 0], 8, axis=1)
        tops, lefts = np.nonzero((windows == picture[0, :8, 0]).all(-1))
        assert any(
            np.array_equal(grid[y : y + 200, x : x + 240], picture)
            for y, x in zip(tops, lefts, strict=True)
        )


@pytest.mark.parametrize(("height", "width"), [(4, 4), (64, 64), (300, 40), (256, 256), (90, 700)])
def test_no_caption_leaves_its_cell(height, width):
    """The gaps between the cells and below each row stay white."""
    hr = np.zeros((height, width, 3), np.uint8)
    long = "generalized aniso 21 px, sigma 12.34 x 12.34, -179° " * 4
    grid = draw_grid("title " * 60, hr, "photograph", [hr] * 3, [[long], [long, long], ["short"]])
    cell = width * -(-192 // width)
    assert grid.shape[1] == 12 + 2 * (cell + 12)
    dark = (grid < 200).any(-1)
    title_end = np.flatnonzero(dark[:, 12:].all(1) | (dark[:, 12 : 12 + cell].all(1)))[0]
    below = dark[title_end:]
    for gap in (slice(0, 12), slice(12 + cell, 24 + cell), slice(-12, None)):
        assert not below[:, gap].any()
    assert not dark[:, :10].any() and not dark[:10].any() and not dark[-4:].any()


def test_lines_break_between_words_and_lose_nothing():
    font = ImageFont.load_default(14)
    words = "blur generalized aniso 21 px, sigma 1.23 x 0.45, -170°; resize x0.43 bilinear "
    text = words + "w" * 60
    broken = wrap(text, font, 150)
    assert all(font.getlength(line) <= 150 for line in broken) and len(broken) > 4
    assert "".join(broken).replace(" ", "") == text.replace(" ", "")
    assert wrap("blur iso", font, 150) == ["blur iso"]


def test_a_grid_that_no_viewer_opens_is_refused():
    hr = np.zeros((4000, 4000, 3), np.uint8)
    lr = np.zeros((1000, 1000, 3), np.uint8)
    with pytest.raises(ValueError, match="choose a smaller --crop or --n"):
        draw_grid("", hr, "", 8 * [lr], 8 * [[]])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_words_contain_every_number_that_was_drawn(preset):
    cfg = DegradationConfig.preset(preset)
    for epoch in range(40):
        p = draw(cfg, 0, epoch, 0)
        text = " ".join(describe(p))
        if p.identity:
            assert text.startswith("bicubic")
            continue
        stages = [p.first, p.second] if p.second else [p.first]
        assert f"JPEG {p.quality_1:.0f}" in text and f"JPEG {p.quality_2:.0f}" in text
        assert (text.index("resize to LR") < text.rindex("JPEG")) == p.jpeg_last
        for stage in stages:
            assert f"resize x{stage.factor:.2f} {stage.mode}" in text and stage.noise in text
            assert ("no blur" in text) == any(s.kernel is None for s in stages)
        for kernel in [*(s.kernel for s in stages), p.final_sinc]:
            if kernel:
                assert f"{kernel.family.replace('_', ' ')} {kernel.size} px" in text


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_the_noise_level_is_the_one_measured_on_mid_grey(noise):
    """An image of mid grey that has all 256 levels in its first two rows gets noise alone."""
    amount = 0.04 if noise == "gaussian" else 0.9
    image = torch.full((3, 200, 200), 0.5)
    image[:, :2, :128] = (torch.arange(256) / 255).view(2, 128)
    add = add_gaussian if noise == "gaussian" else add_poisson
    noisy = add(image, amount, False, torch.Generator().manual_seed(0))
    measured = float((noisy - image)[:, 2:].std()) * 255
    stage = Stage(None, 1.0, "area", noise, amount, False)
    parameters = replace(draw(DegradationConfig(), 0, 0, 0), first=stage)
    stated = re.search(rf"{noise} ([\d.]+) colour", describe(parameters)[0])
    assert stated and abs(float(stated[1]) - measured) < 0.15
