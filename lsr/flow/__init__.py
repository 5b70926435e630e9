"""Rectified flow: its path, noise, times and samplers. `lsr.flow.path` defines the symbols."""
