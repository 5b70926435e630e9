"""`lsr bench`: the same work by different implementations, side by side in one run; a time counts if the result is right."""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    import torch

    from lsr.bench_cases import Case
    from lsr.bench_timing import Roofline

_COLUMNS = ("shape", "implementation", "ms", "peak MiB", "GFLOP", "MB", "% of roofline", "times faster", "error")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr bench",
        description="Time attention, the other operators and the transformer beside their peers, and how time grows with the picture. "
        "Writes tables (.md, .csv) and a picture to --out. Exit code 1: an implementation failed or gave a wrong result, and its time "
        "is not shown.",
    )
    parser.add_argument("what", nargs="*", choices=["attention", "ops", "model", "scaling", []], help="default: all of them")
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
    from lsr.bench_timing import conditions, measure_roofline

    roofline = measure_roofline(device, dtype)
    header = f"{conditions(device, dtype)}; roofline {roofline.flops / 1e12:.2f} TFLOP/s, {roofline.bytes / 1e9:.1f} GB/s"
    wrong = 0
    for what in options.what or ["attention", "ops", "model", "scaling"]:
        if what == "scaling":
            _scaling(options.out, device, dtype, header, options.seconds)
        else:
            told = header + _absent(device) if what == "attention" else header
            wrong += _table(what, _cases(what, device, dtype), options.out, roofline, told, options.seconds)
    return SOME_FAILED if wrong else DONE


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


def _table(what: str, cases: "Iterable[Case]", out: Path, roofline: "Roofline", header: str, seconds: float) -> int:
    """Measure, print and write one table; returns the number of implementations with a wrong result."""
    from lsr.bench_cases import tensors
    from lsr.bench_timing import measure

    rows: list[dict[str, Any]] = []
    baselines: dict[str, float] = {}
    wrong = 0
    _write(f"{header}\n\n| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for case in cases:
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, "") | {"shape": case.shape, "implementation": case.name}
        row["GFLOP"], row["MB"] = f"{case.flops / 1e9:.2f}", f"{case.moved / 1e6:.1f}"
        try:
            device = tensors(case.run())[0].device
            error = case.error()
        except Exception as problem:  # what cannot run does not take the rows of the others with it
            wrong += 1
            row["ms"] = f"FAILED: {type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
            rows.append(row)
            _write(_line(row))
            continue
        row["error"] = "another function" if error is None else f"{error:.1e}"
        if error is not None and not error <= case.tolerance:
            wrong += 1
            row["ms"] = f"WRONG: error above {case.tolerance:g}"
        else:
            taken = measure(case.run, device, seconds)
            if case.baseline:
                baselines[case.shape] = taken.seconds
            row["ms"] = f"{1e3 * taken.seconds:.3f}"
            row["peak MiB"] = "" if taken.peak_bytes is None else f"{taken.peak_bytes / 2**20:.1f}"
            row["% of roofline"] = f"{100 * roofline.least_seconds(case.flops, case.moved) / taken.seconds:.0f}"
            row["times faster"] = f"{baselines[case.shape] / taken.seconds:.2f}" if case.shape in baselines else ""
        rows.append(row)
        _write(_line(row))
    _save(out, what, header, rows)
    return wrong


def _scaling(out: Path, device: "torch.device", dtype: "torch.dtype", header: str, limit: float) -> None:
    from lsr.bench_scaling import crossing, draw_scaling, scaling_curves

    linear, softmax = curves = scaling_curves(device, dtype, limit)
    rows = [
        {"tokens": n, "linear ms": f"{1e3 * one:.3f}", "softmax ms": f"{1e3 * softmax.seconds[i]:.3f}" if i < len(softmax.tokens) else ""}
        for i, (n, one) in enumerate(zip(linear.tokens, linear.seconds, strict=True))
    ]
    _write(f"{header}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        _write(_line(row))
    crossed = crossing(linear, softmax)
    summary = (
        f"time grows as N^{linear.exponent:.2f} (linear) and N^{softmax.exponent:.2f} (softmax); linear is faster from N = {crossed} on"
    )
    _write(summary)
    _save(out, "scaling", f"{header}\n{summary}", rows)
    draw_scaling(curves, out / "scaling.png", header)


def _line(row: dict[str, Any]) -> str:
    return f"| {' | '.join(map(str, row.values()))} |"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _save(out: Path, name: str, header: str, rows: Sequence[dict[str, Any]]) -> None:
    from lsr.atomic import atomic_path

    columns = list(rows[0])
    with atomic_path(out / f"{name}.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *map(_line, rows)]
    with atomic_path(out / f"{name}.md") as temporary:
        temporary.write_text(header + "\n\n" + "\n".join(table) + "\n")
