import itertools

import pytest

from datamodules.stream import StreamBatchSampler


def samples(batches, **options):
    sampler = StreamBatchSampler(**{"length": 7, "batch_size": 4, "seed": 3} | options)
    return [sample for batch in itertools.islice(iter(sampler), batches) for sample in batch]


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
    assert samples(3, start=lambda: 24, batch_size=4, rank=1, world_size=2) == whole[28:32] + whole[36:40] + whole[44:48]


def test_the_seed_decides_the_order():
    assert samples(5) == samples(5) != samples(5, seed=4)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        StreamBatchSampler(7, 0, 0)
