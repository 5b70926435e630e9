"""The image and the page of `--save-compare`."""

import base64
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.cli import main
from lsr.images import read_rgb8
from lsr.images.resampling import upsample_bicubic
from lsr.models.checkpoint import save_denoiser


@pytest.fixture
def compared(tmp_path, denoiser, photo):
    """Return a function that upscales a photograph with markup in its name, to a folder."""

    def run(image, *options):
        image.save(tmp_path / "a & <script>.png")
        save_denoiser(
            tmp_path / "model.safetensors",
            denoiser.state_dict(),
            asdict(denoiser.config) | {"shift": 3.0},
        )
        command = [
            "upscale",
            str(tmp_path / "a & <script>.png"),
            "--out",
            str(tmp_path / "out"),
            "--model",
            str(tmp_path),
        ]
        assert main([*command, "--save-compare", *options]) == 0
        return tmp_path / "out"

    return run


def test_input_and_result_stand_side_by_side(compared, photo):
    out = compared(Image.fromarray(photo[:20, :30]))
    both = read_rgb8(out / "a & <script>.png.compare.png")
    result = read_rgb8(out / "a & <script>.png")
    lr = torch.from_numpy(photo[:20, :30]).permute(2, 0, 1)[None] / 255
    bicubic = upsample_bicubic(lr, 4)[0].clamp(0, 1) * 255
    assert both.shape == (80, 240, 3)
    np.testing.assert_array_equal(both[:, 120:], result)
    assert np.abs(both[:, :120] - bicubic.permute(1, 2, 0).numpy()).max() <= 0.51


@pytest.mark.parametrize("scale", ["4", "1.3"])
def test_the_page_holds_both_pictures_and_asks_for_nothing_else(compared, photo, scale):
    out = compared(Image.fromarray(photo[:20, :30]), "--scale", scale)
    page = (out / "a & <script>.png.compare.html").read_text()
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]
    both = read_rgb8(out / "a & <script>.png.compare.png")
    assert len(pictures) == 2
    assert np.abs(np.concatenate(pictures, axis=1).astype(int) - both).mean() < 4
    assert "a &amp; &lt;script&gt;" in page and page.count("<script>") == 1
    assert not re.search(r"https?://|url\(|@import|<link", page)


def test_transparency_is_shown_on_white(compared, photo):
    clear = np.dstack([photo[:20, :30], np.zeros((20, 30), np.uint8)])
    out = compared(Image.fromarray(clear))
    assert (read_rgb8(out / "a & <script>.png.compare.png") == 255).all()


def test_a_profile_of_grey_is_not_given_to_coloured_pictures(compared, photo, tmp_path):
    grey = Image.fromarray(photo[:20, :30]).convert("L")
    grey.info["icc_profile"] = b"a profile of grey"
    out = compared(grey)
    assert Image.open(out / "a & <script>.png").info["icc_profile"] == b"a profile of grey"
    assert "icc_profile" not in Image.open(out / "a & <script>.png.compare.png").info
