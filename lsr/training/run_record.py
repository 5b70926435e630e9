"""What makes a run: its settings and its global batch, written to checkpoints and compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lsr.runs.settings import by_dotted_names

RUN_RECORD = "run_record"
"""Key of the record in a Lightning checkpoint."""

GLOBAL_BATCH = "global_batch"
PHOTOGRAPHS = "photographs"

_FREE = ("batch_size", "num_workers", "val_batch_size", "cache_gib", "index_cache", "test")
"""Settings of the data that do not change the samples of training and validation."""

_LONGEST = 80
"""Length to which a value is cut in a message."""


class Change(NamedTuple):
    """A difference between a run and the run that it continues.

    Attributes:
        name: Name of the setting, as on the command line.
        before: Value in the run that is continued.
        now: Value in this run.
        remedy: How to keep the value before, or nothing.
    """

    name: str
    before: Any
    now: Any
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f", kept by {self.remedy}" if self.remedy else ""
        return f"{self.name} {_short(self.now)} (was {_short(self.before)}{remedy})"

    @property
    def makes_another_run(self) -> bool:
        """Whether the change gives other samples: it has to be allowed by name."""
        section, _, name = self.name.partition(".")
        if section == "data":
            return name.rpartition(".")[2] not in _FREE
        return section in ("seed_everything", GLOBAL_BATCH, PHOTOGRAPHS)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def run_record(
    settings: Mapping[str, Any], ranks: int, batch_size: int | None, photographs: Sequence[int]
) -> dict[str, Any]:
    """Return the record of a run, in plain values.

    Args:
        settings: All settings of `lsr fit`.
        ranks: Number of ranks.
        batch_size: Samples per rank and batch; None if the data do not say it.
        photographs: Number of training photographs of each source.
    """
    folder = settings["trainer"]["default_root_dir"]
    chosen = {key: settings[key] for key in ("seed_everything", "model", "data", "trainer")}
    text = json.dumps(by_dotted_names(chosen), default=str)
    if folder:
        # Paths in the run folder do not differ when the run is continued in another folder.
        text = text.replace(json.dumps(str(folder))[1:-1], "RUN")
    return {
        "settings": json.loads(text),
        "ranks": ranks,
        "batch_size": batch_size,
        "accumulated": settings["trainer"]["accumulate_grad_batches"],
        PHOTOGRAPHS: list(photographs),
    }


def read_record(path: Path) -> tuple[int, dict[str, Any] | None]:
    """Return the step of a checkpoint, and its record; None if an older version wrote it.

    Raises:
        ValueError: If the file is not a checkpoint.
    """
    try:
        # mmap: the weights are not read.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return checkpoint["global_step"], checkpoint.get(RUN_RECORD)
    except Exception as error:  # pickle, zip and torch raise different types
        raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return every difference between the records of a run and of the run that it continues."""
    found = []
    if _global_batch(before) != _global_batch(now):
        found.append(
            Change(GLOBAL_BATCH, _global_batch(before), _global_batch(now), _remedy(before, now))
        )
    if before[PHOTOGRAPHS] and now[PHOTOGRAPHS] and before[PHOTOGRAPHS] != now[PHOTOGRAPHS]:
        found.append(Change(PHOTOGRAPHS, before[PHOTOGRAPHS], now[PHOTOGRAPHS]))
    old, new = before["settings"], now["settings"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and not name.endswith("default_root_dir"):
            found.append(Change(name, old.get(name), new.get(name)))
    return found


def _global_batch(record: Mapping[str, Any]) -> int | None:
    if record["batch_size"] is None:
        return None
    return record["ranks"] * record["batch_size"] * record["accumulated"]


def _remedy(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the settings with which this run has the global batch of the run before."""
    wanted = _global_batch(before)
    if wanted is None or now["batch_size"] is None:
        return ""
    batch_size, rest = divmod(wanted, now["ranks"] * now["accumulated"])
    if not rest:
        return f"--data.init_args.batch_size {batch_size}"
    batches, rest = divmod(wanted, now["ranks"] * now["batch_size"])
    if not rest:
        return f"--trainer.accumulate_grad_batches {batches}"
    return (
        f"{before['ranks']} ranks, --data.init_args.batch_size {before['batch_size']} and "
        f"--trainer.accumulate_grad_batches {before['accumulated']}"
    )


def check_changes(
    path: Path, step: int, found: Sequence[Change], may_differ: Sequence[str]
) -> str | None:
    """Return one line with all differences to the run that is continued; None without any.

    Args:
        path: The checkpoint.
        step: Step of the checkpoint.
        found: The differences.
        may_differ: Names of settings that may make it another run. A name also stands for all the
            names that begin with it and a dot.

    Raises:
        ValueError: If a difference makes it another run and is not allowed.
    """
    refused = [
        change
        for change in found
        if change.makes_another_run
        and not any(f"{change.name}.".startswith(f"{name}.") for name in may_differ)
    ]
    if refused:
        names = ", ".join(change.name for change in refused)
        raise ValueError(
            f"{path} is of a run with other settings: {'; '.join(map(str, refused))}. Keep the old "
            f"values, or allow another run by --may_differ '[{names}]'"
        )
    if not found:
        return None
    return f"{path} (step {step}) is continued with {'; '.join(map(str, found))}"
