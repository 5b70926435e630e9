"""Lightning callbacks of a run, named by class path in the YAML files of experiments."""

from callbacks.attention_health import AttentionHealth
from callbacks.divergence_guard import DivergenceGuard
from callbacks.ema import EMA
from callbacks.expert_quality import ExpertQuality
from callbacks.image_grid import ImageGrid
from callbacks.knee_point import KneePointCallback
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.naive_sums import NaiveSums
from callbacks.prediction_writer import PredictionWriter
from callbacks.progress import TrainingProgress

__all__ = [
    "EMA",
    "AttentionHealth",
    "DivergenceGuard",
    "ExpertQuality",
    "ImageGrid",
    "KneePointCallback",
    "LastCheckpoint",
    "NaiveSums",
    "PredictionWriter",
    "TrainingProgress",
]
