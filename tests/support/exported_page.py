"""A small model of one step as a web page, and the files of onnxruntime-web if they are here."""

import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from lsr.cli import main
from lsr.export.web_page import RUNTIME_FILES
from lsr.models.checkpoint import model_config, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.student.student_loss import ignore_noise
from support.processes import ROOT
from support.tiny import TINY


def runtime() -> Path | None:
    """Return the unpacked npm package onnxruntime-web that `make browser` fetches."""
    package = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / ".venv" / "onnxruntime-web"))
    return package if (package / "package.json").is_file() else None


def save_small_model(path: Path) -> None:
    """Write a model of one step with a head, which does not see the noise."""
    model = Denoiser(replace(TINY, depth=1, context_dim=0, head_width=8, head_depth=1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    ignore_noise(model)
    model.one_step = True
    save_denoiser(path, model.state_dict(), model_config(model, 3.0))


def export_page(folder: Path) -> Path:
    """Write the model and its page by `lsr export`; without onnxruntime-web the page cannot run."""
    package = runtime() or _empty_runtime(folder / "empty")
    save_small_model(folder / "small.safetensors")
    command = ["export", str(folder / "small.safetensors"), "--format", "web"]
    options = ["--out", str(folder / "page"), "--runtime", str(package), "--licence", "cc0-1.0"]
    assert main([*command, *options]) == 0
    return folder / "page"


def _empty_runtime(folder: Path) -> Path:
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web"}))
    for name in RUNTIME_FILES:
        (folder / "dist" / name).touch()
    return folder
