"""A folder in which the files that the documents speak of exist, all of them tiny."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lsr.experts.run import EXPERT_RUN
from lsr.flow.snr import PUBLISHED
from lsr.models.checkpoint import MODEL_CONFIG, ONE_STEP, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture
from support.processes import ROOT
from support.published_ram import save_ram


def furnish(folder: Path, photo: np.ndarray, denoiser: Denoiser) -> None:
    """Fill `folder` with photographs, pairs, models, runs and the repository's own files."""
    for name in ("experiments", "Makefile", "pyproject.toml", "constraints.txt", "docs"):
        (folder / name).symlink_to(ROOT / name)
    _write_photographs(folder, photo)
    _write_models(folder, denoiser)
    _write_runs(folder / "runs" / "tiny", denoiser)
    save_ram(folder / "weights", plus=True)


def _write_photographs(folder: Path, photo: np.ndarray) -> None:
    (folder / "photos").mkdir()
    Image.fromarray(photo[:12, :16]).save(folder / "photos" / "one.jpg")
    Image.fromarray(photo[:12, :16]).save(folder / "photo.jpg")
    for name, step in (("pairs/LR", 4), ("pairs/HR", 1), ("theirs", 1)):
        (folder / name).mkdir(parents=True)
        Image.fromarray(photo[:48:step, :64:step]).save(folder / name / "one.png")


def _write_models(folder: Path, denoiser: Denoiser) -> None:
    config = asdict(denoiser.config) | {"shift": 3.0}
    save_denoiser(folder / "model.safetensors", denoiser.state_dict(), config)
    guided = Denoiser(replace(denoiser.config, guidance="tags", vocabulary=("cat", "fur")))
    config = asdict(guided.config) | {"shift": 3.0}
    save_denoiser(folder / "guided.safetensors", guided.state_dict(), config)


def _write_runs(runs: Path, denoiser: Denoiser) -> None:
    config = asdict(denoiser.config) | {"shift": 3.0}
    _write_checkpoint(runs / "stage1", denoiser, {MODEL_CONFIG: config})
    _write_rising_curves(runs / "stage1" / "metrics.csv")
    two = ExpertMixture(denoiser.config, (0.5,))
    _write_checkpoint(runs / "stage2", two, {MODEL_CONFIG: config | {"boundaries": [0.5]}})
    _write_checkpoint(runs / "stage3", denoiser, {MODEL_CONFIG: config | {ONE_STEP: True}})
    four = ExpertMixture(denoiser.config, PUBLISHED)
    for i in range(4):
        origin = {
            "global_step": 100,
            EXPERT_RUN: {"seed_sha256": "0" * 64, "expert": i},
            MODEL_CONFIG: config | {"boundaries": list(PUBLISHED)},
        }
        _write_checkpoint(runs / f"expert{i}", four, origin)


def _write_checkpoint(run: Path, model: torch.nn.Module, more: dict[str, Any]) -> None:
    (run / "checkpoints").mkdir(parents=True)
    state = {f"denoiser.{name}": weight for name, weight in model.state_dict().items()}
    torch.save({"state_dict": state} | more, run / "checkpoints" / "last.ckpt")


def _write_rising_curves(path: Path) -> None:
    """Write validation curves that saturate, so that a knee is found in them."""
    lines = ["step,val/psnr_y,val/ssim_y,val/niqe"]
    for step in range(50, 3000, 50):
        rest = math.exp(-step / 400)
        lines.append(f"{step},{25 - 5 * rest},{0.9 - 0.3 * rest},9")
    path.write_text("\n".join(lines) + "\n")
