"""One of two machines whose ranks work for others, longer than a collective may wait.

`python slow_work.py FOLDER` under the variables that torchrun sets; rank r writes `rank<r>.json`.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import lightning as L
import torch
from torch.distributed import distributed_c10d

from lsr.guidance.conditioning import Guidance
from lsr.metrics import niqe_fit
from support.tiny import TINY

TIMEOUT_S = 1.0


class SlowEncoder:
    """Embeds texts slowly, once per folder, as an encoder with a cache does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.embedded = 0

    def prepare(self) -> None:
        """Make the folder of this machine."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def prepare_texts(self, texts) -> None:
        """Sleep for longer than the timeout unless the folder has the embeddings."""
        done = self.folder / "embeddings"
        if not done.exists():
            time.sleep(TIMEOUT_S + 2)
            done.write_text(" ".join(texts))
            self.embedded += 1


class Texts(L.LightningDataModule):
    """Knows two texts."""

    def texts(self):
        """Yield them."""
        yield from ("a cat", "a boat")


class Photographs(L.LightningDataModule):
    """Has no photograph."""

    def photographs(self):
        """Yield them."""
        yield from ()


def main(folder: Path) -> None:
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        strategy="ddp",
        devices=1,
        num_nodes=2,
        logger=False,
    )
    trainer.strategy.setup_environment()
    usual = distributed_c10d._get_default_timeout("gloo")
    # Only from now on: one process may start much later than the other.
    distributed_c10d._set_pg_timeout(timedelta(seconds=TIMEOUT_S))
    trainer.datamodule = Texts()
    guidance = Guidance(TINY, 0.0)
    encoder = SlowEncoder(folder / f"disk of machine {trainer.global_rank}")
    guidance.encoder = encoder
    guidance.prepare(trainer)
    niqe_fit.fit_niqe = lambda images, path: path.write_text("fitted")
    trainer.datamodule = Photographs()
    time.sleep(trainer.global_rank)  # rank 0 has written the file when rank 1 comes
    niqe_fit.fitted_in_run(trainer, "fit")
    # A collective of the run itself.
    distributed_c10d._set_pg_timeout(usual)
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    seen = {"embedded": encoder.embedded, "ranks": int(total)}
    (folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
