"""Where training and validation pairs come from. Named by class path in `experiments/*.yaml`."""

from datamodules.paired import PairedDataModule
from datamodules.real_esrgan import RealESRGANDataModule
from datamodules.real_lq import RealLQDataModule

__all__ = ["PairedDataModule", "RealESRGANDataModule", "RealLQDataModule"]
