"""Replay a network as a CUDA graph: one launch instead of hundreds.

This is faster where launching the kernels takes longer than computing them.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from lsr.nn.dit import LinearDiT

_MOST_GRAPHS = 4
"""Most graphs per function: each keeps the memory of all its intermediate results."""


class GraphReplay:
    """A function of tensors that is captured once per set of shapes and dtypes, then replayed.

    The first call with new shapes runs the function itself: shapes that come only once cost
    nothing, and a function that compiles itself at its first call has done so before the capture.
    Every call runs the function itself on a CPU, where gradients are recorded, and under autocast,
    because a graph would outlive autocast's cache of weights. Of more than four graphs, the one
    that was used least recently is dropped.

    A graph holds addresses: weights, and all other tensors that the function uses without being
    given them, may change in place but must not move.

    Args:
        function: Maps tensors, None, or tuples of them to a tensor. What it does may depend on
            shapes and dtypes but not on values, and it must not wait for a result of the GPU.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._replays: OrderedDict[tuple, Callable[..., Tensor] | None] = OrderedDict()

    def __call__(self, *arguments: Any) -> Tensor:
        """Return the value of the function in memory that no later call overwrites."""
        inputs, structure = tree_flatten(arguments)  # a context is a tuple of keys and values
        on_gpu = all(x is None or x.is_cuda for x in inputs)
        if not on_gpu or torch.is_grad_enabled() or torch.is_autocast_enabled("cuda"):
            return self._function(*arguments)
        key = (str(structure), *(x if x is None else (x.shape, x.dtype, x.device) for x in inputs))
        is_known = key in self._replays
        replay = self._replays.pop(key, None)
        if is_known and replay is None:  # the second call of these shapes
            replay = capture(
                lambda *leaves: self._function(*tree_unflatten(leaves, structure)), tuple(inputs)
            )
        self._replays[key] = replay
        if len(self._replays) > _MOST_GRAPHS:
            self._replays.popitem(last=False)
        return replay(*inputs) if replay else self._function(*arguments)


def capture(
    function: Callable[..., Tensor], inputs: tuple[Tensor | None, ...]
) -> Callable[..., Tensor]:
    """Capture one call of a function as a CUDA graph.

    Args:
        function: See `GraphReplay`, without tuples.
        inputs: Inputs of the call; None where an argument is None.

    Returns:
        The function that replays the graph for inputs of the same shapes and dtypes.
    """
    read = tuple(x if x is None else x.clone() for x in inputs)
    device = next(x.device for x in inputs if x is not None)
    with torch.cuda.device(device):
        # PyTorch asks for a call on another stream before a capture: libraries such as cuBLAS
        # allocate their workspaces at the first call, which must not be captured.
        warmup = torch.cuda.Stream()
        warmup.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warmup):
            function(*read)
        torch.cuda.current_stream().wait_stream(warmup)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            written = function(*read)

    def replay(*inputs: Tensor | None) -> Tensor:
        for target, source in zip(read, inputs, strict=True):
            if target is not None and source is not None:
                target.copy_(source)
        with torch.cuda.device(device):
            graph.replay()
        # The next replay writes to the same memory.
        return written.clone()

    return replay


def replay_transformers(denoiser: nn.Module) -> None:
    """Replay the transformer of every denoiser, one per expert, as CUDA graphs from now on.

    The denoiser must not be moved to another device afterwards.
    """
    for module in denoiser.modules():
        if isinstance(module, LinearDiT) and not isinstance(module.forward, GraphReplay):
            vars(module)["forward"] = GraphReplay(module.forward)
