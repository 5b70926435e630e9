"""The sections of facts: cost, hardware, versions, command, settings and their differences."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from lsr.report.finding import Finding
from lsr.report.markup import (
    details,
    heading,
    named_values,
    number,
    paragraphs,
    table,
    terms,
    text,
)
from lsr.report.run_files import RunFiles
from lsr.runs.launches import Launch
from lsr.runs.settings import by_dotted_names

_THROUGHPUT = "throughput/images_per_s"

_MOST_SETTINGS = 200
"""Rows of the table of differences, at most."""

_LONGEST_CONFIG = 100_000
"""Characters of all configurations together, at most."""

_MOST_STARTS = 20
"""Most launches whose start is listed: the newest ones."""

_NOT_RECORDED = "not recorded (the run is of an older version, or of another program)"


def overview(runs: Sequence[RunFiles], findings: Sequence[Finding]) -> str:
    """Return the table that compares several runs: verdict, cost, and last value of each metric."""
    metrics = list(
        dict.fromkeys(
            name
            for run in runs
            for name in run.curves
            if name.startswith(("val/", "val_real/")) and not name.endswith("_bicubic")
        )
    )
    rows = [
        [
            run.name,
            finding.headline,
            run.last_step,
            _in_time(sum(launch.seconds for launch in run.launches)) if run.launches else None,
            *(_last(run.curves.get(name)) for name in metrics),
        ]
        for run, finding in zip(runs, findings, strict=True)
    ]
    head = ["run", "verdict", "last step", "time", *(f"{name}, last" for name in metrics)]
    return table("The runs side by side", head, rows)


def _last(curve: Mapping[int, float] | None) -> float | None:
    return curve[max(curve)] if curve else None


def values_table(run: RunFiles, finding: Finding) -> str:
    """Return the table of the validation metrics; "" if there are none.

    It has the first and the last value, the lowest and the highest that are finite and, if they are
    known, the value at the knee and what the detector has found.
    """
    names = [name for name in run.curves if name.startswith(("val/", "val_real/"))]
    if not names:
        return ""
    head = ["metric", "first", "last", "lowest", "highest"]
    rows: list[list[Any]] = []
    for name in names:
        values = list(run.curves[name].values())
        finite = [value for value in values if isfinite(value)]
        extremes = (min(finite, default=None), max(finite, default=None))
        rows.append([name, values[0], values[-1], *extremes])
    if finding.knee is not None:
        head.insert(2, "at the knee")
        for row in rows:
            row.insert(2, run.curves[row[0]].get(finding.knee))
    if finding.per_metric:
        head += ["step of 95 % of its rise", "noise / gain"]
        for row in rows:
            found = finding.per_metric.get(row[0], {})
            row += [found.get("knee_step"), _in_percent(found.get("noise_to_gain"))]
    return table("Validation metrics", head, rows)


def _in_percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:.1f} %"


def circumstances(run: RunFiles) -> str:
    """Return how a run ended, its cost, hardware, versions and commands."""
    if not run.launches:
        pairs: list[tuple[str, Any]] = [("cost, hardware, versions, command", _NOT_RECORDED)]
    else:
        newest = run.launches[-1]
        pairs = [
            ("end", newest.ended or "not recorded"),
            ("cost", _cost(run.launches)),
            ("command", list(dict.fromkeys(launch.command for launch in run.launches))),
            ("started", [launch.started for launch in run.launches[-_MOST_STARTS:]]),
            ("hardware", list(dict.fromkeys(named_values(each.hardware) for each in run.launches))),
            ("versions", list(dict.fromkeys(named_values(each.versions) for each in run.launches))),
        ]
    rates = run.curves.get(_THROUGHPUT)
    if rates:
        words = f"{number(median(rates.values()))} images/s, median of {len(rates):,} logged values"
        pairs.insert(2, ("speed of training", words))
    return terms(pairs)


def _cost(launches: Sequence[Launch]) -> str:
    """Return time and steps of all launches; a step that two launches have trained counts twice."""
    seconds = sum(launch.seconds for launch in launches)
    several = f" in {len(launches)} launches" if len(launches) > 1 else ""
    took = f"{_in_time(seconds)} of training and validation{several}"
    return f"{took}, {sum(launch.step - launch.first_step for launch in launches):,} steps"


def _in_time(seconds: float) -> str:
    """Return a time in words, such as `12 s`, `3 min 20 s` or `5 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def settings_section(runs: Sequence[RunFiles]) -> str:
    """Return the differences between the settings of runs, and those of each run on demand."""
    known = [run for run in runs if run.config]
    parts = [_differences(known)] if len(known) > 1 else []
    for run in known:
        whole = run.config_text[: _LONGEST_CONFIG // len(known)]
        end = "" if whole == run.config_text else paragraphs(["The rest is left out."])
        content = f'<pre class="scroll" tabindex="0">{text(whole, _LONGEST_CONFIG)}</pre>{end}'
        parts.append(details(f"All settings of {run.name} (config.yaml)", content))
    return "".join(parts) or paragraphs(["The settings are unknown: there is no config.yaml."])


def _differences(runs: Sequence[RunFiles]) -> str:
    """Return the table of settings in which runs differ."""
    flat = [by_dotted_names(run.config) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [
        [name, *(_setting(settings, name) for settings in flat)]
        for name in names
        if not _is_alike(name, flat)
    ]
    if not rows:
        return paragraphs(["All settings are the same."])
    caption = f"Settings that differ: {len(rows)}; that are the same: {len(names) - len(rows)}"
    if len(rows) > _MOST_SETTINGS:
        caption += f"; the first {_MOST_SETTINGS} that differ are listed"
    head = ["setting", *(run.name for run in runs)]
    return heading("Differences") + table(caption, head, rows[:_MOST_SETTINGS])


def _setting(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "not set"


def _is_alike(name: str, flat: Iterable[Mapping[str, Any]]) -> bool:
    first, *others = (_setting(settings, name) for settings in flat)
    return all(other == first for other in others)
