"""Which expert a training step trains: a function of the step alone, so the same on every rank and after a resume."""

from functools import lru_cache

import numpy as np

_STREAM = 0x6578706572747321  # the second Philox key word: keeps these numbers apart from other users of the same seed


@lru_cache(maxsize=8)
def _round(number: int, n_experts: int) -> tuple[int, ...]:
    generator = np.random.Generator(np.random.Philox(key=[0, _STREAM], counter=[0, 0, 0, number]))
    return tuple(generator.permutation(n_experts).tolist())


def expert_of_step(step: int, n_experts: int) -> int:
    """Return the expert that optimiser step `step` trains: each has one turn in every round of `n_experts` steps, in random order."""
    return _round(step // n_experts, n_experts)[step % n_experts]


def steps_taken(expert: int, step: int, n_experts: int) -> int:
    """Return how many of the optimiser steps before `step` were the expert's."""
    rounds, place = divmod(step, n_experts)
    return rounds + (expert in _round(rounds, n_experts)[:place])
