"""Write the table, the figure and the paragraph of `make esgf`.

    python experiments/esgf/report.py [runs/esgf]

Reads the runs of `stage1.yaml` and of `stage2.yaml`; writes `report.md` and `esgf.png` beside them.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import COLOURS, GREY, INK, RED, hide_top_and_right, new_figure, save_png
from lsr.files import atomic_path
from lsr.models.attention_health import FLOAT16_MAX, HEADROOM
from lsr.runs.history import RunLog
from lsr.runs.table import markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUN = re.compile(r"seed=(?P<start>\w+) lr=(?P<lr>\S+) dtype=(?P<sums>\w+)")
"""Name of a variant in `runs.csv` of `lsr ablate`."""

Cells = dict[tuple[str, str], dict[str, list[float | None]]]
"""(start, rate) -> type of the sums -> for each run its PSNR-Y, or None if it ended in NaN."""


def read_cells(table: Path) -> Cells:
    """Read the runs of stage 2.

    Raises:
        ValueError: If the file is missing or holds runs of another experiment.
    """
    if not table.is_file():
        raise ValueError(f"{table}: no such file: run stage 2 first (make esgf)")
    cells: Cells = defaultdict(lambda: defaultdict(list))
    with table.open() as file:
        for row in csv.DictReader(file):
            match = RUN.fullmatch(row["model"])
            if match is None:
                raise ValueError(f"{table}: {row['model']!r} is not a run of esgf/stage2.yaml")
            ended = bool(row.get("diverged at step"))
            score = math.nan if ended else float(row["psnr_y, 1 steps"])
            # A run may also reach its last step, and overflow in the validation after it.
            finite = None if math.isnan(score) else score
            cells[match["start"], match["lr"]][match["sums"]].append(finite)
    return cells


def in_words(scores: Sequence[float | None]) -> str:
    """Return a cell of the table: the mean PSNR-Y, and how many runs ended in NaN."""
    finite = [score for score in scores if score is not None]
    failed = f"NaN in {len(scores) - len(finite)} of {len(scores)}"
    if not finite:
        return f"**{failed}**"
    mean = f"{np.mean(finite):.2f} dB"
    return mean if len(finite) == len(scores) else f"{mean}, **{failed}**"


def write_table(cells: Cells) -> str:
    """Return the Markdown table: a row for each start and rate, a column for each type."""
    sums = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [
        [start, rate, *(in_words(row[name]) if name in row else "–" for name in sums)]
        for (start, rate), row in sorted(cells.items(), key=lambda item: _order(item[0]))
    ]
    return markdown_table(["start", "rate", *(f"sums in {name}" for name in sums)], rows) + "\n"


def _order(key: tuple[str, str]) -> tuple[int, float]:
    known = ["knee", "best", "end"]
    return known.index(key[0]) if key[0] in known else len(known), float(key[1])


def write_paragraph(knee: int, headroom: Mapping[int, float], cells: Cells) -> str:
    """Return what the runs say, in words.

    Args:
        knee: Step of the knee.
        headroom: Headroom of float16 at each validation of stage 1.
        cells: The runs of stage 2.
    """
    low = next((step for step, room in headroom.items() if room < 2), None)
    none = next((step for step, room in headroom.items() if room < 1), None)
    last = max(headroom)
    return (
        f"The knee is at step {knee:,}, where the sums of the attention have a headroom of "
        f"{headroom[knee]:.1f} in float16; at the end (step {last:,}) it is {headroom[last]:.2f}. "
        f"It falls below 2 {_step(low)} and below 1 {_step(none)}. With sums in float16, "
        f"stage 2 ends in NaN in {_failures(cells, 'float16', 'knee')} runs from the knee, "
        f"in {_failures(cells, 'float16', 'best')} from the best validation and in "
        f"{_failures(cells, 'float16', 'end')} from the end; with sums in float32 in "
        f"{_failures(cells, 'float32')} runs from all starts.\n"
    )


def _failures(cells: Cells, sums: str, start: str | None = None) -> str:
    """Return how many of how many runs ended in NaN.

    Args:
        cells: The runs of stage 2.
        sums: Type of the sums.
        start: Start of the runs; None counts all.
    """
    rows = [row for (name, _), row in cells.items() if start in (None, name)]
    scores = [score for row in rows for score in row.get(sums, [])]
    return f"{scores.count(None)} of {len(scores)}"


def _step(step: int | None) -> str:
    return "at no step" if step is None else f"at step {step:,}"


def draw_training(axes: Axes, log: RunLog, knee: int) -> None:
    """Draw PSNR-Y and headroom of stage 1 over the steps."""
    psnr = log.scalars["val/psnr_y"]
    axes.plot(list(psnr), list(psnr.values()), color=COLOURS[0], label="PSNR-Y, dB")
    axes.set_ylabel("PSNR-Y, dB", color=COLOURS[0])
    axes.set_xlabel("step of stage 1")
    axes.axvline(knee, color=INK, linewidth=1.2)
    axes.annotate("knee", (knee, min(psnr.values())), ha="right", rotation=90, fontsize=8)
    right = axes.twinx()
    room = log.scalars[HEADROOM]
    right.plot(list(room), list(room.values()), color=COLOURS[1])
    right.axhline(1, color=RED, linewidth=0.8, linestyle=":")
    right.set_yscale("log")
    right.set_ylabel("headroom of float16 (1: overflow)", color=COLOURS[1])
    axes.set_title("Training dynamics", fontsize=10)


def attention_sums(path: Path) -> np.ndarray:
    """Return |S| (A, E, E) of the first attention, on a bundled photograph at t = 1."""
    import torch

    from datamodules.bundled_photographs import bundled_photographs
    from lsr.images import read_rgb8
    from lsr.models.attention_health import attentions
    from lsr.models.checkpoint import load_denoiser
    from lsr.ops.linear_attention import key_value_sums, unpacked

    model, _ = load_denoiser(path)
    pixels = torch.tensor(read_rgb8(bundled_photographs("val")[0])[:256, :256] / 127.5 - 1)
    hr = pixels.permute(2, 0, 1)[None].float()
    condition = model.condition(torch.nn.functional.avg_pool2d(hr, model.config.scale))
    first = next(iter(attentions(model).values()))
    found: list[torch.Tensor] = []

    def keep(_: object, __: object, projected: torch.Tensor) -> None:
        _, k, v = unpacked(first.split(projected[:1]))
        found.append(key_value_sums(k, v)[0, :, :, :-1].abs())

    hook = first.qkv.register_forward_hook(keep)
    noise = torch.randn(condition.base.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(noise, torch.ones(1), condition)
    hook.remove()
    return found[0].numpy()


def draw_features(axes: Axes, sums: Mapping[str, np.ndarray]) -> None:
    """Draw the sums of several checkpoints by size, with the end of float16."""
    for i, (name, values) in enumerate(sums.items()):
        ordered = np.sort(values.ravel())[::-1]
        axes.plot(np.arange(1, len(ordered) + 1), ordered, color=COLOURS[i], label=name)
    axes.axhline(FLOAT16_MAX, color=RED, linewidth=0.8, linestyle=":")
    axes.annotate("float16 ends", (1, FLOAT16_MAX), va="bottom", fontsize=8, color=RED)
    axes.set(xscale="log", yscale="log", xlabel="rank of the entry of S", ylabel="|S|")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Attention features", fontsize=10)
    hide_top_and_right(axes)
    axes.grid(color=GREY, alpha=0.2)


def main(folder: Path) -> int:
    """Write report and figure.

    Raises:
        ValueError: If a run is missing or has not ended.
    """
    stage1 = folder / "stage1"
    published = stage1 / "knee" / "knee.json"
    starts = {"knee": stage1 / "knee" / "seed.safetensors", "end": stage1 / "end.safetensors"}
    for path in (published, *starts.values()):
        if not path.is_file():
            raise ValueError(f"{path}: no such file: run stage 1 to its end first (make esgf)")
    cells = read_cells(folder / "stage2" / "runs.csv")
    knee = json.loads(published.read_text())["step"]
    log = RunLog.read(stage1)
    figure = new_figure(10, 3.8, dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_training(left, log, knee)
    draw_features(right, {name: attention_sums(path) for name, path in starts.items()})
    save_png(figure, folder / "esgf.png")
    report = f"{write_table(cells)}\n{write_paragraph(knee, log.scalars[HEADROOM], cells)}"
    with atomic_path(folder / "report.md") as temporary:
        temporary.write_text(report)
    sys.stdout.write(report)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the table and the figure of make esgf.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/esgf"))
    try:
        sys.exit(main(parser.parse_args().folder))
    except ValueError as error:
        parser.error(str(error))
