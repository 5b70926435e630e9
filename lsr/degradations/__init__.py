"""Synthetic degradation of photographs: HR images in, LR images out."""

from lsr.degradations.config import PRESETS, DegradationConfig
from lsr.degradations.parameters import DegradationParameters, draw
from lsr.degradations.pipeline import apply, pair

__all__ = ["PRESETS", "DegradationConfig", "DegradationParameters", "apply", "draw", "pair"]
