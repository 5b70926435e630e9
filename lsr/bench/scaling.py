"""How time grows with the picture: linear against softmax attention, with the fitted exponents."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from lsr.bench.cases import softmax_attention
from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import measure
from lsr.files import atomic_path
from lsr.ops.linear_attention import linear_attention

_FITTED = 3  # the largest sizes tell the exponent; small ones are overhead


@dataclass(frozen=True)
class Curve:
    """Times of one implementation.

    Attributes:
        name: The implementation.
        tokens: Numbers of tokens, increasing.
        seconds: Times of a call.
    """

    name: str
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Slope of ln(time) over ln(tokens) at the largest sizes, by least squares."""
        x = [math.log(n) for n in self.tokens[-_FITTED:]]
        y = [math.log(s) for s in self.seconds[-_FITTED:]]
        x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
        return sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True)) / sum(
            (a - x_mean) ** 2 for a in x
        )


def scaling_curves(
    device: torch.device, dtype: torch.dtype, limit: float, heads: int = 16, dim: int = 32
) -> list[Curve]:
    """Time both attentions over ever more tokens, each until a call takes longer than `limit` seconds or memory ends.

    At least as many sizes as the exponent is fitted to.
    """
    generator = torch.Generator(device).manual_seed(0)
    curves = []
    for name, attention in (
        ("linear attention", linear_attention),
        ("softmax attention", softmax_attention),
    ):
        tokens, seconds = [], []
        n = 256
        while n <= 2**18 and (len(seconds) < _FITTED or 4 * seconds[-1] < limit):
            try:
                qkv = torch.randn(1, n, 3, heads, dim, generator=generator, device=device).to(dtype)
                seconds.append(measure(partial(attention, qkv), device, 0.2).seconds)
            except (RuntimeError, torch.OutOfMemoryError):
                break
            tokens.append(n)
            n *= 2
        curves.append(Curve(name, tuple(tokens), tuple(seconds)))
    return curves


def scaling(bench: Bench) -> int:
    """Measure, print, write and draw the suite; no result can be wrong here."""
    linear, softmax = curves = scaling_curves(bench.device, bench.dtype, bench.seconds)
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
    draw_scaling(curves, bench.out / "scaling.png", bench.header)
    return 0


def crossing(linear: Curve, softmax: Curve) -> int | None:
    """Return the least number of tokens from which on linear attention is the faster one; None if it never is."""
    faster = None
    for n, one, other in reversed(
        list(zip(linear.tokens, linear.seconds, softmax.seconds, strict=False))
    ):
        if one >= other:
            break
        faster = n
    return faster


def draw_scaling(curves: Sequence[Curve], path: Path, title: str) -> None:
    """Write a PNG of time over tokens, both logarithmic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve, colour in zip(curves, ("#0072B2", "#D55E00"), strict=True):
        label = f"{curve.name}: N^{curve.exponent:.2f}"
        axes.loglog(
            curve.tokens, [1e3 * s for s in curve.seconds], "o-", color=colour, label=label, base=2
        )
    axes.set_yscale("log", base=10)
    axes.set_xlabel("tokens N (one per 32 x 32 pixels: 1024 are a picture of 1024 x 1024)")
    axes.set_ylabel("milliseconds")
    axes.set_title(textwrap.fill(title, 90), fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
