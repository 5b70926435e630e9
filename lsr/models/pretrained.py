"""Find the file of a model by its path or its name on the Hugging Face Hub."""

import re
from pathlib import Path

MODEL_FILE = "model.safetensors"
"""Name of the model file in a folder or in a repository of the hub."""

EMBEDDED = Path(__file__).parents[1] / "embedded_model" / MODEL_FILE
"""Model file that is taken by default; `README.md` in its folder describes the models there."""

PACKAGED = {"perceptual": EMBEDDED, "faithful": EMBEDDED.with_name("faithful.safetensors")}
"""Model files in this package by name."""


def check_fidelity(fidelity: float, model: str | Path) -> None:
    """Check a fidelity, which blends the two models of `PACKAGED`, see `lsr.models.fidelity`.

    Args:
        fidelity: The fidelity.
        model: The model that is named next to it, `EMBEDDED` if none is.

    Raises:
        ValueError: If the fidelity is not from 0 to 1, or a model is named.
    """
    if not 0 <= fidelity <= 1:
        raise ValueError(
            f"the fidelity must be from 0 (perceptual) to 1 (faithful), not {fidelity}"
        )
    if model != EMBEDDED:
        raise ValueError(
            f"the fidelity blends the two models in this package: leave out the model {model}"
        )


def find_model(name: str | Path) -> Path:
    """Return the path of the model file that a name stands for.

    Args:
        name: Key of `PACKAGED`; or path of a file; or of a folder with `model.safetensors`, a
            single other `.safetensors` file, or `checkpoints/last.ckpt` of a run; or a repository
            of the hub, `owner/name`, whose `model.safetensors` is downloaded once.

    Returns:
        Path of the file. A path that names neither a folder nor a repository is returned unchanged,
        whether the file exists or not.

    Raises:
        ValueError: If a folder holds no model file or several, or the download fails.
    """
    path = Path(name)
    if str(name) in PACKAGED and not path.exists():
        return PACKAGED[str(name)]
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
            f"{path} is a folder: it should hold one model file, such as {MODEL_FILE} or "
            f"checkpoints/last.ckpt, not {reason}; give the path of a file"
        )
    is_local = path.exists() or path.parent.is_dir() or path.suffix in (".safetensors", ".ckpt")
    if is_local or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(name), MODEL_FILE))
    # No network, no such repository, no such file, no access: all raise different exceptions.
    except Exception as error:
        raise ValueError(
            f"{name} is no file or folder, and the hub did not provide it "
            f"({type(error).__name__}): "
            f"fetch it with `hf download {name} {MODEL_FILE}`, or name a local file"
        ) from error
