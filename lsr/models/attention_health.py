"""How close the sums of linear attention are to the limits of half precision.

The sums are float32 here (`lsr.ops.linear_attention.reference`), so these limits do not end a run
of this package. They tell where code that sums in half precision fails, and how far long training
has driven the attention.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lsr.distributed.tensors import whole
from lsr.nn.attention import LinearSelfAttention
from lsr.ops.linear_attention import key_value_sums, unpacked

FLOAT16_MAX = 65504.0
"""Largest finite number of float16."""

HEADROOM = "health/float16_headroom"
"""Name under which the headroom is logged: `FLOAT16_MAX` divided by the largest sum."""

_QUERIES = 256
"""Number of queries, evenly spread, at which denominators and rounding are measured."""


@dataclass(frozen=True)
class AttentionSums:
    """The sums of one linear attention over the tokens of each image, the worst of all images.

    Attributes:
        largest: Largest |S|, where S = sum_n relu(k_n)^T v_n; not divided by the number of tokens.
        smallest_denominator: Smallest relu(q) . z of the queries that are not dead, where z is the
            mean of relu(k): the number that the attention divides by; 0 if all queries are dead.
        dead_keys: Share of the keys of all heads without a positive component. They add nothing.
        bfloat16_error: Error of the output, relative to its root mean square, if S and z are
            rounded to bfloat16.
        tokens: Number of tokens.
    """

    largest: float
    smallest_denominator: float
    dead_keys: float
    bfloat16_error: float
    tokens: int


@torch.no_grad()
def sums_of_attention(q: Tensor, k: Tensor, v: Tensor) -> AttentionSums:
    """Measure the attention of queries, keys and values (B, N, A, E) of some images.

    Everything is float32, also under autocast.
    """
    with torch.autocast(q.device.type, enabled=False):
        return _measured(q, k, v)


def _measured(q: Tensor, k: Tensor, v: Tensor) -> AttentionSums:
    tokens = q.shape[1]
    some = q[:, :: -(-tokens // _QUERIES)].transpose(1, 2).float().relu()
    sums = key_value_sums(k, v)
    exact = some @ sums
    is_live = exact[..., -1] > 0
    largest = sums[..., :-1].abs().max()
    dead_keys = (k.amax(-1) <= 0).float().mean()
    if not is_live.any():
        return AttentionSums(float(largest), 0.0, float(dead_keys), 0.0, tokens)
    output, rounded = (
        (product[..., :-1] / product[..., -1:])[is_live]
        for product in (exact, some @ sums.bfloat16().float())
    )
    measured = torch.stack(
        [
            largest,
            exact[..., -1][is_live].min() / tokens,
            dead_keys,
            (rounded - output).norm() / output.norm(),
        ]
    )
    worst, smallest, dead, error = measured.tolist()
    return AttentionSums(worst, smallest, dead, error, tokens)


def attentions(model: nn.Module) -> dict[str, LinearSelfAttention]:
    """Return the linear attentions of a model by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, LinearSelfAttention)}


class AttentionRecorder:
    """Measures every linear attention of a model at its first call.

    Attributes:
        found: What was measured, by the name of the attention in the model.
        is_watching: Whether it is between `start` and `stop`.
    """

    def __init__(self) -> None:
        self.found: dict[str, AttentionSums] = {}
        self.is_watching = False
        self._hooks = ExitStack()

    def start(self, model: nn.Module) -> None:
        """Measure from now on. Until `stop`, compiled code runs uncompiled: it has no hooks."""
        self.found = {}
        self.is_watching = True
        self._hooks.enter_context(torch.compiler.set_stance("force_eager"))
        for name, attention in attentions(model).items():
            hook = attention.qkv.register_forward_hook(self._hook(name, attention))
            self._hooks.callback(hook.remove)

    def stop(self) -> None:
        """Remove all hooks. Nothing happens if there are none."""
        self.is_watching = False
        self._hooks.close()

    def _hook(self, name: str, attention: LinearSelfAttention) -> Any:
        def measure(_: nn.Module, __: Any, projected: Tensor) -> None:
            if name not in self.found:
                qkv = unpacked(attention.split(projected.detach()))
                self.found[name] = sums_of_attention(*qkv)

        return measure


def largest_weight_product(model: nn.Module) -> float:
    """Return the largest |W_q| |W_k| of all linear attentions, products of Frobenius norms.

    The attention does not change when W_q and W_k are scaled, so nothing holds their norms back:
    gradient steps are orthogonal to them, and can only let them grow. Every rank has to call this.
    """
    products = [
        torch.stack([part.float().norm() for part in whole(each.qkv.weight).chunk(3)[:2]]).prod()
        for each in attentions(model).values()
    ]
    return float(torch.stack(products).max())


def summary(sums: Sequence[AttentionSums]) -> dict[str, float]:
    """Return the worst values of all attentions, by the names under which they are logged."""
    largest = max(each.largest for each in sums)
    return {
        "health/largest_sum": largest,
        HEADROOM: FLOAT16_MAX / max(largest, 1e-30),
        "health/bfloat16_error": max(each.bfloat16_error for each in sums),
        "health/smallest_denominator": min(each.smallest_denominator for each in sums),
        "health/dead_keys": max(each.dead_keys for each in sums),
    }
