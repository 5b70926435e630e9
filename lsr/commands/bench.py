"""`lsr bench`: compare implementations of the same work in one run; wrong results get no time."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE, SOME_FAILED

if TYPE_CHECKING:
    import torch

    from lsr.bench.table import Bench

SUITES: dict[str, str] = {
    "attention": "lsr.bench.attention",
    "ops": "lsr.bench.ops",
    "model": "lsr.bench.model",
    "scaling": "lsr.bench.scaling",
    "training": "lsr.bench.training",
    "experts": "lsr.bench.experts",
    "e2e": "lsr.bench.end_to_end",
    "pictures": "lsr.bench.pictures",
    "context": "lsr.bench.guidance",
}
"""Suite -> module with `measure(bench) -> int`, which returns the number of wrong results."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr bench",
        description="Time attention, the other operators (ops) and the transformer (model), each "
        "compared with implementations of other projects; attention over the number of tokens "
        "(scaling); a training step; what experts and guidance (context) add to a sampling step; "
        "the whole way from LR to SR (e2e); and pictures of several sizes. Writes tables (.md, "
        ".csv) and a picture to --out. Exit code 1: an implementation failed or gave a wrong "
        "result, and its time is not shown.",
        examples=[
            "lsr bench attention ops --out runs/bench",
            "lsr bench e2e --model model.safetensors --steps 4",
        ],
    )
    parser.add_argument(
        "what", nargs="*", metavar="|".join(SUITES), help="what to measure (default: all of them)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/bench"),
        metavar="DIR",
        help="folder for tables and pictures (default runs/bench)",
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is a GPU)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="precision (default: bfloat16 on a GPU, float32 on a CPU)",
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="seconds to spend on each row (default 2)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="e2e: model file, .safetensors or a checkpoint"
    )
    parser.add_argument(
        "--size",
        help="e2e: a named size with random weights; an unknown name prints the list (default: "
        "sana-1.6b on a GPU, tiny on a CPU)",
    )
    parser.add_argument("--steps", type=int, default=1, help="e2e: sampling steps (default 1)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb.

    Args:
        arguments: Command line, from the verb on.

    Returns:
        The exit code.

    Raises:
        ValueError: A suite is unknown, options contradict each other, or there is no GPU.
    """
    options = parser().parse_args(arguments[1:])
    _check(options)
    bench = _bench(options)
    suites = options.what or SUITES
    wrong = sum(importlib.import_module(SUITES[suite]).measure(bench) for suite in suites)
    return SOME_FAILED if wrong else DONE


def _check(options: argparse.Namespace) -> None:
    unknown = [suite for suite in options.what if suite not in SUITES]
    if unknown:
        raise ValueError(
            f"unknown part {', '.join(map(repr, unknown))}; known are {', '.join(SUITES)}"
        )
    if options.model and options.size:
        raise ValueError("--model and --size both choose the model: give only one of them")
    if options.steps < 1:
        raise ValueError(f"--steps must be at least 1, not {options.steps}")


def _device(wanted: str | None) -> "torch.device":
    import torch

    if (wanted or "").startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {wanted}: PyTorch finds no GPU; use --device cpu")
    device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        # The functions of torch.cuda that wait and count memory act on the current device.
        torch.cuda.set_device(device)
    return device


def _bench(options: argparse.Namespace) -> "Bench":
    """Return the settings of the run, after measuring the highest speeds of the device."""
    import torch

    from lsr.bench.table import Bench, say
    from lsr.bench.timing import conditions, measure_roofline

    device = _device(options.device)
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    roofline = measure_roofline(device, dtype)
    speeds = f"{roofline.flops / 1e12:.2f} TFLOP/s, {roofline.bytes / 1e9:.1f} GB/s"
    header = f"{conditions(device, dtype)}; roofline {speeds}"
    say(header)
    return Bench(
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
