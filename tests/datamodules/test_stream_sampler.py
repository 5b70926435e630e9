import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.stream_sampler import StreamBatchSampler, shares_of


def samples(n, **options):
    sampler = StreamBatchSampler(**{"lengths": [3, 4], "batch_size": 4, "seed": 3} | options)
    return [sample for batch in itertools.islice(iter(sampler), n) for sample in batch]


def test_every_photograph_once_per_draw_in_a_new_order():
    stream = samples(21)
    draws = [stream[i : i + 7] for i in range(0, 84, 7)]
    for number, part in enumerate(draws):
        assert {draw for draw, _ in part} == {number}
        assert sorted(index for _, index in part) == list(range(7))
    assert len({tuple(index for _, index in part) for part in draws}) > 6


def test_ranks_share_the_stream_of_one():
    whole = samples(6, batch_size=12)
    ranks = [samples(6, rank=rank, world_size=3) for rank in range(3)]
    for k in range(6):
        assert [s for rank in ranks for s in rank[4 * k : 4 * k + 4]] == whole[12 * k : 12 * k + 12]


def test_the_stream_continues_where_it_was_left_also_on_other_ranks():
    whole = samples(12)
    assert samples(7, start=lambda: 20) == whole[20:]
    assert (
        samples(3, start=lambda: 24, batch_size=4, rank=1, world_size=2)
        == whole[28:32] + whole[36:40] + whole[44:48]
    )


def test_the_seed_decides_the_order():
    assert samples(5) == samples(5) != samples(5, seed=4)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        StreamBatchSampler([7], 0, 0)


def test_weights_decide_how_often_each_source_is_drawn_from_and_its_photographs_are_drawn_alike():
    stream = samples(1000, lengths=[10, 3], weights=[1, 3])
    assert len(set(stream)) == 4000, "no draw of a photograph twice"
    for start in range(0, 4000, 1000):
        assert sum(index < 10 for _, index in stream[start : start + 1000]) == 250
    counts = Counter(index for _, index in stream)
    assert all(counts[index] == 100 for index in range(10)) and all(
        counts[index] == 1000 for index in range(10, 13)
    )
    assert [index < 10 for _, index in stream[:1000]] != [
        index < 10 for _, index in stream[1000:2000]
    ]


def test_a_weighted_stream_is_shared_and_continued_like_any():
    options = {"lengths": [10, 3], "weights": [0.3, 0.7]}
    whole = samples(600, **options)
    assert samples(100, start=lambda: 2000, **options) == whole[2000:]
    ranks = [samples(300, rank=rank, world_size=2, **options) for rank in range(2)]
    assert [s for k in range(300) for rank in ranks for s in rank[4 * k : 4 * k + 4]] == whole


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=100))
def test_shares_are_the_weights_as_nearly_as_whole_numbers_can_be(weights):
    shares = np.array(shares_of(weights))
    assert shares.sum() == 1000 and shares.min() >= 1
    exact = np.array(weights) / sum(weights) * 1000
    assert (np.abs(shares - exact) < 1 + (exact < 1).sum()).all()


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [1, float("nan")], [1], []])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        StreamBatchSampler([3, 4], 4, 0, weights=weights)


def test_batches_can_be_chosen_also_by_several_ranks_and_after_a_resume():
    whole = samples(12, batch_size=8)
    wanted = [sample for k in (1, 4, 7, 10) for sample in whole[8 * k : 8 * k + 8]]
    chosen = {"batches": lambda k: 3 * k + 1}
    assert samples(4, batch_size=8, **chosen) == wanted
    ranks = [samples(4, rank=rank, world_size=2, **chosen) for rank in range(2)]
    assert [
        sample for k in range(4) for rank in ranks for sample in rank[4 * k : 4 * k + 4]
    ] == wanted
    assert samples(2, batch_size=8, start=lambda: 16, **chosen) == wanted[16:]
