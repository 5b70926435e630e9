"""Which expert a training step trains: a function of the step alone, so the same on every rank and after a resume."""

from dataclasses import dataclass
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


def step_of_turn(expert: int, turn: int, n_experts: int) -> int:
    """Return the optimiser step that is the expert's turn number `turn`, counted from 0."""
    return turn * n_experts + _round(turn, n_experts).index(expert)


@dataclass(frozen=True)
class Turns:
    """Whose turn the steps of a run are.

    A run of one expert alone takes that expert's turns of the run of all, one after the other, on the batches that they have there:
    its step k is step `step_of_turn(alone, k)` of the other run.

    Attributes:
        n_experts: Number of experts.
        alone: The expert of a run of its own; None is a run of all.
    """

    n_experts: int
    alone: int | None = None

    def expert(self, step: int) -> int:
        """Return the expert that optimiser step `step` of the run trains."""
        return expert_of_step(step, self.n_experts) if self.alone is None else self.alone

    def stream_batch(self, number: int, per_step: int) -> int:
        """Return which batch of the training stream is the run's batch `number`, if `per_step` batches make a step."""
        if self.alone is None:
            return number
        turn, part = divmod(number, per_step)
        return step_of_turn(self.alone, turn, self.n_experts) * per_step + part
