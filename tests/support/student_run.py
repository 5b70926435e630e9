"""A short stage 3 with all parts of a run.

`python student_run.py FOLDER KNEE STEPS` runs it on two CPU ranks.
"""

import sys
from pathlib import Path

import torch

from lsr.distributed.tensors import whole
from lsr.student.config import LADDConfig, StudentConfig, UNetConfig
from lsr.training.optimizer import OptimizerConfig
from lsr.training.student import StudentModule
from support.knee_folder import SMALL
from support.stage2_run import fit
from support.tiny import SyntheticPairs

BOTH = StudentConfig(
    lpips_weight=0.0,
    ladd=LADDConfig(channels=6, r1_weight=0.1),
    unet=UNetConfig(channels=4),
)
"""Every kind of term that needs no foreign weights."""


class Stage3(StudentModule):
    """Trains on four pairs, shared by the ranks, with other noise at every step."""

    def __init__(self, knee: str | None, student: StudentConfig = BOTH, **options) -> None:
        torch.manual_seed(0)
        super().__init__(
            student,
            OptimizerConfig(lr=1e-3, betas=(0.5, 0.99), weight_decay=0.0, warmup_steps=0),
            denoiser=SMALL,
            optimizer=OptimizerConfig(lr=1e-3, warmup_steps=3),
            shift=6.0,
            init_from=knee,
            **options,
        )

    def train_dataloader(self):
        size = 4 // self.trainer.world_size
        share = range(size * self.global_rank, size * (self.global_rank + 1))
        pairs = torch.utils.data.Subset(SyntheticPairs(), share)
        return torch.utils.data.DataLoader(pairs, batch_size=size)

    val_dataloader = train_dataloader

    def training_step(self, batch, batch_idx):
        super().training_step(batch | {"seed": batch["seed"] + 10 * self.global_step}, batch_idx)


def train(folder, module, steps, ckpt_path=None, **options):
    """Train as stage 2 does in tests; the module clips its gradients itself."""
    options = {"gradient_clip_val": None, "val_check_interval": steps} | options
    return fit(folder, module, steps, ckpt_path, **options)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, knee, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    module = Stage3(knee)
    train(folder, module, steps, devices=2)
    weights = {name: whole(p).detach() for name, p in module.named_parameters()}
    torch.save(weights, folder / f"rank{module.global_rank}.pt")
