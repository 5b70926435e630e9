"""Functions that run in threads over a stream."""

import itertools

import pytest
import torch

from lsr.images.threads import map_ahead


def test_values_come_in_order_and_the_stream_is_read_only_a_few_items_ahead():
    read = []
    values = map_ahead(lambda x: x * x, (read.append(i) or i for i in itertools.count()))
    assert [next(values) for _ in range(20)] == [i * i for i in range(20)]
    assert len(read) <= 20 + torch.get_num_threads()
    values.close()


def test_an_error_of_an_item_or_of_the_stream_reaches_the_reader():
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda x: 1 // x, [1, 0, 1]))

    def broken():
        yield 1
        raise OSError("the stream broke")

    with pytest.raises(OSError, match="the stream broke"):
        list(map_ahead(lambda x: x, broken()))
