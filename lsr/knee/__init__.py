"""ESGF: the detector of the knee point, the folder that publishes it, its figure and its replay."""

from lsr.knee.detector import KneeDetector, KneeVerdict

__all__ = ["KneeDetector", "KneeVerdict"]
