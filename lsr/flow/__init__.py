"""Rectified flow: the path, its times and its samplers. `t = 0` is data, `t = 1` is noise."""
