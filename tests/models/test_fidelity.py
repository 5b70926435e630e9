"""The blend of the two models in the package."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lsr.cli import main
from lsr.inference.upscaler import Upscaler
from lsr.models.pretrained import PACKAGED


def upscaled(photo, *model, **options):
    upscaler = Upscaler.from_pretrained(*model, device=torch.device("cpu"), **options)
    return upscaler.upscale(photo[:32, :40] / np.float32(255))


def test_its_ends_are_the_two_models_and_its_middle_is_neither(photo):
    perceptual, faithful = (upscaled(photo, name) for name in ("perceptual", "faithful"))
    np.testing.assert_allclose(upscaled(photo, fidelity=0), perceptual, atol=1e-6)
    np.testing.assert_allclose(upscaled(photo, fidelity=1), faithful, atol=1e-5)
    middle = upscaled(photo, fidelity=0.5)
    whole = np.abs(perceptual - faithful).mean()
    assert whole > 1e-3
    for end in (perceptual, faithful):
        assert 0.1 * whole < np.abs(middle - end).mean() < whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fidelity", "1.5"], "must be from 0 (perceptual) to 1 (faithful), not 1.5"),
        (["--fidelity", "nan"], "must be from 0"),
        (["--fidelity", "0.5", "--model", "faithful"], "leave out the model faithful"),
        (["--fidelity", "0.5", "--steps", "2"], "makes a picture in one step"),
    ],
)
def test_what_cannot_be_blended_is_one_line(photo, tmp_path, capsys, options, message):
    Image.fromarray(photo[:16, :16]).save(tmp_path / "photo.png")
    out = ["--out", str(tmp_path / "out")]
    assert main(["upscale", str(tmp_path / "photo.png"), *out, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_another_fidelity_is_another_result(photo, tmp_path, capsys):
    Image.fromarray(photo[:16, :16]).save(tmp_path / "photo.png")
    command = ["upscale", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")]
    for fidelity, note in (
        (["--fidelity", "0.5"], ""),
        (["--fidelity", "0.5"], "earlier"),
        ([], ""),
    ):
        assert main([*command, *fidelity]) == 0
        assert ("earlier run" in capsys.readouterr().out) == bool(note)
    lines = (tmp_path / "out" / "upscaled.jsonl").read_text().splitlines()
    assert "fidelity" not in json.dumps(json.loads(lines[-1]))


def test_in_python_a_path_and_a_fidelity_exclude_each_other():
    with pytest.raises(ValueError, match="leave out the model"):
        Upscaler.from_pretrained(PACKAGED["faithful"], fidelity=0.5)
