"""Stage 1 through `lsr fit` with tiny settings, in `runs/stage1` of the working folder.

The run continues from its last checkpoint, and ends at a knee after some sixty steps.
"""

from lsr.cli import main
from support.processes import TINY_STAGE1
from support.small_run import SMALL

KNEE = "trainer.callbacks.KneePointCallback"

SETTINGS = SMALL | {
    "ckpt_path": "last",
    "model.denoiser.patch_size": 4,
    # A network that starts from noise rises fast and then reaches a plateau.
    "model.denoiser.prediction": "velocity",
    "model.optimizer.lr": 3e-2,
    "model.optimizer.warmup_steps": 5,
    "model.val_metrics": "[psnr_y, ssim_y]",
    "model.niqe_parameters": "null",
    "trainer.default_root_dir": "runs/stage1",
    "trainer.max_steps": 200,
    "trainer.val_check_interval": 4,
    "trainer.callbacks.EMA.decay": 0.5,
    f"{KNEE}.metrics": "{val/psnr_y: max, val/ssim_y: max}",
    f"{KNEE}.confidence": 0.51,
    f"{KNEE}.wait": 0.05,
}

if __name__ == "__main__":
    options = [str(part) for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    assert main(["fit", "--config", str(TINY_STAGE1), *options]) == 0
