"""The published knee: a folder that appears complete or not at all, and never changes again.

knee/seed.safetensors   the weights that validation judged, with the model's configuration
knee/knee.png           the curves and the verdict
knee/knee.json          step, metrics, verdicts, settings, versions, and the sha256 of the seed
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsr.files import sha256_of

SEED, PICTURE, MANIFEST = "seed.safetensors", "knee.png", "knee.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the contents of `knee.json`.

    Raises:
        ValueError: If the folder holds no knee, or its seed is not the one that was published.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        published = manifest["sha256"]
        found = sha256_of(folder / SEED)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not a knee folder ({type(error).__name__})") from error
    if found != published:
        raise ValueError(
            f"{folder / SEED}: is not the seed that was published (sha256 {found[:12]}, not {published[:12]})"
        )
    return manifest


def publish(
    folder: Path, weights: Path, manifest: dict[str, Any], draw: Callable[[Path], None]
) -> bool:
    """Publish a knee: build the folder under another name, make it durable, rename it.

    A kill at any point leaves either no `folder` or all of it. A knee that is there already is frozen: it is left as it is.

    Args:
        folder: The knee folder.
        weights: Safetensors file of the seed; it is copied.
        manifest: Plain values for `knee.json`; the sha256 of the seed is added.
        draw: Writes the picture to a path.

    Returns:
        Whether the knee was published now; False if the same one was there.

    Raises:
        ValueError: If the folder holds another knee.
    """
    for stale in folder.parent.glob(f".{folder.name}-*"):  # left by a kill
        shutil.rmtree(stale, ignore_errors=True)
    if folder.exists():
        there = read_manifest(folder)["step"]
        if there != manifest["step"]:
            raise ValueError(
                f"{folder} holds the knee of step {there} already: move it away to publish that of step {manifest['step']}"
            )
        return False
    building = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    building.mkdir(parents=True)
    shutil.copyfile(weights, building / SEED)
    draw(building / PICTURE)
    (building / MANIFEST).write_text(
        json.dumps(manifest | {"sha256": sha256_of(building / SEED)}, indent=2) + "\n"
    )
    for path in building.iterdir():
        path.chmod(0o444)
        _sync(path)
    _sync(building)
    building.rename(folder)
    _sync(folder.parent)
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
