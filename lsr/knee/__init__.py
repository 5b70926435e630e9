"""The knee of validation curves: its detector, its published folder, its figure and its replay."""

from lsr.knee.detector import KneeDetector
from lsr.knee.verdict import KneeVerdict

__all__ = ["KneeDetector", "KneeVerdict"]
