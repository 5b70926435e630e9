"""Folders of pretrained encoders, as transformers writes them."""

import json
from pathlib import Path
from typing import Any


def pretrained_folder(source: str, what: str) -> Path:
    """Return the folder of a pretrained model; nothing is fetched.

    Args:
        source: A folder, or a name on the hub that has been fetched before.
        what: What it is for, in words.

    Raises:
        ValueError: If it is not there.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (
        Exception
    ) as error:  # HFValidationError, LocalEntryNotFoundError, OSError: each release has its own
        raise ValueError(
            f"the {what} {source} is not here: fetch it with `hf download {source}`, or name its folder"
        ) from error


def loaded(load: Any, folder: Path, what: str, **options: Any) -> Any:
    """Return `load(folder, ...)` of transformers.

    Raises:
        ValueError: If it fails, whatever the reason: OSError, JSON, safetensors, tokenizers, each has its own kinds.
    """
    try:
        return load(folder, local_files_only=True, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the {what} in {folder} cannot be loaded ({type(error).__name__}: {reason})"
        ) from error


def read_config(folder: Path, what: str) -> dict[str, Any]:
    """Return `config.json` of a folder.

    Raises:
        ValueError: If there is none.
    """
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder}: no {what} there (config.json: {type(error).__name__})"
        ) from error
