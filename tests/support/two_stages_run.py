"""Twenty steps of both stages: `two_stages_run.py FOLDER PHOTOGRAPHS KNEE NODES`.

torchrun starts it on its ranks.
"""

import sys
from pathlib import Path

import torch

from datamodules import RealESRGANDataModule
from lsr.experts.config import ExpertsConfig
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig
from support.knee_folder import SMALL
from support.stage2_run import fit

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, photographs, knee, nodes = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    for stage, experts in (("stage1", None), ("stage2", ExpertsConfig(knee))):
        torch.manual_seed(0)
        module = LinearSRModule(
            SMALL,
            OptimizerConfig(lr=1e-3, warmup_steps=2),
            6.0,
            experts=experts,
            val_metrics=("psnr_y",),
        )
        data = RealESRGANDataModule(
            [photographs],
            [photographs],
            crop_size=32,
            val_crop_size=32,
            batch_size=2,
            num_workers=0,
        )
        fit(
            folder / stage,
            module,
            20,
            data=data,
            num_nodes=nodes,
            devices=2 // nodes,
            val_check_interval=20,
        )
