"""Find and download files of metric weights, and make pyiqa load exactly these files."""

import io
import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from lsr.errors import first_clause
from lsr.files import sha256_of
from lsr.metrics.cards import CARDS, WeightsFile

log = logging.getLogger(__name__)

_PYIQA_WEIGHTS = "chaofengc/IQA-PyTorch-Weights"

_NETWORK_TIMEOUT = 10.0
"""Seconds without an answer after which a download is given up."""


class MissingWeights(ValueError):  # noqa: N818
    """Weights that are not on this machine and cannot be downloaded.

    Attributes:
        recipe: Address of each missing file, and the path to copy it to.
    """

    def __init__(self, message: str, recipe: str) -> None:
        super().__init__(message)
        self.recipe = recipe


def url(weights: WeightsFile) -> str:
    """Return the address to download a file from."""
    from huggingface_hub import hf_hub_url

    return weights.url or hf_hub_url(_PYIQA_WEIGHTS, weights.name)


def provide(names: list[str], folder: Path | None) -> dict[WeightsFile, Path]:
    """Return the paths of the weights of some metrics, and download missing files.

    pyiqa could download them too, but it waits for minutes if there is no network, and it can leave
    an incomplete file.

    Args:
        names: Keys of `CARDS`.
        folder: Folder to search before torch's cache. Files lie directly in it, or in the
            subfolders that `torch.hub.get_dir()` has.

    Returns:
        Path of each file.

    Raises:
        MissingWeights: If a file is missing and cannot be downloaded, or `HF_HUB_OFFLINE=1` is set.
        ValueError: If the SHA-256 of a file differs from the published one.
    """
    needed = {name: CARDS[name].weights for name in names}
    missing = [
        weights
        for files in needed.values()
        for weights in files
        if not path_of(weights, folder).is_file()
    ]
    if missing:
        _download(missing, needed, folder)
    paths = {weights: path_of(weights, folder) for files in needed.values() for weights in files}
    for weights, path in paths.items():
        if weights.sha256 is not None and sha256_of(path) != weights.sha256:
            raise ValueError(
                f"{path} is damaged or a different file, its SHA-256 is not {weights.sha256}: "
                "delete it or fetch it again"
            )
    return paths


def path_of(weights: WeightsFile, folder: Path | None = None) -> Path:
    """Return the path of a file in `folder`, or else its path in torch's cache, even if absent."""
    cached = Path(torch.hub.get_dir()) / weights.folder / weights.name
    own = [] if folder is None else [folder / weights.name, folder / weights.folder / weights.name]
    return next((path for path in own if path.is_file()), cached)


def _download(
    missing: list[WeightsFile], needed: Mapping[str, tuple[WeightsFile, ...]], folder: Path | None
) -> None:
    """Download missing files to torch's cache.

    Args:
        missing: Files that are not on this machine.
        needed: Files of each metric, by name of the metric.
        folder: Folder that is named in the advice of the error.

    Raises:
        MissingWeights: If a download fails.
    """
    from huggingface_hub import constants

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE forbids downloads")
        for weights in missing:
            target = path_of(weights, folder)
            log.info("downloading %s to %s", url(weights), target)
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                url(weights), str(target), weights.sha256, progress=sys.stderr.isatty()
            )
    except (OSError, HTTPException, RuntimeError) as error:
        raise _missing_weights(needed, folder, error) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _missing_weights(
    needed: Mapping[str, tuple[WeightsFile, ...]], folder: Path | None, error: Exception
) -> MissingWeights:
    """Return the error that names all files that are missing, and the way to get them."""
    absent: dict[str, list[WeightsFile]] = {}
    for name, files in needed.items():
        for file in files:
            if not path_of(file, folder).is_file():
                absent.setdefault(name, []).append(file)
    # Two metrics can share a file; it is named once.
    files = dict.fromkeys(file for several in absent.values() for file in several)
    recipe = ", ".join(
        f"{url(file)} to {path_of(file, folder) if folder is None else folder / file.name}"
        for file in files
    )
    free = ", ".join(name for name, card in CARDS.items() if not card.weights)
    hint = ", and niqe with parameters of your own" if "niqe" in absent else ""
    message = (
        f"weights of {', '.join(absent)} are missing ({first_clause(error)}): copy {recipe}; "
        f"or choose other metrics ({free} need no weights{hint})"
    )
    return MissingWeights(message, recipe)


@contextmanager
def construction(files: Mapping[WeightsFile, Path]) -> Iterator[None]:
    """Let pyiqa load only these files inside the block.

    Its printed messages and warnings are hidden, and the random generator stays as it was.

    Args:
        files: Path of each file of weights. pyiqa finds no other files.
    """
    # The import of pyiqa and random initial weights draw from torch's global generator, loading
    # prints messages, and torchvision warns of arguments that pyiqa uses.
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
            # MANIQA requests ImageNet weights for its backbone, but its own file replaces them.
            return create_model(*args, **kwargs | {"pretrained": False})

        with (
            patch.object(timm, "create_model", without_weights),
            patch.object(torch.hub, "_hub_dir", hub),
            patch.object(download_util, "DEFAULT_CACHE_DIR", str(Path(hub) / "pyiqa")),
            # pyiqa unpickles its files without restriction, which could run code from them; this
            # variable makes torch refuse everything but tensors and plain values.
            patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"),
        ):
            yield
