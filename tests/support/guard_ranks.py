"""One of two CPU ranks that train with planted NaN: `python guard_ranks.py FOLDER`.

The launcher has set RANK and so on. For each kind of NaN each rank writes what it saw.
"""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import DivergenceGuard
from lsr.errors import DIVERGED
from lsr.training.divergence import DivergenceError, check_weights
from support.plain_module import Plain, fit


class ChecksWeights(DivergenceGuard):
    """Finds the NaN by the check of the weights, before the next forward pass uses them."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        check_weights(trainer, pl_module)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    code = 0
    for what, guard in (
        ("loss", DivergenceGuard()),
        ("gradient", DivergenceGuard()),
        ("weight", DivergenceGuard()),
        ("weight", ChecksWeights()),
    ):
        run = folder / f"{what}-{type(guard).__name__}"
        module = Plain(what, rank=1)
        last = ModelCheckpoint(
            run, filename="last", every_n_train_steps=4, enable_version_counter=False
        )
        ended = None
        try:
            fit(run, module, guard, last, steps=20, strategy="ddp", devices=2)
        except DivergenceError as error:
            ended, code = str(error), DIVERGED
        (run / f"rank{module.global_rank}.json").write_text(
            json.dumps({"step": module.global_step, "ended": ended})
        )
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
