"""A run on two CPU ranks: `python knee_ranks.py FOLDER SCENARIO`.

Each rank writes what it observed to `rank<n>.json`.
"""

import json
import math
import os
import signal
import sys
from pathlib import Path

import torch

from callbacks import EMA, DivergenceGuard, KneePointCallback
from lsr.errors import DIVERGED
from lsr.training.divergence import DivergenceError
from support.scripted import METRICS, Scripted, fit


class LogsOnRankZero(Scripted):
    """Every rank logs its own `val/a`, and rank 0 alone logs `val/b`."""

    def validation_step(self, batch, batch_idx):
        for name, value in self.curve(self.global_step, self.global_rank).items():
            if name != "val/b" or self.global_rank == 0:
                self.log(name, value, batch_size=1, rank_zero_only=name == "val/b")


class NanOnOneRank(Scripted):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * math.nan if self.global_rank == 1 and self.global_step == 5 else loss


class KilledWhilePublishing(KneePointCallback):
    def _publish(self, trainer):
        if trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._publish(trainer)


def main(folder: Path, scenario: str) -> int:
    torch.set_num_threads(1)
    module = {"nan": NanOnOneRank, "differ": LogsOnRankZero}.get(scenario, Scripted)()
    knee = (KilledWhilePublishing if scenario == "kill" else KneePointCallback)(METRICS)
    code = 0
    try:
        fit(
            folder,
            module,
            knee=knee,
            callbacks=lambda knee, checkpoint: [EMA(0.5), DivergenceGuard(), checkpoint, knee],
            strategy="ddp",
            devices=2,
            use_distributed_sampler=False,
        )
    except DivergenceError:
        code = DIVERGED
    seen = {
        "code": code,
        "step": module.global_step,
        "history": [[v.step, v.values] for v in knee.history],
        "judged": len(knee.detector.state_dict()["steps"]),
        "knee": knee.verdict.knee_step if knee.verdict else None,
        "finite": all(bool(p.isfinite().all()) for p in module.parameters()),
    }
    (folder / f"rank{module.global_rank}.json").write_text(json.dumps(seen))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
