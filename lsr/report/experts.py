"""The section of stage 2: the loss of the experts over the flow time, next to that of the knee."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lsr.flow.timesteps import shift_timesteps, unshift_timesteps
from lsr.report.chart import Chart, Line, Mark, draw
from lsr.report.markup import details, heading, table
from lsr.report.run_files import RunFiles

_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
"""Flow times at the ticks of the horizontal axis, which is linear in the times before the shift."""

_CHANGE = "Change of the loss against the knee, in per cent"


def experts_section(run: RunFiles) -> str:
    """Return the charts of loss and change over the flow time; "" if the run has no experts."""
    found = run.loss_by_time
    if found is None or not found["times"]:
        return ""
    times, losses, knee = found["times"], found["losses"], found["knee_losses"]
    if not len(times) == len(losses) == len(knee) or not all(knee):
        run.notices.append(f"{run.folder}/experts/loss_by_time.json: losses and times do not match")
        return ""
    change = [100 * (loss / before - 1) for loss, before in zip(losses, knee, strict=True)]
    empty = _empty_chart(found)
    zero = Mark("limit", "0: as good as the knee", 0.0)
    charts = (
        replace(
            empty,
            title="Validation loss",
            lines=[
                Line("experts", list(zip(times, losses, strict=True)), 0),
                Line("the knee they started from", list(zip(times, knee, strict=True)), 1),
            ],
        ),
        replace(
            empty,
            title=_CHANGE,
            lines=[Line(_CHANGE, list(zip(times, change, strict=True)), 0)],
            marks=[*empty.marks, zero],
        ),
    )
    drawn = "".join(f"<div>{draw(chart)}</div>" for chart in charts)
    rows = list(zip(_after_shift(times, found["shift"]), losses, knee, change, strict=True))
    head = ["flow time t", "experts", "knee", "change, %"]
    values = table("Validation loss by flow time", head, rows)
    title = heading(f"Loss by flow time at step {found['step']:,}")
    return f'{title}<div class="charts">{drawn}</div>{details("Values", values)}'


def _empty_chart(found: dict[str, Any]) -> Chart:
    """Return what both charts have in common: flow times as ticks, and the experts' boundaries."""
    ends = _before_shift(found["boundaries"], found["shift"])
    ticks = zip(_before_shift(_TICKS, found["shift"]), _TICKS, strict=True)
    words = ["boundary between two experts", *("" for _ in ends[1:])]
    return Chart(
        title="",
        lines=[],
        marks=[Mark("border", word, end) for word, end in zip(words, ends, strict=False)],
        x_name="flow time t: 0 is data, 1 is noise",
        x_range=(0.0, 1.0),
        x_ticks=[(place, f"{time:g}") for place, time in ticks],
    )


def _before_shift(times: Sequence[float], shift: float) -> list[float]:
    return unshift_timesteps(torch.tensor(times, dtype=torch.float64), shift).tolist()


def _after_shift(times: Sequence[float], shift: float) -> list[float]:
    return shift_timesteps(torch.tensor(times, dtype=torch.float64), shift).tolist()
