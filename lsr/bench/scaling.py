"""`lsr bench scaling`: time of linear and of softmax attention over the number of tokens.

For each, an exponent is fitted: time grows as N^exponent.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lsr.bench.attention import softmax_attention
from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import time_calls
from lsr.figures import COLOURS, new_figure, save_png
from lsr.ops.linear_attention import linear_attention

_LEAST_TOKENS = 256
_MOST_TOKENS = 2**18

# The exponent is fitted to the largest sizes: at small ones, the overhead of a call dominates.
_FITTED = 3


@dataclass(frozen=True)
class Curve:
    """Times of one implementation.

    Attributes:
        name: Name of the implementation.
        tokens: Numbers of tokens N, increasing.
        seconds: Seconds of a call for each number of tokens.
    """

    name: str
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Slope of ln(time) over ln(tokens) at the largest sizes, by least squares."""
        x = [math.log(n) for n in self.tokens[-_FITTED:]]
        y = [math.log(s) for s in self.seconds[-_FITTED:]]
        x_mean = sum(x) / len(x)
        y_mean = sum(y) / len(y)
        covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
        return covariance / sum((a - x_mean) ** 2 for a in x)


def measure(bench: Bench) -> int:
    """Measure the suite and return 0: there is no reference that a result could differ from."""
    linear, softmax = scaling_curves(bench.device, bench.dtype, bench.seconds)
    table = Table(("tokens", "linear ms", "softmax ms"))
    for i, (n, seconds) in enumerate(zip(linear.tokens, linear.seconds, strict=True)):
        other = f"{1e3 * softmax.seconds[i]:.3f}" if i < len(softmax.tokens) else ""
        table.add({"tokens": str(n), "linear ms": f"{1e3 * seconds:.3f}", "softmax ms": other})
    summary = (
        f"time grows as N^{linear.exponent:.2f} (linear) and N^{softmax.exponent:.2f} (softmax); "
        f"linear is faster from N = {crossing(linear, softmax)} on"
    )
    say(summary)
    table.save(bench.out, "scaling", f"{bench.header}\n{summary}")
    draw_scaling([linear, softmax], bench.out / "scaling.png", bench.header)
    return 0


def scaling_curves(
    device: torch.device, dtype: torch.dtype, limit: float, heads: int = 16, dim: int = 32
) -> list[Curve]:
    """Time linear and softmax attention over increasing numbers of tokens.

    Args:
        device: Device of the tensors.
        dtype: Precision of the tensors.
        limit: Seconds of a call at which a curve ends, provided that it has the three sizes to
            which the exponent is fitted. A curve also ends where memory runs out.
        heads: Heads A.
        dim: Channels per head E.

    Returns:
        The curve of linear attention and that of softmax attention.
    """
    generator = torch.Generator(device).manual_seed(0)

    def curve(name: str, attention: Callable[[Tensor], Tensor]) -> Curve:
        tokens: list[int] = []
        seconds: list[float] = []
        n = _LEAST_TOKENS
        # Twice as many tokens take softmax attention four times as long.
        while n <= _MOST_TOKENS and (len(seconds) < _FITTED or 4 * seconds[-1] < limit):
            try:
                qkv = torch.randn(1, n, 3, heads, dim, generator=generator, device=device).to(dtype)
                seconds.append(time_calls(partial(attention, qkv), device, 0.2).seconds)
            except (RuntimeError, torch.OutOfMemoryError):
                break
            tokens.append(n)
            n *= 2
        return Curve(name, tuple(tokens), tuple(seconds))

    linear = curve("linear attention", linear_attention)
    return [linear, curve("softmax attention", softmax_attention)]


def crossing(linear: Curve, softmax: Curve) -> int | None:
    """Return the number of tokens from which on linear attention is always faster.

    None if it is not faster at the largest number of tokens that both curves have.
    """
    faster = None
    points = list(zip(linear.tokens, linear.seconds, softmax.seconds, strict=False))
    for n, one, other in reversed(points):
        if one >= other:
            break
        faster = n
    return faster


def draw_scaling(curves: Sequence[Curve], path: Path, title: str) -> None:
    """Write a PNG of time over tokens, both axes logarithmic.

    Args:
        curves: Two curves.
        path: File to write.
        title: Text above the picture; long text is wrapped.
    """
    figure = new_figure(7, 4.5, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for curve, colour in zip(curves, COLOURS[:2], strict=True):
        label = f"{curve.name}: N^{curve.exponent:.2f}"
        milliseconds = [1e3 * s for s in curve.seconds]
        axes.loglog(curve.tokens, milliseconds, "o-", color=colour, label=label, base=2)
    axes.set_yscale("log", base=10)
    axes.set_xlabel("tokens N (one per 32 x 32 pixels: 1024 are a picture of 1024 x 1024)")
    axes.set_ylabel("milliseconds")
    axes.set_title(textwrap.fill(title, 90), fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    save_png(figure, path)
