"""Assign each optimiser step to one expert.

The expert depends on the step alone, so it is the same on every rank and after a resume.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Second word of the Philox key ("experts!" in ASCII): it separates these random numbers from those
# of other users of the same seed.
_STREAM = 0x6578706572747321


@lru_cache(maxsize=8)
def _round(number: int, n_experts: int) -> tuple[int, ...]:
    """Return the order of the experts in a round, a random permutation."""
    generator = np.random.Generator(np.random.Philox(key=[0, _STREAM], counter=[0, 0, 0, number]))
    return tuple(generator.permutation(n_experts).tolist())


def expert_of_step(step: int, n_experts: int) -> int:
    """Return the expert that optimiser step `step` trains.

    Each expert has one turn in every round of `n_experts` steps, in random order.
    """
    return _round(step // n_experts, n_experts)[step % n_experts]


def steps_taken(expert: int, step: int, n_experts: int) -> int:
    """Return how many of the optimiser steps before `step` trained the expert."""
    rounds, place = divmod(step, n_experts)
    return rounds + (expert in _round(rounds, n_experts)[:place])


def step_of_turn(expert: int, turn: int, n_experts: int) -> int:
    """Return the optimiser step at which an expert has its turn number `turn`, counted from 0."""
    return turn * n_experts + _round(turn, n_experts).index(expert)


@dataclass(frozen=True)
class Turns:
    """The schedule that assigns the steps of a run to the experts.

    A run that trains one expert alone repeats the steps that train this expert in a run of all
    experts, on the same batches: its step k is step `step_of_turn(alone, k)` of that run. So
    experts that are trained one by one equal experts that are trained together.

    Attributes:
        n_experts: Number of experts.
        alone: Index of the expert that is trained alone; None in a run of all experts.
    """

    n_experts: int
    alone: int | None = None

    def expert(self, step: int) -> int:
        """Return the expert that optimiser step `step` of this run trains."""
        return expert_of_step(step, self.n_experts) if self.alone is None else self.alone

    def stream_batch(self, number: int, per_step: int) -> int:
        """Return which batch of the training stream this run reads as its batch `number`.

        Args:
            number: Count of the batches of this run, from 0.
            per_step: Number of batches of one optimiser step (gradient accumulation).
        """
        if self.alone is None:
            return number
        turn, part = divmod(number, per_step)
        return step_of_turn(self.alone, turn, self.n_experts) * per_step + part
