"""The model in the package: it works without options, has a card, and beats bicubic."""

import re

import numpy as np
import torch
from PIL import Image

from datamodules.bundled_photographs import bundled_photographs
from lsr.cli import main
from lsr.degradations import DegradationConfig, draw, pair
from lsr.files import sha256_of
from lsr.images.resampling import upsample_bicubic
from lsr.inference.upscaler import Upscaler
from lsr.metrics.quality import Quality
from lsr.models.pretrained import EMBEDDED, PACKAGED


def test_a_photograph_is_upscaled_without_further_words(photo, tmp_path, monkeypatch, capsys):
    Image.fromarray(photo[:24, :32]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", "photo.jpg"]) == 0, capsys.readouterr().err
    with Image.open(tmp_path / "upscaled" / "photo.png") as result:
        assert result.size == (128, 96)


def test_their_card_is_about_these_very_files():
    card = EMBEDDED.with_name("README.md").read_text()
    named = re.findall(r"`([0-9a-f]{64})`", card)
    assert named == [sha256_of(path) for path in PACKAGED.values()]
    for part in ("## Training data", "CC BY-SA 4.0", "## Limits", "## Figures"):
        assert part in card
    assert all(path.stat().st_size <= 6e6 for path in PACKAGED.values())


def test_on_photographs_it_has_never_seen_the_faithful_one_beats_bicubic():
    """Each photograph is degraded as in Real-ESRGAN, with four draws."""

    config = DegradationConfig.preset("realesrgan", scale=4, usm_target=False)
    upscaler = Upscaler.from_pretrained("faithful", device=torch.device("cpu"))
    quality = Quality(("psnr_y",))
    gains = []
    for index, path in enumerate(bundled_photographs("val")):
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))[:256, :256].copy()
        hr = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        for k in range(4):
            target, lr = (2 * each - 1 for each in pair(hr, [draw(config, 0, k, index)], config))
            result = upscaler.upscale((lr[0].permute(1, 2, 0).numpy() + 1) / 2)
            sr = torch.from_numpy(result).permute(2, 0, 1)[None] * 2 - 1
            ours = quality(sr, target)["psnr_y"].item()
            bicubic = quality(upsample_bicubic(lr, 4), target)["psnr_y"].item()
            gains.append(ours - bicubic)
    assert min(gains) > 0 and np.mean(gains) > 0.7 and np.median(gains) > 0.4


def test_a_plain_picture_has_no_pattern_along_its_border():
    """Zeros beyond the border gave the outermost eight pixels six times the roughness inside."""
    y, x = np.mgrid[:40, :44] / 40
    bands = [0.7 + 0.1 * np.sin(3 * x + y), 0.72 + 0.1 * np.cos(2 * y + x), 0.75 + 0.05 * x]
    plain = np.stack(bands, axis=-1).astype(np.float32)
    sr = Upscaler.from_pretrained(device=torch.device("cpu")).upscale(plain)
    roughness = np.abs(np.diff(sr, axis=0))[:, :-1] + np.abs(np.diff(sr, axis=1))[:-1]
    inside = roughness[40:-40, 40:-40].mean()
    borders = [roughness[:8], roughness[-8:], roughness[:, :8], roughness[:, -8:]]
    assert max(border.mean() for border in borders) < 2 * inside
