"""Load pretrained encoders from local folders in the format of transformers."""

import json
from pathlib import Path
from typing import Any

from lsr.error_text import first_clause


def pretrained_folder(source: str, what: str) -> Path:
    """Return the local folder of a pretrained model; nothing is downloaded.

    Args:
        source: A folder, or the name of a model on the Hugging Face hub that is in the local cache.
        what: Kind of model for error messages, such as "text encoder".

    Raises:
        ValueError: If there is no such folder and no such model in the local cache.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, local_files_only=True))
    # The class of the exception (HFValidationError, LocalEntryNotFoundError, OSError ...) depends
    # on the release of huggingface_hub.
    except Exception as error:
        raise ValueError(
            f"the {what} {source} is not on this machine: "
            f"fetch it with `hf download {source}`, or give its folder"
        ) from error


def load_pretrained(load: Any, folder: Path, what: str, **options: Any) -> Any:
    """Return `load(folder, ...)` for a `from_pretrained` method of transformers.

    Args:
        load: The `from_pretrained` method.
        folder: Folder of the model.
        what: Kind of object for error messages, such as "tokenizer".
        options: Further arguments of `load`.

    Raises:
        ValueError: If loading fails. The file system, JSON, safetensors and the tokenizers raise
            exceptions of many classes; all of them become this one.
    """
    try:
        return load(folder, local_files_only=True, **options)
    except Exception as error:
        raise ValueError(
            f"the {what} in {folder} cannot be loaded: check that the folder is complete, or fetch "
            f"it again ({type(error).__name__}: {first_clause(error, folder)})"
        ) from error


def read_config(folder: Path, what: str) -> dict[str, Any]:
    """Return the contents of `config.json` in the folder of a model.

    Raises:
        ValueError: If the file is missing or is not JSON.
    """
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder}: no {what} in this folder, its config.json is missing or damaged "
            f"({type(error).__name__}); fetch it again or give another folder"
        ) from error
