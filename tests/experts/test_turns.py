from collections import Counter

import pytest

from lsr.experts.turns import Turns, expert_of_step, step_of_turn, steps_taken


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_every_expert_has_one_turn_in_every_round(n):
    for start in range(0, 50 * n, n):
        assert sorted(expert_of_step(step, n) for step in range(start, start + n)) == list(range(n))


def test_the_order_changes_from_round_to_round():
    orders = Counter(
        tuple(expert_of_step(step, 4) for step in range(start, start + 4))
        for start in range(0, 4 * 480, 4)
    )
    assert len(orders) == 24 and max(orders.values()) < 45, "all orders, about 20 times each"


@pytest.mark.parametrize("n", [1, 4])
def test_steps_taken_counts_the_turns_so_far(n):
    counts = [0] * n
    for step in range(40):
        assert [steps_taken(expert, step, n) for expert in range(n)] == counts
        counts[expert_of_step(step, n)] += 1


@pytest.mark.parametrize("n", [1, 4, 5])
def test_the_turns_of_all_experts_are_the_steps(n):
    for expert in range(n):
        steps = [step_of_turn(expert, turn, n) for turn in range(30)]
        assert steps == [step for step in range(30 * n) if expert_of_step(step, n) == expert]


def test_an_expert_alone_takes_its_batches_of_the_run_of_all():
    together, alone = Turns(4), Turns(4, alone=2)
    assert [together.stream_batch(k, 3) for k in range(40)] == list(range(40))
    its_own = [k for k in range(120) if together.expert(k // 3) == 2]
    assert [alone.stream_batch(k, 3) for k in range(30)] == its_own
    assert {alone.expert(step) for step in range(30)} == {2}
