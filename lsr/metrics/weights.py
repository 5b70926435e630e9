"""Files of learned parameters: where they are, how they get there, and how pyiqa is made to take these and no others."""

import io
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from lsr.files import sha256_of
from lsr.metrics.cards import CARDS, WeightsFile

log = logging.getLogger(__name__)

_PYIQA_WEIGHTS = "chaofengc/IQA-PyTorch-Weights"
_NETWORK_TIMEOUT = 10.0  # seconds


class MissingWeights(ValueError):  # noqa: N818
    """Weights that are neither on this machine nor to be had.

    Attributes:
        recipe: What to copy where.
    """

    def __init__(self, message: str, recipe: str) -> None:
        super().__init__(message)
        self.recipe = recipe


def url(weights: WeightsFile) -> str:
    """Return where a file comes from."""
    from huggingface_hub import hf_hub_url

    return weights.url or hf_hub_url(_PYIQA_WEIGHTS, weights.name)


def provide(names: list[str], folder: Path | None) -> dict[WeightsFile, Path]:
    """Find the weights of some metrics, and download those that are not on this machine.

    pyiqa would download them too, but waits for minutes where there is no network, and can leave half a file.

    Args:
        names: Keys of `CARDS`.
        folder: Where to look before torch's cache: files by their names, or in subfolders as in `torch.hub.get_dir()`.

    Returns:
        Where each file is.

    Raises:
        MissingWeights: If some are missing, and `HF_HUB_OFFLINE=1` or the network says no.
        ValueError: If a file is not the one that its author published.
    """
    needed = {name: CARDS[name].weights for name in names}
    missing = [
        weights
        for files in needed.values()
        for weights in files
        if not _path(weights, folder).is_file()
    ]
    if missing:
        _download(missing, needed, folder)
    paths = {weights: _path(weights, folder) for files in needed.values() for weights in files}
    for weights, path in paths.items():
        if weights.sha256 is not None and sha256_of(path) != weights.sha256:
            raise ValueError(
                f"{path} is damaged or another file: its SHA-256 is not {weights.sha256}"
            )
    return paths


def _path(weights: WeightsFile, folder: Path | None) -> Path:
    cached = Path(torch.hub.get_dir()) / weights.folder / weights.name
    own = [] if folder is None else [folder / weights.name, folder / weights.folder / weights.name]
    return next((path for path in own if path.is_file()), cached)


def _download(
    missing: list[WeightsFile], needed: Mapping[str, tuple[WeightsFile, ...]], folder: Path | None
) -> None:
    from huggingface_hub import constants

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE forbids to download")
        for weights in missing:
            target = _path(weights, folder)
            log.info("downloading %s to %s", url(weights), target)
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url(weights), str(target), weights.sha256)
    except (OSError, HTTPException, RuntimeError) as error:
        lacking = {
            name: absent
            for name, files in needed.items()
            if (absent := [file for file in files if not _path(file, folder).is_file()])
        }
        recipe = ", ".join(
            f"{url(file)} to {_path(file, folder) if folder is None else folder / file.name}"
            for file in _flat(lacking)
        )
        free = ", ".join(name for name, card in CARDS.items() if not card.weights)
        hint = ", and niqe with parameters of your own" if "niqe" in lacking else ""
        message = f"weights of {', '.join(lacking)} are missing ({error}): copy {recipe}"
        raise MissingWeights(
            f"{message}; or choose other metrics ({free} need no weights{hint})", recipe
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _flat(files: Mapping[str, list[WeightsFile]]) -> list[WeightsFile]:
    return list(dict.fromkeys(file for several in files.values() for file in several))


@contextmanager
def construction(files: Mapping[WeightsFile, Path]) -> Iterator[None]:
    """Let pyiqa import and build from these files, without side effects on its caller."""
    # The import and random initial weights draw from the global generator; loading prints, and torchvision warns of pyiqa's habits.
    with (
        torch.random.fork_rng(devices=[]),
        redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as hub,
    ):
        warnings.simplefilter("ignore")
        for weights, path in files.items():
            link = Path(hub) / weights.folder / weights.name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path.resolve())
        import timm
        from pyiqa.utils import download_util

        create_model = timm.create_model

        def without_weights(*args: Any, **kwargs: Any) -> torch.nn.Module:
            # MANIQA asks for ImageNet weights of its backbone and then overwrites them with those of its own file.
            return create_model(*args, **kwargs | {"pretrained": False})

        with (
            patch.object(timm, "create_model", without_weights),
            patch.object(torch.hub, "_hub_dir", hub),
            patch.object(download_util, "DEFAULT_CACHE_DIR", str(Path(hub) / "pyiqa")),
            # pyiqa unpickles its files without restriction, unless torch is told otherwise.
            patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"),
        ):
            yield
