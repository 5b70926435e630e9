"""Fixtures: small photographs, and predictions made by bicubic interpolation."""

import pytest
from PIL import Image

from lsr.cli import main


@pytest.fixture
def data(tmp_path, photo):
    """Six pairs of different sizes, and predictions made by bicubic interpolation of LR."""
    folder = tmp_path / "data"
    for name in ("LR", "HR", "bicubic"):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        hr = Image.fromarray(photo[i : 64 + i + i // 4 * 4, 2 * i : 72 + 2 * i])
        hr = hr.crop((0, 0, hr.width // 4 * 4, hr.height // 4 * 4))
        lr = hr.resize((hr.width // 4, hr.height // 4), Image.Resampling.BICUBIC)
        hr.save(folder / "HR" / f"{i}.png")
        lr.save(folder / "LR" / f"{i}.png")
        lr.resize(hr.size, Image.Resampling.BICUBIC).save(folder / "bicubic" / f"{i}.png")
    return folder


@pytest.fixture
def evaluate(data, tmp_path, capfd):
    """Run `lsr eval` on the pairs; returns the exit code, the folder, and the text of stderr."""

    def run(*options, out="out", source=("--predictions", data / "bicubic"), metrics="psnr,ssim"):
        arguments = [
            *source,
            "--out",
            tmp_path / out,
            *(["--metrics", metrics] if metrics else []),
            *options,
        ]
        if "--data" not in options:
            arguments += ["--data", data]
        code = main(["eval", *map(str, arguments), "--threads", "1"])
        return code, tmp_path / out, capfd.readouterr().err

    return run
