"""Runs whose ranks start differently: `different_starts.py FOLDER`; torchrun starts two ranks.

Writes the exit code and the errors of each run to `FOLDER/rank<n>.json`.
"""

import contextlib
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

import lsr.training.cli as cli
from lsr.cli import main
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.training.module import LinearSRModule
from support.processes import TINY_STAGE1
from support.small_run import SMALL

RANK = int(os.environ["RANK"])
BEGUN: list[int] = []


class Records(LinearSRModule):
    def on_train_batch_start(self, batch, batch_idx) -> None:
        BEGUN.append(batch_idx)


def fit(folder: Path, *extra: str) -> tuple[int, list[str]]:
    settings = SMALL | {
        "data.init_args.num_workers": 0,
        "model.val_metrics": "[psnr_y]",
        "model.niqe_parameters": "null",
        "trainer.callbacks": "[]",
        "trainer.logger": "false",
        "trainer.enable_progress_bar": "false",
        "trainer.num_sanity_val_steps": 0,
        "trainer.max_steps": 1,
        "trainer.default_root_dir": folder,
    }
    options = [f"--{key}={value}" for key, value in settings.items()]
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        code = main(["fit", "--config", str(TINY_STAGE1), *options, *extra])
    lines = [line for line in error.getvalue().splitlines() if line.startswith("lsr fit")]
    return code, lines


def save_model(path: Path, seed: int) -> str:
    """Write the model of the runs with random weights; return its path."""
    torch.manual_seed(seed)
    denoiser = yaml.safe_load(TINY_STAGE1.read_text())["model"]["denoiser"]
    model = Denoiser(DenoiserConfig(**denoiser | {"width": 32, "depth": 1, "stem_width": 8}))
    save_denoiser(path, model.state_dict(), asdict(model.config) | {"shift": 6.0})
    return str(path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cli.module_of = lambda arguments: Records
    folder = Path(sys.argv[1])
    local = folder / f"disk{RANK}"
    local.mkdir()
    other = f"--model.init_from={save_model(local / 'model.safetensors', RANK)}"
    same = f"--model.init_from={save_model(local / 'same.safetensors', 7)}"
    results = {"other weights": fit(folder / "a", other)}
    knee = local / "knee"
    knee.mkdir()
    save_model(knee / "seed.safetensors", RANK)
    results["other knees"] = fit(folder / "e", f"--model.experts.seed={knee}")
    if RANK:
        torch.save({"global_step": 3}, local / "last.ckpt")
    results["a checkpoint on one rank"] = fit(folder / "b", f"--ckpt_path={local / 'last.ckpt'}")
    results["the same weights"] = fit(folder / "c", same)
    assert len(BEGUN) == 1
    grown = LinearSRModule.on_fit_start

    def another_start(module: LinearSRModule) -> None:
        grown(module)
        with torch.no_grad():
            next(module.parameters()).add_(RANK)

    LinearSRModule.on_fit_start = another_start
    results["weights changed on one rank"] = fit(folder / "d", same)
    assert len(BEGUN) == 1, "no batch was begun"
    (folder / f"rank{RANK}.json").write_text(json.dumps(results))
