"""The provisional knee: told as soon as a knee is likelier than not, and revised openly.

While no knee is confirmed, `knee/provisional.json` names the step that is likelier the knee than
not, and the file of its weights. It is written again at every validation, and removed when no step
is likely any more or when the final knee takes its place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.files import write_json
from lsr.knee.confirmation import LIKELY
from lsr.knee.verdict import KneeVerdict, describe_interval, in_percent

FILE = "provisional.json"
STATUS = "provisional: not confirmed, may move or be withdrawn"


@dataclasses.dataclass(frozen=True)
class ProvisionalKnee:
    """The step that is likelier the knee than not, while none is confirmed.

    Attributes:
        step: The step, whose weights are kept.
        probability: Probability that it passes as the knee.
        interval: See `KneeVerdict.interval`.
        judged_at_step: Step of the validation after which it was judged last.
        informative: Names of the metrics that took part.
    """

    step: int
    probability: float
    interval: tuple[int | None, int | None]
    judged_at_step: int
    informative: tuple[str, ...]

    @classmethod
    def of(cls, verdict: KneeVerdict) -> ProvisionalKnee | None:
        """Return the provisional knee of a verdict, None if it has none."""
        if verdict.provisional_step is None:
            return None
        assert verdict.interval is not None
        names = [name for name, record in verdict.per_metric.items() if record["informative"]]
        return cls(
            verdict.provisional_step,
            verdict.confidence,
            verdict.interval,
            verdict.step,
            tuple(names),
        )

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> ProvisionalKnee:
        """Return the knee of `dataclasses.asdict`, also if JSON has stored it in between."""
        tuples = {name: tuple(fields[name]) for name in ("interval", "informative")}
        return cls(**{**fields, **tuples})


def revise(
    before: ProvisionalKnee | None, verdict: KneeVerdict
) -> tuple[ProvisionalKnee | None, str]:
    """Return the provisional knee after one more validation, and one line about the change.

    A validation without any value changes nothing. A confirmed knee replaces the provisional one.

    Args:
        before: The provisional knee so far, None if there is none.
        verdict: The verdict on the newest validation.

    Returns:
        The provisional knee, None if there is none any more; and the line, "" if the step is the
        same as before.
    """
    if verdict.knee_step is not None:
        return None, ""
    if not verdict.has_judged and not verdict.diverged:
        return before, ""
    now = ProvisionalKnee.of(verdict)
    if now is None:
        return None, "" if before is None else _withdrawal(before, verdict)
    likely = f"{in_percent(now.probability)} likely, {describe_interval(now.interval)}"
    if before is None:
        told = f"provisional knee at step {now.step:,} ({likely}): it is likelier than not now"
    elif before.step != now.step:
        told = (
            f"provisional knee moves from step {before.step:,} to {now.step:,} ({likely}): "
            f"{_why_moved(before, now)}"
        )
    else:
        return now, ""
    return now, f"step {verdict.step:,}: {told}"


def _why_moved(before: ProvisionalKnee, now: ProvisionalKnee) -> str:
    """Return why the provisional knee is another step."""
    joined = [name for name in now.informative if name not in before.informative]
    left = [name for name in before.informative if name not in now.informative]
    if joined:
        return f"{', '.join(joined)} stands out of its noise now and takes part"
    if left:
        return f"{', '.join(left)} does not stand out of its noise any more"
    way = "later" if now.step > before.step else "earlier"
    return f"the newest validation puts the end of the rise {way}"


def _withdrawal(before: ProvisionalKnee, verdict: KneeVerdict) -> str:
    """Return the line about a provisional knee that is not likely any more."""
    if verdict.diverged or verdict.candidate_step is None:
        why = verdict.reason
    elif verdict.creeping:
        why = verdict.creeping
    elif verdict.confidence > LIKELY:
        why = verdict.reason
    else:
        why = (
            f"no step is likelier than not, the best is {verdict.candidate_step:,} with "
            f"{in_percent(verdict.confidence)}"
        )
    return f"step {verdict.step:,}: provisional knee at step {before.step:,} withdrawn: {why}"


def is_published(folder: Path) -> bool:
    """Return whether a knee folder holds anything but a provisional knee and temporary files."""
    if not folder.is_dir():
        return folder.exists()
    return any(path.name != FILE and not path.name.startswith(".") for path in folder.iterdir())


def read_provisional(folder: Path) -> dict[str, Any] | None:
    """Return the contents of `provisional.json` in a knee folder, None if there is no such file."""
    try:
        found = json.loads((folder / FILE).read_text())
        return found if {"step", "probability", "judged_at_step", "weights"} <= set(found) else None
    except (OSError, ValueError, TypeError):
        return None


def write_provisional(
    folder: Path, knee: ProvisionalKnee, metrics: Mapping[str, float], weights: str, digest: str
) -> None:
    """Write `provisional.json` into a knee folder.

    Args:
        folder: The knee folder; it is made if there is none.
        knee: The provisional knee.
        metrics: The finite values of the watched metrics at its step.
        weights: File of its weights, relative to the run folder.
        digest: SHA-256 of this file.
    """
    fields = {"status": STATUS} | dataclasses.asdict(knee)
    more = {"metrics": dict(metrics), "weights": weights, "sha256": digest}
    write_json(folder / FILE, fields | more)


def remove_provisional(folder: Path) -> None:
    """Remove `provisional.json`, and its folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
