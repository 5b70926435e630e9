"""Evaluation of super-resolution results, the library behind `lsr eval`."""
