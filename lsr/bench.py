"""`lsr bench`: the same work by different implementations, side by side in one run; a time counts if the result is right."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.exit_codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    import torch

    from lsr.bench_cases import Case
    from lsr.bench_table import Bench


def _attention(bench: "Bench") -> int:
    from lsr.bench_table import compare, say

    absent = _absent(bench.device)
    say(f"attention{absent}")
    return compare(replace(bench, header=bench.header + absent), "attention", _cases("attention", bench.device, bench.dtype))


def _model(bench: "Bench") -> int:
    from lsr.bench_table import compare

    return compare(bench, "model", _cases("model", bench.device, bench.dtype))


def _ops(bench: "Bench") -> int:
    from lsr.bench_table import compare

    return compare(bench, "ops", _cases("ops", bench.device, bench.dtype))


def _scaling(bench: "Bench") -> int:
    from lsr.bench_scaling import scaling

    return scaling(bench)


def _context(bench: "Bench") -> int:
    from lsr.bench_context import context

    return context(bench)


SUITES: dict[str, Callable[["Bench"], int]] = {
    "attention": _attention,
    "ops": _ops,
    "model": _model,
    "scaling": _scaling,
    "context": _context,
}
"""What can be measured: name -> a function that measures, prints and writes, and returns how many results were wrong."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr bench",
        description="Time attention, the other operators and the transformer beside their peers, and how time grows with the picture. "
        "Writes tables (.md, .csv) and a picture to --out. Exit code 1: an implementation failed or gave a wrong result, and its time "
        "is not shown.",
    )
    parser.add_argument("what", nargs="*", choices=[*SUITES, []], help="default: all of them")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="default runs/bench")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on each row (default 2)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    import torch

    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    from lsr.bench_table import Bench, say
    from lsr.bench_timing import conditions, measure_roofline

    roofline = measure_roofline(device, dtype)
    header = f"{conditions(device, dtype)}; roofline {roofline.flops / 1e12:.2f} TFLOP/s, {roofline.bytes / 1e9:.1f} GB/s"
    say(header)
    bench = Bench(device, dtype, roofline, header, options.out, options.seconds)
    return SOME_FAILED if sum(SUITES[what](bench) for what in options.what or SUITES) else DONE


def _absent(device: "torch.device") -> str:
    """Tell which kernels of others are not among the rows."""
    from lsr.bench_peers import absent_peers

    return "".join(f"; without {name}: {why}" for name, why in absent_peers(device).items())


def _cases(what: str, device: "torch.device", dtype: "torch.dtype") -> "Iterable[Case]":
    from lsr.bench_cases import attention_cases, model_cases

    large = device.type == "cuda"
    if what == "attention":
        for tokens in (1024, 4096, 16384):
            yield from attention_cases(device, dtype, 8 if large else 1, tokens, 70 if large else 16, 32)
    elif what == "ops":
        from lsr.bench_ops import glu_conv_cases, modulated_norm_cases

        width = 2240 if large else 512
        for batch, side in ((1, 32), (8, 64)) if large else ((1, 32),):
            yield from glu_conv_cases(device, dtype, batch, side, 5 * width // 2)
            yield from modulated_norm_cases(device, dtype, batch, side * side, width)
    else:
        yield from model_cases(device, dtype, 32 if large else 64, 2240 if large else 512, 20 if large else 6, context=16)
