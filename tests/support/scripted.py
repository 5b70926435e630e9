"""A real LinearSRModule whose validation logs curves that are written in advance."""

import math
from dataclasses import replace

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import EMA, KneePointCallback
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig
from support.tiny import TINY, SyntheticPairs

METRICS = {"val/a": "max", "val/b": "min"}


def curve(step: int, rank: int = 0) -> dict[str, float]:
    """A fast rise that ends near step 12, with a little noise; every rank has its own."""
    noise = np.random.default_rng([step, rank]).normal(0, 0.005, 2)
    rise = 1 - math.exp(-step / 4)
    return {"val/a": 20 + 5 * (rise + noise[0]) + rank, "val/b": 8 - 3 * (rise + noise[1])}


class Scripted(LinearSRModule):
    """Logs `curve(global_step)` in validation and remembers the weights that were judged."""

    def __init__(self, log=curve) -> None:
        torch.manual_seed(0)
        super().__init__(replace(TINY, context_dim=0), OptimizerConfig(lr=1e-3, warmup_steps=1))
        self.curve = log
        self.judged: dict[int, torch.Tensor] = {}

    def validation_step(self, batch, batch_idx):
        self.judged[self.global_step] = self.denoiser.net.out.weight.detach().clone()
        for name, value in self.curve(self.global_step, self.global_rank).items():
            self.log(name, value, batch_size=1)


def loader() -> torch.utils.data.DataLoader:
    # One batch, always the same: where a resumed run takes up the data plays no part here.
    return torch.utils.data.DataLoader(
        torch.utils.data.Subset(SyntheticPairs(), range(2)), batch_size=2
    )


def fit(folder, module, steps=60, ckpt_path=None, callbacks=None, knee=None, **options):
    knee = knee or KneePointCallback(METRICS)
    checkpoint = ModelCheckpoint(
        f"{folder}/checkpoints",
        filename="{step}",
        auto_insert_metric_name=False,
        save_top_k=-1,
        every_n_epochs=1,
        save_on_train_epoch_end=False,
    )
    settings = {
        "logger": False,
        "accelerator": "cpu",
        "num_sanity_val_steps": 1,
        "max_epochs": -1,
        "check_val_every_n_epoch": None,
        "val_check_interval": 1,
        "plugins": [AtomicCheckpointIO()],
    }
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        limit_val_batches=1,
        callbacks=callbacks(knee, checkpoint) if callbacks else [EMA(0.5), checkpoint, knee],
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings | options,
    )
    trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path)
    return knee, trainer
