"""`lsr degrade export`: the LR images, their names and their lines of parameters."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.degraded_folder import content, export, lines

from lsr.degradations import DegradationConfig, DegradationParameters, apply, draw
from lsr.degradations.export import degrade, sample_index, write_rgb8
from lsr.degradations.export_folder import SETTINGS_FILE
from lsr.images import read_rgb8


@pytest.mark.parametrize("preset", ["realesrgan", "stablesr", "bicubic"])
def test_every_lr_can_be_made_again_from_its_line(photos, tmp_path, preset):
    out = tmp_path / "out"
    options = ["--seed", 5, "--per-image", 2, "--set", "sigma_1=[0.5, 2]", "--scale", 3]
    assert export(photos, out, "--preset", preset, *options) == 0
    settings = json.loads((out / SETTINGS_FILE).read_text())
    cfg = DegradationConfig(**settings["config"])
    assert (cfg.scale, cfg.sigma_1, settings["seed"]) == (3, (0.5, 2.0), 5)
    assert len(lines(out)) == 8
    for line in lines(out):
        assert (line["preset"], line["config"]) == (preset, cfg.digest())
        parameters = DegradationParameters.from_json(json.dumps(line["parameters"]))
        assert parameters == draw(cfg, line["seed"], line["epoch"], line["index"])
        hr = read_rgb8(photos / line["source"])
        again = tmp_path / "again.png"
        written = out / line["file"]
        write_rgb8(again, degrade(hr, parameters, cfg))
        assert again.read_bytes() == written.read_bytes(), line["file"]
        image = torch.from_numpy(hr).permute(2, 0, 1)[None] / 255
        exact = apply(image, [parameters], cfg)[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(read_rgb8(written) - exact).max() < 0.501, "rounded to the nearest level"


def test_the_lr_have_the_names_of_their_photographs_and_a_quarter_of_their_sides(photos, tmp_path):
    assert export(photos, tmp_path / "out") == 0
    sizes = {
        line["file"]: (line["source"], Image.open(tmp_path / "out" / line["file"]).size)
        for line in lines(tmp_path / "out")
    }
    assert sizes == {
        "a.png": ("a.png", (14, 10)),
        "b.jpg.png": ("b.jpg", (12, 10)),
        "b.png.png": ("b.png", (10, 8)),
        "deeper/a.png": ("deeper/a.png", (12, 12)),
    }


def test_the_preset_bicubic_only_reduces_the_size(photos, tmp_path):
    assert export(photos / "a.png", tmp_path / "out", "--preset", "bicubic") == 0
    hr = torch.from_numpy(read_rgb8(photos / "a.png")).permute(2, 0, 1)[None].float()
    reduced = F.interpolate(hr, scale_factor=0.25, mode="bicubic", antialias=True)
    expected = reduced[0].permute(1, 2, 0).numpy()
    assert np.abs(read_rgb8(tmp_path / "out" / "a.png") - expected.clip(0, 255)).max() <= 0.51


def test_an_lr_does_not_depend_on_what_else_is_exported(photos, tmp_path):
    assert export(photos, tmp_path / "all") == 0
    assert export(photos / "a.png", tmp_path / "one") == 0
    assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "all" / "a.png").read_bytes()
    assert [line for line in lines(tmp_path / "all") if line["file"] == "a.png"] == lines(
        tmp_path / "one"
    )
    assert len({line["index"] for line in lines(tmp_path / "all")}) == 4


def test_sample_indices_are_spread_over_63_bits():
    indices = np.array([sample_index(f"{i:04d}.png") for i in range(1000)], dtype=np.uint64)
    assert len(set(indices.tolist())) == 1000 and indices.max() < 2**63
    bits = (indices[:, None] >> np.arange(63, dtype=np.uint64) & np.uint64(1)).mean(0)
    assert np.abs(bits - 0.5).max() < 0.1


def test_bad_photographs_are_named_and_the_rest_is_done(photos, photo, tmp_path, capsys):
    (photos / "torn.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    (photos / "empty.png").write_bytes(b"")
    Image.fromarray(photo[:3, :90]).save(photos / "flat.png")
    assert export(photos, tmp_path / "out") == 1
    out = capsys.readouterr()
    failures = sorted(line for line in out.err.splitlines() if line.startswith("failed:"))
    assert [re.sub(r".*/", "", line).split(":")[0] for line in failures] == [
        "empty.png",
        "flat.png",
        "torn.jpg",
    ]
    assert "90 x 3 pixels" in failures[1]
    assert "4 LR images written" in out.out and "3 photographs failed" in out.out
    assert {line["file"] for line in lines(tmp_path / "out")} == {
        name for name in content(tmp_path / "out") if name.endswith(".png")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "fog"], "known: realesrgan"),
        (["--set", "fog=1"], "unknown degradation setting fog"),
        (["--set", "sigma_1"], "must have the form KEY=VALUE"),
        (["--set", "jpeg=libjpeg"], "text needs double quotes"),
        (["--set", "sigma_1=3"], "sigma_1 must be (low, high)"),
        (["--set", 'usm_lr="no"'], "usm_lr must be true or false"),
        (["--set", "sinc_probability=true"], "sinc_probability must be a number in"),
        (["--set", "sigma_1=[3, 1]"], "sigma_1 must be"),
        (["--set", "scale=2"], "use --scale"),
        (["--scale", "0"], "scale must be"),
        (["--seed", "-1"], "seed must lie"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing_behind(
    photos, tmp_path, capsys, options, message
):
    assert export(photos, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_whole_number_is_as_good_as_a_fraction(photos, tmp_path):
    assert export(photos / "a.png", tmp_path / "out", "--set", "identity_probability=1") == 0
    assert export(photos / "a.png", tmp_path / "out", "--set", "identity_probability=1.0") == 0
