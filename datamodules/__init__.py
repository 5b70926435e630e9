"""DataModules: the data of training, validation, test and prediction.

`experiments/*.yaml` name them by class path.
"""

from datamodules.paired import PairedDataModule
from datamodules.real_esrgan import RealESRGANDataModule
from datamodules.real_lq import RealLQDataModule

__all__ = ["PairedDataModule", "RealESRGANDataModule", "RealLQDataModule"]
