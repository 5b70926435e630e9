"""One adapter to pyiqa."""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from lsr.metrics.cards import CARDS, WeightsFile

log = logging.getLogger(__name__)

_PYIQA_WEIGHTS = "chaofengc/IQA-PyTorch-Weights"
_NETWORK_TIMEOUT = 10.0  # seconds


class Quality:
    """Computes several metrics per image.

    Weights are looked for here and now, so that a run that lacks some ends before it has begun. Those that are missing are
    downloaded, unless `HF_HUB_OFFLINE=1` or the network says no.

    Args:
        names: Keys of `lsr.metrics.cards.CARDS`.
        niqe_parameters: NIQE's model of good photographs as written by `lsr.metrics.niqe_fit.fit_niqe`, in place of the
            published one. Values under different models cannot be compared.

    Raises:
        ValueError: If a name is unknown, or weights are missing or damaged.
    """

    def __init__(self, names: Sequence[str], niqe_parameters: Path | None = None) -> None:
        unknown = sorted(set(names) - CARDS.keys())
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; known are {', '.join(CARDS)}")
        parameters = {} if niqe_parameters is None else {"niqe": niqe_parameters}
        _provide({name: weights for name in names if name not in parameters and (weights := CARDS[name].weights)})
        with _construction():
            self._metrics = {name: _create(name, parameters.get(name)) for name in names}

    def __call__(self, sr: Tensor, hr: Tensor | None = None) -> dict[str, Tensor]:
        """Judge the images as files would be judged: clipped and rounded to 8 bits.

        A value is a function of its image (and HR image) alone: one image is looked at at a time, outside autocast.

        Args:
            sr: (B, 3, H, W) in [-1, 1].
            hr: (B, 3, H, W) in [-1, 1], needed by full-reference metrics.

        Returns:
            For each metric its values (B,), float32.

        Raises:
            ValueError: If the images are too small for a metric, or it needs the HR images.
        """
        assert hr is None or hr.shape == sr.shape, (sr.shape, None if hr is None else hr.shape)
        for name in self._metrics:
            if min(sr.shape[2:]) < CARDS[name].min_side:
                height, width = sr.shape[2:]
                raise ValueError(f"metric {name} needs images of at least {CARDS[name].min_side} pixels a side, not {width} x {height}")
            if hr is None and CARDS[name].full_reference:
                raise ValueError(f"metric {name} compares with the HR image, and there is none")
        with torch.no_grad(), torch.autocast(sr.device.type, enabled=False):
            pairs = [tuple(map(_round_to_8_bits, pair)) for pair in zip(sr, sr if hr is None else hr, strict=True)]
            return {name: torch.stack([self._value(name, *pair) for pair in pairs]) for name in self._metrics}

    def _value(self, name: str, sr: Tensor, hr: Tensor) -> Tensor:
        images = (sr, hr) if CARDS[name].full_reference else (sr,)
        if not CARDS[name].handcrafted:
            images = tuple(image.float() for image in images)
        try:
            return self._metrics[name].to(sr.device)(*images).reshape(()).float()
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # NIQE inverts a covariance, and an image without texture has none.
            return torch.full((), torch.nan, device=sr.device)


def _create(name: str, parameters: Path | None) -> Any:
    import pyiqa  # seconds, and only validation needs it

    card = CARDS[name]
    arguments = dict(card.arguments)
    if parameters is not None:
        arguments["pretrained_model_path"] = str(parameters)
    try:
        # pyiqa picks a GPU by itself; the images decide instead.
        metric = pyiqa.create_metric(card.pyiqa_name, device=torch.device("cpu"), **arguments)
        if parameters is not None and (metric.net.mu_pris_param.shape, metric.net.cov_pris_param.shape) != ((36,), (36, 36)):
            raise ValueError("not a model of 36 features")
    except Exception as error:  # a damaged file can fail in any way
        file = parameters or (card.weights and _path(card.weights))
        if file is None:
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"metric {name} cannot use {file} ({reason}): is it whole, and the right file?") from error
    return metric


def _round_to_8_bits(image: Tensor) -> Tensor:
    return ((image[None].double().clamp(-1, 1) + 1) * 127.5).round() / 255


def _path(weights: WeightsFile) -> Path:
    return Path(torch.hub.get_dir()) / weights.folder / weights.name


def _url(weights: WeightsFile) -> str:
    from huggingface_hub import hf_hub_url

    return weights.url or hf_hub_url(_PYIQA_WEIGHTS, weights.name)


def _provide(needed: dict[str, WeightsFile]) -> None:
    """Download the weights that are not on this machine.

    pyiqa would do it too, but waits for minutes where there is no network, and can leave half a file.
    """
    missing = [weights for weights in needed.values() if not _path(weights).is_file()]
    if not missing:
        return
    from huggingface_hub import constants

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE forbids to download")
        for weights in missing:
            log.info("downloading %s to %s", _url(weights), _path(weights))
            _path(weights).parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_url(weights), str(_path(weights)), weights.sha256)
    except (OSError, HTTPException, RuntimeError) as error:
        lacking = {name: weights for name, weights in needed.items() if not _path(weights).is_file()}
        recipes = ", ".join(f"{_url(weights)} to {_path(weights)}" for weights in lacking.values())
        free = ", ".join(name for name, card in CARDS.items() if card.weights is None)
        hint = ", and niqe with parameters of your own" if "niqe" in lacking else ""
        raise ValueError(
            f"weights of {', '.join(lacking)} are missing ({error}): copy {recipes}; or choose other metrics ({free} need no weights{hint})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


@contextmanager
def _construction() -> Iterator[None]:
    """Let pyiqa import and build without side effects on its caller."""
    # The import and random initial weights draw from the global generator; loading prints.
    with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
        import timm

        create_model = timm.create_model

        def without_weights(*args: Any, **kwargs: Any) -> torch.nn.Module:
            # MANIQA asks for ImageNet weights of its backbone and then overwrites them with those of its own file.
            return create_model(*args, **kwargs | {"pretrained": False})

        # pyiqa unpickles its files without restriction, unless torch is told otherwise.
        with patch.object(timm, "create_model", without_weights), patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            yield
