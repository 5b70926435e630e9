"""Where training and validation pairs come from. Named by class path in `experiments/*.yaml`."""

from datamodules.real_esrgan import RealESRGANDataModule

__all__ = ["RealESRGANDataModule"]
