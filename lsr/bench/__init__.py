"""Measurements: the same work by different implementations, side by side in one run."""
