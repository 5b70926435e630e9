"""Publish the weights of a confirmed knee in a folder.

These files appear together or not at all, and never change again:

knee/seed.safetensors   the weights at the knee (those that validation used), with the configuration
knee/knee.png           the curves and the verdict
knee/knee.json          step, metrics, verdict, settings, versions, the name of the run, and the
                        SHA-256 of the seed

Until then the folder may hold `provisional.json` alone, see `lsr.knee.provisional`.
"""

import json
import logging
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.figures import save_png
from lsr.files import sha256_of
from lsr.knee.detector import KneeDetector
from lsr.knee.plot import draw_knee
from lsr.knee.provisional import is_published, read_provisional
from lsr.knee.verdict import KneeVerdict, in_percent
from lsr.runs.history import Validation

log = logging.getLogger(__name__)

FOLDER = "knee"
"""Name of the folder of the published knee in a run folder."""

SEED = "seed.safetensors"
PICTURE = "knee.png"
MANIFEST = "knee.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the contents of `knee.json` after a check of the SHA-256 of the seed.

    Raises:
        ValueError: If the folder holds no knee or only a provisional one, or its seed is not the
            one that was published.
    """
    provisional = None if is_published(folder) else read_provisional(folder)
    if provisional is not None:
        raise ValueError(
            f"{folder}: holds only a provisional knee (step {provisional['step']:,}, "
            f"{in_percent(provisional['probability'])} likely): continue that run until one "
            "is confirmed"
        )
    if is_published(folder / FOLDER):
        raise ValueError(f"{folder}: a run folder; name the folder of its knee, {folder / FOLDER}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        published = manifest["sha256"]
        found = sha256_of(folder / SEED)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not the folder of a knee ({type(error).__name__})") from error
    if found != published:
        raise ValueError(
            f"{folder / SEED}: is not the seed that was published "
            f"(its SHA-256 is {found[:12]}, not {published[:12]}); copy the folder again"
        )
    return manifest


def check_published(
    folder: Path, run: str, verdict: KneeVerdict | None, digest: str | None
) -> None:
    """Check that a folder, if it holds a final knee, holds one that a run has published.

    The run may have published it after the checkpoint from which it is resumed.

    Args:
        folder: The knee folder.
        run: Name of the run. A knee without a name (of older versions) is compared by the verdict.
        verdict: The latest verdict of the run, None if there is none yet.
        digest: SHA-256 of the run's weights of that knee; None if it is unknown (in checkpoints of
            older versions), then the measurements of the metrics are compared.

    Raises:
        ValueError: If the folder holds another knee, or is damaged.
    """
    if not is_published(folder):
        return
    found = read_manifest(folder)
    if found.get("run") == run:
        return
    if verdict is None or verdict.knee_step != found["step"]:
        same = False
    elif digest is None:
        same = found.get("per_metric") == verdict.per_metric
    else:
        same = found["sha256"] == digest
    if not same:
        raise ValueError(_holds_another(folder, found["step"]))


def _holds_another(folder: Path, step: int) -> str:
    return (
        f"{folder} holds a knee of step {step} that this run has not published: "
        "move it away, or choose another run folder"
    )


def publish_verdict(
    folder: Path,
    weights: Path,
    verdict: KneeVerdict,
    history: Sequence[Validation],
    detector: KneeDetector,
    versions: Mapping[str, str],
    run: str,
) -> None:
    """Publish the knee that a detector has confirmed, see `publish`.

    Args:
        folder: The knee folder.
        weights: Safetensors file with the weights of the knee.
        verdict: The verdict, with a knee.
        history: The validations up to the confirmation, or more.
        detector: The detector; its settings go into the manifest.
        versions: Versions of the packages that trained the model, by name.
        run: Name of the run.

    Raises:
        ValueError: If the folder holds another knee.
    """
    assert verdict.knee_step is not None
    values = next(v.values for v in history if v.step == verdict.knee_step)
    manifest = {
        "step": verdict.knee_step,
        "confirmed_at_step": verdict.confirmed_at_step,
        "reason": verdict.reason,
        # JSON has no NaN and no infinity.
        "metrics": {name: value for name, value in values.items() if math.isfinite(value)},
        "per_metric": verdict.per_metric,
        "detector": detector.settings,
        "versions": dict(versions),
        "run": run,
    }
    figure = draw_knee(history, verdict, detector.metrics)
    publish(folder, weights, manifest, lambda path: save_png(figure, path))


def publish(
    folder: Path, weights: Path, manifest: dict[str, Any], draw: Callable[[Path], None]
) -> bool:
    """Publish a knee.

    The folder is built under a temporary name, written to the disk (fsync) and renamed: a process
    that is killed at any point leaves either no knee in `folder` or a complete one. A provisional
    knee is removed. A published knee never changes: if `folder` has a knee of the same weights or
    of the same run, nothing is written.

    Args:
        folder: The knee folder.
        weights: Safetensors file of the seed; it is copied.
        manifest: Plain values for `knee.json`, with the `step` of the knee and, if it is known, the
            name of the `run`; the SHA-256 of the seed is added.
        draw: Writes the figure to a path.

    Returns:
        Whether the knee was published now; False if the run has published one before.

    Raises:
        ValueError: If the folder holds another knee.
    """
    remove_unfinished(folder)
    if is_published(folder):
        _check_same(read_manifest(folder), folder, weights, manifest)
        return False
    building = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    building.mkdir(parents=True)
    shutil.copyfile(weights, building / SEED)
    draw(building / PICTURE)
    complete = manifest | {"sha256": sha256_of(building / SEED)}
    (building / MANIFEST).write_text(json.dumps(complete, indent=2) + "\n")
    for path in building.iterdir():
        path.chmod(path.stat().st_mode & 0o444)
        _sync(path)
    _sync(building)
    shutil.rmtree(folder, ignore_errors=True)  # holds a provisional knee, or does not exist
    building.rename(folder)
    _sync(folder.parent)
    return True


def remove_unfinished(folder: Path) -> None:
    """Delete what processes have left that were killed while they built a knee folder."""
    temporary = re.compile(rf"\.{re.escape(folder.name)}-[0-9a-f]{{16}}")
    for path in folder.parent.glob(".*"):
        if temporary.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _check_same(
    found: Mapping[str, Any], folder: Path, weights: Path, new: Mapping[str, Any]
) -> None:
    """Raise ValueError if the knee of a folder is not one of the run that publishes `new`."""
    if found["sha256"] == sha256_of(weights):
        return
    if found.get("run") is None or found["run"] != new.get("run"):
        raise ValueError(_holds_another(folder, found["step"]))
    log.warning(
        "%s: the knee of step %s, which this run published before it was resumed from an earlier "
        "checkpoint, stays; the resumed run has other weights at its knee, step %s",
        folder,
        found["step"],
        new["step"],
    )


def _sync(path: Path) -> None:
    """Write a file or the entries of a folder from the cache of the system to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
