"""The same runs with whole and with sharded weights: `sharded_run.py FOLDER KNEE`.

torchrun starts it on two ranks.
"""

import json
import math
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset

import lsr.training.cli  # noqa: F401 (which makes the strategy known by its name)
from callbacks import KneePointCallback
from lsr.distributed.tensors import own_part
from lsr.training.divergence import DivergenceError
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig
from support.stage2_run import Stage2, fit
from support.tiny import TINY, SyntheticPairs

RANK = int(os.environ["RANK"])
TAGS = ("boat", "cat, sea", "", "sea")


class TaggedPairs(SyntheticPairs):
    def __getitem__(self, index):
        return super().__getitem__(index) | {"tags": TAGS[index % 4]}


class KeepsStep4(Stage2):
    """Keeps the checkpoint of step 4, where it is validated."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 5 and RANK == 0:
            folder = Path(self.trainer.default_root_dir)
            shutil.copy(folder / "checkpoints" / "last.ckpt", folder / "step4.ckpt")


class Guided(LinearSRModule):
    """A stage 1 whose curve of validation ends to rise; every rank begins with other weights."""

    def __init__(self) -> None:
        torch.manual_seed(RANK)
        config = replace(
            TINY, depth=1, guidance="tags", vocabulary=("boat", "cat", "sea"), qk_norm=True
        )
        super().__init__(
            config,
            OptimizerConfig(lr=1e-4, warmup_steps=3),
            val_metrics=("psnr_y",),
            gradient_checkpointing=True,
        )

    def train_dataloader(self):
        return DataLoader(Subset(TaggedPairs(), range(4 * RANK, 4 * RANK + 4)), batch_size=2)

    def val_dataloader(self):
        return DataLoader(Subset(TaggedPairs(), range(2 * RANK, 2 * RANK + 2)), batch_size=2)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        ripple = 0.01 * math.sin(7.0 * self.global_step)
        self.log("val/curve", 20 - 5 * math.exp(-self.global_step / 2) + ripple, batch_size=1)


class NanInOnePart(Stage2):
    """What only one rank can see."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if RANK == 1:
            own_part(self.get_parameter("denoiser.experts.2.net.embed.weight").data).fill_(math.nan)


class UnequalShares(Stage2):
    def val_dataloader(self):
        return DataLoader(Subset(SyntheticPairs(), range(1 + RANK)), batch_size=2)


def outcome(module, folder):
    try:
        fit(folder, module, 3, strategy="sharded", devices=2, val_check_interval=2)
    except (DivergenceError, ValueError) as error:
        return str(error)
    return "done"


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, knee = Path(sys.argv[1]), sys.argv[2]
    for strategy in ("ddp", "sharded"):
        module = KeepsStep4(knee)
        fit(folder / strategy, module, 6, strategy=strategy, devices=2, val_check_interval=4)
        torch.save(module.weights, folder / strategy / f"rank{RANK}.pt")
    for first, then in (("sharded", "sharded"), ("sharded", "ddp"), ("ddp", "sharded")):
        fit(
            folder / f"{first}-{then}",
            Stage2(knee),
            6,
            folder / first / "step4.ckpt",
            strategy=then,
            devices=2,
        )
    for strategy in ("ddp", "sharded"):
        options = {
            "strategy": strategy,
            "devices": 2,
            "val_check_interval": 2,
            "accumulate_grad_batches": 2,
        }
        fit(
            folder / f"stage1-{strategy}",
            Guided(),
            40,
            knee=KneePointCallback({"val/curve": "max"}),
            **options,
        )
    outcomes = [
        outcome(module(knee), folder / module.__name__) for module in (NanInOnePart, UnequalShares)
    ]
    (folder / f"outcomes{RANK}.json").write_text(json.dumps(outcomes))
    # torchrun takes a rank that ends early for one that failed.
    torch.distributed.barrier()
