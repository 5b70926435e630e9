"""Synthetic degradation of photographs: HR images in, LR images out."""

from lsr.degradations.config import DegradationConfig
from lsr.degradations.parameters import DegradationParameters
from lsr.degradations.pipeline import apply, pair
from lsr.degradations.presets import PRESETS
from lsr.degradations.random_parameters import draw

__all__ = ["PRESETS", "DegradationConfig", "DegradationParameters", "apply", "draw", "pair"]
