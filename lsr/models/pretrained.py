"""Where the weights of a model are."""

import re
from pathlib import Path

MODEL_FILE = "model.safetensors"
"""Name of the weights in a folder or a repository of the hub."""

EMBEDDED = Path(__file__).parents[1] / "embedded_model" / MODEL_FILE
"""The model that comes with this package; what it is, and what it is not, stands in `README.md` beside it."""


def find_model(name: str | Path) -> Path:
    """Return the model file that a name stands for.

    Args:
        name: A file; a folder with `model.safetensors`, a single other `.safetensors` file, or a run's `checkpoints/last.ckpt`; or a
            repository of the hub, `owner/name`, whose `model.safetensors` is fetched once.

    Raises:
        ValueError: If there is none.
    """
    path = Path(name)
    if path.is_dir():
        weights = sorted(path.glob("*.safetensors"))
        if path / MODEL_FILE in weights:
            return path / MODEL_FILE
        if len(weights) == 1:
            return weights[0]
        if not weights and (path / "checkpoints" / "last.ckpt").is_file():
            return path / "checkpoints" / "last.ckpt"
        reason = f"several ({', '.join(found.name for found in weights)})" if weights else "none"
        raise ValueError(
            f"{path} is a folder: it should hold one model file, such as {MODEL_FILE} or checkpoints/last.ckpt, not {reason}"
        )
    is_local = path.exists() or path.parent.is_dir() or path.suffix in (".safetensors", ".ckpt")
    if is_local or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(name), MODEL_FILE))
    except (
        Exception
    ) as error:  # no network, no such repository, no such file, no access: each has its own kinds
        raise ValueError(
            f"{name}: neither a file or folder nor to be had from the hub ({type(error).__name__}): fetch it with "
            f"`hf download {name} {MODEL_FILE}`, or name a local file"
        ) from error
