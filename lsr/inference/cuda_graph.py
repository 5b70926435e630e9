"""Replaying a network as a CUDA graph: one launch instead of hundreds, where launching takes longer than computing."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from lsr.nn.dit import LinearDiT

_MOST_GRAPHS = 4
"""Each keeps the memory of all its intermediate results; of more shapes the one that was used least recently is let go."""


class GraphReplay:
    """A function of tensors that is captured once for every set of shapes and types, and replayed from then on.

    The first call of a shape runs as it stands: a shape that does not come again costs nothing, and what compiles itself at its first
    call has done so before the capture. On a CPU, under autocast (whose cache of weights a graph would outlive) and where gradients
    are recorded every call runs as it stands.

    A graph holds addresses: what the function uses beside its inputs may change in place, but must stay where it is.

    Args:
        function: Maps tensors, tuples of them, or None in place of some, to a tensor; decides by their shapes and types alone and
            waits for no result.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._replays: OrderedDict[tuple, Callable[..., Tensor] | None] = OrderedDict()

    def __call__(self, *arguments: Any) -> Tensor:
        """Return the function's value, in memory of its own."""
        inputs, structure = tree_flatten(arguments)  # keys and values of a context come in tuples
        on_gpu = all(x is None or x.is_cuda for x in inputs)
        if not on_gpu or torch.is_grad_enabled() or torch.is_autocast_enabled("cuda"):
            return self._function(*arguments)
        key = (str(structure), *(x if x is None else (x.shape, x.dtype, x.device) for x in inputs))
        seen, replay = key in self._replays, self._replays.pop(key, None)
        if seen and replay is None:
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
    """Capture one call of `function` and return a function of inputs like these that replays it."""
    read = tuple(x if x is None else x.clone() for x in inputs)
    device = next(x.device for x in inputs if x is not None)
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            function(*read)  # what libraries set up for themselves must not be captured
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            written = function(*read)

    def replay(*inputs: Tensor | None) -> Tensor:
        for target, source in zip(read, inputs, strict=True):
            if target is not None and source is not None:
                target.copy_(source)
        with torch.cuda.device(device):
            graph.replay()
        # The next replay writes to the same place.
        return written.clone()

    return replay


def replay_transformers(denoiser: nn.Module) -> None:
    """Let every transformer in a denoiser, each expert's by itself, run as graphs; it must not be moved to another device then."""
    for module in denoiser.modules():
        if isinstance(module, LinearDiT) and not isinstance(module.forward, GraphReplay):
            vars(module)["forward"] = GraphReplay(module.forward)
