"""The record of a run's launches: command, hardware, versions, time and end of each."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lsr.errors import first_clause
from lsr.files import write_json

LAUNCHES = "launches.json"
"""Name of the record in a run folder."""

FINISHED = "finished"
"""End of a launch that came to the end of its training."""

_LARGEST = 1e15
"""Steps and seconds are smaller; NaN is refused by the comparison."""


@dataclasses.dataclass
class Launch:
    """One launch of a run: a resumed run has several.

    Attributes:
        command: The command line.
        started: Time of the start in UTC, such as `2026-11-27T01:02:03+00:00`.
        hardware: What it ran on, in plain values by name.
        versions: Versions of the packages that influence the result, by name.
        first_step: Step at which it began.
        step: Step that it is known to have reached.
        seconds: Time of training and validation up to that step.
        ended: How it ended, such as `FINISHED`; "" if it was killed, or runs still.
    """

    command: str
    started: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    first_step: int
    step: int
    seconds: float = 0.0
    ended: str = ""


def read_launches(folder: Path) -> list[Launch]:
    """Return the launches of a run, oldest first; an empty list if they were not recorded.

    Raises:
        ValueError: If the record is damaged.
    """
    path = folder / LAUNCHES
    if not path.is_file():
        return []
    try:
        found = [Launch(**record) for record in json.loads(path.read_text())["launches"]]
        if not all(_has_types(launch) for launch in found):
            raise ValueError("a value of another type")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: not a record of launches ({first_clause(error)})") from None
    return found


def _has_types(launch: Launch) -> bool:
    """Return whether the values that JSON has stored have the types of the dataclass."""
    texts = (launch.command, launch.started, launch.ended)
    numbers = (launch.first_step, launch.step, launch.seconds)
    return (
        all(isinstance(each, str) for each in texts)
        and all(isinstance(each, int | float) and abs(each) < _LARGEST for each in numbers)
        and isinstance(launch.hardware, dict)
        and isinstance(launch.versions, dict)
    )


def write_launches(folder: Path, launches: list[Launch]) -> None:
    """Write the record of a run."""
    write_json(folder / LAUNCHES, {"launches": [dataclasses.asdict(each) for each in launches]})
