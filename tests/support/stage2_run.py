"""A short stage 2 with all parts of a run.

`python stage2_run.py FOLDER KNEE STEPS` runs it on two CPU ranks, and logs every third step.
"""

import sys
from pathlib import Path

import lightning as L
import torch

from callbacks import EMA, DivergenceGuard, LastCheckpoint
from lsr.distributed.tensors import whole
from lsr.experts.config import ExpertsConfig
from lsr.runs.csv_logger import MetricsCSVLogger
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig
from support.knee_folder import SMALL
from support.tiny import SyntheticPairs


class Stage2(LinearSRModule):
    """Remembers the weights after every step."""

    def __init__(self, knee: str, batches: int = 1, **options) -> None:
        super().__init__(
            SMALL,
            OptimizerConfig(lr=1e-2, warmup_steps=3),
            6.0,
            **{"experts": ExpertsConfig(knee)} | options,
        )
        self.batches = batches
        self.weights: list[dict[str, torch.Tensor]] = []

    def train_dataloader(self):
        # One batch, another on each rank: where a resumed run takes up the data plays no part here.
        pairs = torch.utils.data.Subset(
            SyntheticPairs(), range(2 * self.global_rank, 2 * (self.global_rank + self.batches))
        )
        return torch.utils.data.DataLoader(pairs, batch_size=2)

    val_dataloader = train_dataloader

    def training_step(self, batch, batch_idx):
        return super().training_step(
            batch | {"seed": batch["seed"] + 10 * self.global_step}, batch_idx
        )

    def on_train_start(self):
        self.remember()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.remember()

    def remember(self):
        self.weights.append(
            {name: whole(p).detach().clone() for name, p in self.named_parameters()}
        )


def fit(folder, module, steps, ckpt_path=None, data=None, knee=None, **options):
    settings = {
        "accelerator": "cpu",
        "max_epochs": -1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    settings |= {
        "val_check_interval": 1000,
        "check_val_every_n_epoch": None,
        "gradient_clip_val": 1.0,
    }
    ema = EMA(0.9)
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        callbacks=[
            ema,
            DivergenceGuard(),
            *([] if knee is None else [knee]),
            LastCheckpoint(f"{folder}/checkpoints"),
        ],
        logger=MetricsCSVLogger(str(folder)),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **settings | options,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return ema, trainer


class Observed(Stage2):
    """Remembers its own losses, what validations see of them, and its collectives per step."""

    def __init__(self, knee: str) -> None:
        super().__init__(knee)
        self.seen: dict = {"losses": [], "validated": {}, "collectives": []}

    def training_step(self, batch, batch_idx):
        self.seen["collectives"].append(0)
        loss = super().training_step(batch, batch_idx)
        self.seen["losses"].append(loss.item())
        return loss

    def on_validation_end(self):
        value = self.trainer.callback_metrics["train/loss"]
        self.seen["validated"][self.global_step] = float(value)


def count_collectives(counts: list[int]) -> None:
    """Add 1 to the last count at every all-reduce except those of DDP's own gradients."""
    reduce = torch.distributed.all_reduce

    def counted(*arguments, **options):
        if counts:
            counts[-1] += 1
        return reduce(*arguments, **options)

    torch.distributed.all_reduce = counted


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, knee, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    module = Observed(knee)
    count_collectives(module.seen["collectives"])
    fit(folder, module, steps, devices=2, log_every_n_steps=3, val_check_interval=20)
    torch.save(
        {"weights": module.weights, "seen": module.seen}, folder / f"rank{module.global_rank}.pt"
    )
