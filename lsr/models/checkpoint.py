"""Weights on disk: safetensors with their configuration, and Lightning checkpoints."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsr.distributed.tensors import load_whole
from lsr.files import atomic_path
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.mixture import ExpertMixture, Model

MODEL_CONFIG = "model_config"
"""Key of the model's configuration in a Lightning checkpoint and in the metadata of safetensors."""

EMA_STATE = "ema_state_dict"
"""Key of the averaged weights in a Lightning checkpoint, under the module's own names."""

DENOISER_PREFIX = "denoiser."
"""What the names of the denoiser's weights begin with in a Lightning checkpoint."""


def model_config(denoiser: Model, shift: float) -> dict[str, Any]:
    """Return the configuration that travels with the weights of a model, see `save_denoiser`."""
    return asdict(denoiser.config) | {"shift": shift} | denoiser.shares


def save_denoiser(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors that describe themselves.

    Args:
        path: Target file.
        weights: State of a `Denoiser` or an `ExpertMixture`.
        config: Fields of `DenoiserConfig`, `shift`, and of a mixture its `boundaries`, and `depths` where they differ.
    """
    with atomic_path(path) as temporary:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in weights.items()},
            temporary,
            {MODEL_CONFIG: json.dumps(config)},
        )


def read_weights(path: Path, averaged: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a model file and its configuration as plain values; errors are those of the file format."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            config = json.loads((file.metadata() or {})[MODEL_CONFIG])
        return weights, config
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return denoiser_weights(checkpoint, averaged), checkpoint[MODEL_CONFIG]


def denoiser_weights(checkpoint: dict[str, Any], averaged: bool = True) -> dict[str, Tensor]:
    """Return the state of the denoiser in a Lightning checkpoint: raw weights, or averages where there are."""
    state = checkpoint["state_dict"] | (checkpoint.get(EMA_STATE, {}) if averaged else {})
    return {
        key.removeprefix(DENOISER_PREFIX): value
        for key, value in state.items()
        if key.startswith(DENOISER_PREFIX)
    }


class ModelFile(NamedTuple):
    """What a model file holds.

    Attributes:
        weights: The state of a `Denoiser` or an `ExpertMixture`.
        config: Its configuration.
        shift: The shift of its flow times.
        boundaries: Where the experts of a mixture meet; None for a single denoiser.
        depths: The blocks of each expert; None if they are those of `config`.
    """

    weights: dict[str, Tensor]
    config: DenoiserConfig
    shift: float
    boundaries: list[float] | None
    depths: list[int] | None = None


def read_model(path: Path, averaged: bool = True) -> ModelFile:
    """Read a model file: the averaged weights where the file has them.

    Args:
        path: A `.safetensors` file of `save_denoiser` or a Lightning checkpoint of `LinearSRModule`.
        averaged: False reads the weights that a checkpoint was training.

    Raises:
        ValueError: If there is no such file or it holds no LinearSR model.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: name a model file, such as {path / 'checkpoints' / 'last.ckpt'}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such model file")
    try:
        weights, config = read_weights(path, averaged)
        shift, boundaries, depths = (
            config.pop("shift"),
            config.pop("boundaries", None),
            config.pop("depths", None),
        )
    except Exception as error:  # torch, pickle, zip, safetensors and json each have their own kinds
        raise ValueError(
            f"{path}: not a LinearSR model, or a damaged one ({type(error).__name__})"
        ) from error
    unknown = sorted(config.keys() - {field.name for field in fields(DenoiserConfig)})
    if unknown:
        raise ValueError(
            f"{path}: made by another version of LinearSR (unknown {', '.join(unknown)})"
        )
    return ModelFile(weights, DenoiserConfig(**config), shift, boundaries, depths)


def read_denoiser(path: Path) -> tuple[dict[str, Tensor], DenoiserConfig, float]:
    """Read the file of a single denoiser, see `read_model`.

    Returns:
        The state of a `Denoiser`, its configuration, and the shift of its flow times.

    Raises:
        ValueError: Also if it holds a mixture of experts.
    """
    found = read_model(path)
    if found.boundaries is not None:
        raise ValueError(f"{path} holds {len(found.boundaries) + 1} experts, not a single denoiser")
    return found.weights, found.config, found.shift


def load_denoiser(path: Path) -> tuple[Model, float]:
    """Build a denoiser, or a mixture of them, from a model file, see `read_model`.

    Returns:
        The model in evaluation mode on the CPU, and the shift of its flow times.

    Raises:
        ValueError: If the file cannot be read, or its weights do not fit their configuration.
    """
    weights, config, shift, boundaries, depths = read_model(path)
    denoiser = Denoiser(config) if boundaries is None else ExpertMixture(config, boundaries, depths)
    load_weights(denoiser, weights, path)
    return denoiser.eval().requires_grad_(False), shift


def load_weights(
    denoiser: Model, weights: dict[str, Tensor], path: Path, assign: bool = False
) -> None:
    """Put the weights that were read from `path` in place.

    Args:
        denoiser: The model.
        weights: Its state.
        path: Named in the error.
        assign: Take the tensors themselves, in place of copies.

    Raises:
        ValueError: If they do not fit.
    """
    try:
        load_whole(denoiser, weights, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit their configuration") from error


def initialise(denoiser: Denoiser, path: Path) -> None:
    """Begin with the weights of a model file.

    Raises:
        ValueError: If the file cannot be read, or is of a model of another configuration; where the autoencoder lies, and which
            frozen encoder guides, may differ.
    """
    weights, found, _ = read_denoiser(path)
    wanted = asdict(denoiser.config)
    differing = [
        f"{name} {value!r}, not {wanted[name]!r}"
        for name, value in asdict(found).items()
        if value != wanted[name]
    ]
    differing = [
        text
        for text in differing
        if not (text.startswith("autoencoder ") and found.autoencoder and wanted["autoencoder"])
    ]
    if not (
        found.vocabulary or wanted["vocabulary"]
    ):  # a frozen encoder has no weights in the file
        differing = [
            text for text in differing if not text.startswith(("guidance ", "guidance_encoder "))
        ]
    if found.vocabulary and (
        differing_tags := difference(found.vocabulary, denoiser.config.vocabulary)
    ):
        differing = [text for text in differing if not text.startswith("vocabulary ")] + [
            differing_tags
        ]
    if differing:
        raise ValueError(f"{path} is of another model: {', '.join(differing)}")
    load_weights(denoiser, weights, path)


def difference(found: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Tell in words how a vocabulary differs from the one that is wanted; None if it does not."""
    if tuple(found) == tuple(wanted):
        return None
    alone = sorted(set(found) ^ set(wanted))
    what = f"{alone[0]!r} is in one of them alone" if alone else "the order is another"
    return f"a vocabulary of {len(found)} tags, not of these {len(wanted)}: {what}"
