"""The experiments at the paper's size, with little of everything."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lsr.images import Photograph, write_png
from support.pretrained_folders import save_text_encoder
from support.processes import ROOT


def write_photographs(folder: Path, n: int) -> list[str]:
    """Write `n` PNGs of 72 x 96 pixels to `folder`; returns that, as an experiment names it."""
    rng = np.random.default_rng(0)
    for i in range(n):
        write_png(
            folder / f"{i}.png",
            Photograph(np.kron(rng.random((6, 8, 3)), np.ones((12, 12, 1))).astype(np.float32)),
        )
    return [str(folder)]


def small_experiment(
    stage: str, autoencoder: Path, photographs: list[str], **data: Any
) -> dict[str, Any]:
    """Return `experiments/linearsr/<stage>.yaml` for a tiny f8c4 autoencoder on the CPU.

    `data` are further settings of the data. A tiny Gemma is written next to the autoencoder, in
    the folders of SANA's pipeline.
    """
    pipeline = autoencoder.parent / "pipeline"
    if not pipeline.is_dir():
        save_text_encoder(pipeline / "text_encoder", "gemma", pipeline / "tokenizer")
    config = yaml.safe_load((ROOT / "experiments" / "linearsr" / f"{stage}.yaml").read_text())
    config["model"]["denoiser"] |= {
        "autoencoder": str(autoencoder),
        "latent_channels": 4,
        "latent_factor": 8,
    }
    config["model"]["denoiser"]["guidance_encoder"] = str(pipeline)
    config["model"]["denoiser"] |= {
        "width": 64,
        "depth": 1,
        "cross_heads": 2,
        "stem_width": 8,
        "context_dim": 16,
    }
    config["model"] |= {"val_metrics": ["psnr_y"], "num_inference_steps": 2}
    splits = dict.fromkeys(("train", "val", "test"), photographs)
    config["data"]["init_args"] |= (
        splits | {"crop_size": 64, "val_crop_size": 64, "num_workers": 0} | data
    )
    config["trainer"] |= {"strategy": "auto", "accelerator": "cpu", "log_every_n_steps": 1}
    for callback in config["trainer"]["callbacks"]:
        if callback["class_path"] == "callbacks.KneePointCallback":
            callback["init_args"]["metrics"] = {"val/psnr_y": "max"}
    return config
