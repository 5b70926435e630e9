"""`lsr bench`: the same work by different implementations, side by side in one run; a time counts if the result is right."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.exit_codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    import torch

    from lsr.bench.cases import Case
    from lsr.bench.table import Bench


def _attention(bench: "Bench") -> int:
    from lsr.bench.table import compare, say

    say(_absent(bench.device).removeprefix("; "))
    told = replace(bench, header=bench.header + _absent(bench.device))
    return compare(told, "attention", _cases("attention", bench.device, bench.dtype))


def _ops(bench: "Bench") -> int:
    from lsr.bench.table import compare

    return compare(bench, "ops", _cases("ops", bench.device, bench.dtype))


def _model(bench: "Bench") -> int:
    from lsr.bench.table import compare

    return compare(bench, "model", _cases("model", bench.device, bench.dtype))


def _scaling(bench: "Bench") -> int:
    from lsr.bench.scaling import scaling

    return scaling(bench)


def _training(bench: "Bench") -> int:
    from lsr.bench.training import training

    return training(bench)


def _experts(bench: "Bench") -> int:
    from lsr.bench.experts import experts

    return experts(bench)


def _e2e(bench: "Bench") -> int:
    from lsr.bench.end_to_end import e2e

    return e2e(bench)


def _context(bench: "Bench") -> int:
    from lsr.bench.context import context

    return context(bench)


SUITES: dict[str, Callable[["Bench"], int]] = {
    "attention": _attention,
    "ops": _ops,
    "model": _model,
    "scaling": _scaling,
    "training": _training,
    "experts": _experts,
    "e2e": _e2e,
    "context": _context,
}
"""What can be measured: name -> a function that measures, prints and writes, and returns how many results were wrong."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr bench",
        description="Time attention, the other operators and the transformer beside their peers, how time grows with the picture, a "
        "training step, what experts and guidance cost at a step, and the whole way from LR to SR (e2e). Writes tables (.md, .csv) and "
        "a picture to --out. Exit code 1: an implementation failed or gave a wrong result, and its time is not shown.",
    )
    parser.add_argument(
        "what", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all of them)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="default runs/bench"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="default: bfloat16 on a GPU, float32 on a CPU",
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="time to spend on each row (default 2)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="e2e: the model, .safetensors or a checkpoint"
    )
    parser.add_argument(
        "--size",
        help="e2e: a named size with random weights (default: sana-1.6b on a GPU, tiny on a CPU)",
    )
    parser.add_argument("--steps", type=int, default=1, help="e2e: sampling steps (default 1)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    unknown = [what for what in options.what if what not in SUITES]
    if unknown:
        raise ValueError(f"unknown {', '.join(map(repr, unknown))}; known are {', '.join(SUITES)}")
    if options.model and options.size:
        raise ValueError("--model and --size name two models: choose one")
    if options.steps < 1:
        raise ValueError(f"--steps must be at least 1, not {options.steps}")
    import torch

    if (options.device or "").startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {options.device}: there is no GPU here that torch can use")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the one whose clock and memory are asked
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    from lsr.bench.table import Bench, say
    from lsr.bench.timing import conditions, measure_roofline

    roofline = measure_roofline(device, dtype)
    header = f"{conditions(device, dtype)}; roofline {roofline.flops / 1e12:.2f} TFLOP/s, {roofline.bytes / 1e9:.1f} GB/s"
    say(header)
    bench = Bench(
        device,
        dtype,
        roofline,
        header,
        options.out,
        options.seconds,
        options.model,
        options.size,
        options.steps,
    )
    return SOME_FAILED if sum(SUITES[what](bench) for what in options.what or SUITES) else DONE


def _absent(device: "torch.device") -> str:
    """Tell which kernels of others are not among the rows."""
    from lsr.bench.peers import absent_peers

    return "".join(f"; without {name}: {why}" for name, why in absent_peers(device).items())


def _cases(what: str, device: "torch.device", dtype: "torch.dtype") -> "Iterable[Case]":
    from lsr.bench.cases import attention_cases, model_cases

    large = device.type == "cuda"
    if what == "attention":
        for tokens in (1024, 4096, 16384):
            yield from attention_cases(
                device, dtype, 8 if large else 1, tokens, 70 if large else 16, 32
            )
    elif what == "ops":
        from lsr.bench.ops import glu_conv_cases, modulated_norm_cases

        width = 2240 if large else 512
        for batch, side in ((1, 32), (8, 64)) if large else ((1, 32),):
            yield from glu_conv_cases(device, dtype, batch, side, 5 * width // 2)
            yield from modulated_norm_cases(device, dtype, batch, side * side, width)
    else:
        yield from model_cases(
            device,
            dtype,
            32 if large else 64,
            2240 if large else 512,
            20 if large else 6,
            context=16,
        )
