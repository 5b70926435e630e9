"""Benchmarks: implementations of the same work, compared with each other in one run."""
