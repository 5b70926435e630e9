"""Find the model file from which the student, or its discriminator, starts."""

from pathlib import Path

from lsr.knee.folder import MANIFEST, read_manifest
from lsr.models.pretrained import find_model


def start_file(name: str) -> Path:
    """Return the model file that a setting names.

    Args:
        name: A knee folder, whose weights are compared with their published SHA-256; or what
            `find_model` accepts: a model file, a run folder, a repository of the hub.

    Raises:
        ValueError: If there is no such file, or the weights of the knee have changed.
    """
    path = Path(name)
    if path.is_dir() and (path / MANIFEST).is_file():
        read_manifest(path)
    found = find_model(path)
    if not found.is_file():
        raise ValueError(
            f"{name}: no such knee or model file; stage 1 (make stage1) publishes a knee, and "
            f"lsr knee {path.parent} reports why there is none"
        )
    return found
