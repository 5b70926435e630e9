"""Apply a function to the items of a stream in threads, in order and only a few items ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Value = TypeVar("Value")


def map_ahead(function: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Value]:
    """Yield the values of a function in the order of the items.

    The function runs in as many threads as PyTorch's operations use (OMP_NUM_THREADS). At most that
    many values wait to be used: a stream of rows stays a stream.

    Args:
        function: Function that spends its time outside of Python, such as compression.
        items: The items; they are read in this thread.
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
