"""Put a verdict of the knee detector into words, for the log, the boards and the figure."""

from __future__ import annotations

import math
import re

from lsr.knee.verdict import KneeVerdict, describe_interval, in_percent


def headline(verdict: KneeVerdict) -> str:
    """Return a verdict in at most about 40 characters."""
    if verdict.knee_step is not None:
        return f"knee: step {verdict.knee_step:,}"
    if verdict.diverged:
        return f"diverged at step {verdict.step:,}: no knee"
    if verdict.creeping:
        return "not confirmed: no plateau"
    if verdict.provisional_step is not None:
        likely = in_percent(verdict.confidence)
        return f"not confirmed: step {verdict.provisional_step:,}, {likely} likely"
    return "not confirmed: no knee yet"


def describe_verdict(verdict: KneeVerdict, unit: str = "step") -> list[str]:
    """Return a verdict as lines: the knee or its best candidate, the reason, what is to come.

    Args:
        verdict: The verdict.
        unit: Unit of the steps.
    """
    lines = [_result(verdict, unit), verdict.reason]
    if verdict.interval is not None:
        lines.append(describe_interval(verdict.interval, unit))
    return lines + describe_remaining(verdict, unit)


def in_unit(line: str, unit: str) -> str:
    """Return a line of the detector, which counts steps, in the unit of a log."""
    return re.sub(r"\bstep (?=\d)", lambda _: f"{unit} ", line)


def describe_remaining(verdict: KneeVerdict, unit: str = "step") -> list[str]:
    """Return the improvement that is still to come if training goes on, a line for each metric.

    Args:
        verdict: The verdict.
        unit: Unit of the steps.
    """
    lines = []
    for name, times in verdict.remaining.items():
        parts = []
        for each in times:
            gain, low, high = _rounded([each["gain"], each["low"], each["high"]])
            parts.append(f"{gain} [{low}, {high}] by {unit} {each['step']:,.0f}")
        lines.append(f"{name}: {', '.join(parts)}")
    head = "improvement still to come, in brackets its 80 % interval:"
    return [head, *lines] if lines else []


def _rounded(values: list[float]) -> list[str]:
    """Return numbers with as many decimals as the largest needs for two significant digits."""
    largest = max(map(abs, values))
    decimals = 0 if largest == 0 else max(0, 1 - math.floor(math.log10(largest)))
    # Adding 0 turns -0.0, which is printed with its sign, into 0.0.
    return [f"{round(value, decimals) + 0.0:,.{decimals}f}" for value in values]


def _result(verdict: KneeVerdict, unit: str) -> str:
    """Return the line that gives the knee, or says that none is confirmed."""
    if verdict.knee_step is not None:
        confirmed = f"confirmed at {unit} {verdict.confirmed_at_step:,}"
        return f"knee at {unit} {verdict.knee_step:,}, {confirmed}"
    line = f"no knee by {unit} {verdict.step:,}"
    if verdict.creeping:
        return f"{line}; {verdict.creeping}"
    if verdict.candidate_step is None:
        return line
    kind = "best candidate" if verdict.provisional_step is None else "provisional knee"
    likely = f"{in_percent(verdict.confidence)} likely"
    return f"{line}; {kind}: {unit} {verdict.candidate_step:,} ({likely})"
