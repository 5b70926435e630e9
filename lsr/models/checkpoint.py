"""Read and write model files: safetensors with a configuration, and Lightning checkpoints."""

import json
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
"""Key of the configuration of the model in Lightning checkpoints and in safetensors metadata."""

EMA_STATE = "ema_state_dict"
"""Key of the averaged weights (EMA) in a Lightning checkpoint.

They have the same names as the weights under `state_dict`.
"""

ONE_STEP = "one_step"
"""Key in the configuration of a model that was trained for a single sampling step (stage 3)."""

DENOISER_PREFIX = "denoiser."
"""Prefix of the names of the denoiser's weights in a Lightning checkpoint."""


def model_config(denoiser: Model, shift: float) -> dict[str, Any]:
    """Return the configuration that a model file holds next to the weights, see `save_denoiser`."""
    known = asdict(denoiser.config) | {"shift": shift} | denoiser.shares
    return known | {ONE_STEP: True} if denoiser.one_step else known


def save_denoiser(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights and their configuration to one safetensors file.

    Args:
        path: Path of the file.
        weights: State dict of a `Denoiser` or an `ExpertMixture`.
        config: Result of `model_config`: the fields of `DenoiserConfig`, `shift`, and for a mixture
            `boundaries` and, if the experts have depths of their own, `depths`; `one_step` if it
            is True.
    """
    with atomic_path(path) as temporary:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in weights.items()},
            temporary,
            {MODEL_CONFIG: json.dumps(config)},
        )


def read_weights(path: Path, averaged: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a model file and its configuration as plain values.

    Errors are those of the libraries that read the file; `read_model` turns them into ValueError.
    `averaged` is described there, too.
    """
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            config = json.loads((file.metadata() or {})[MODEL_CONFIG])
        return weights, config
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return denoiser_weights(checkpoint, averaged), checkpoint[MODEL_CONFIG]


def denoiser_weights(checkpoint: dict[str, Any], averaged: bool = True) -> dict[str, Tensor]:
    """Return the state dict of the denoiser in a Lightning checkpoint.

    If `averaged`, averaged weights (EMA) replace the trained ones where the checkpoint has them.
    """
    state = checkpoint["state_dict"] | (checkpoint.get(EMA_STATE, {}) if averaged else {})
    return {
        key.removeprefix(DENOISER_PREFIX): value
        for key, value in state.items()
        if key.startswith(DENOISER_PREFIX)
    }


class ModelFile(NamedTuple):
    """Content of a model file.

    Attributes:
        weights: State dict of a `Denoiser` or an `ExpertMixture`.
        config: Configuration of the denoiser, or of every expert.
        shift: Shift of the flow times, see `lsr.flow.timesteps.shift_timesteps`.
        boundaries: Times that separate the experts of a mixture; None for a single denoiser.
        depths: Number of blocks of each expert; None if all have `config.depth`.
        one_step: Whether it was trained for a single sampling step.
    """

    weights: dict[str, Tensor]
    config: DenoiserConfig
    shift: float
    boundaries: list[float] | None
    depths: list[int] | None = None
    one_step: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The configuration as `save_denoiser` takes it."""
        more = {"boundaries": self.boundaries, "depths": self.depths, ONE_STEP: self.one_step}
        known = asdict(self.config) | {"shift": self.shift}
        return known | {key: value for key, value in more.items() if value not in (None, False)}


def read_model(path: Path, averaged: bool = True) -> ModelFile:
    """Read a model file.

    Args:
        path: A `.safetensors` file of `save_denoiser` or a Lightning checkpoint of
            `LinearSRModule`.
        averaged: Whether to read the averaged weights (EMA) of a checkpoint, if it has any, instead
            of the trained ones. A `.safetensors` file has only one set of weights.

    Returns:
        Weights and configuration.

    Raises:
        ValueError: If the file does not exist or holds no LinearSR model.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: name a model file, such as {path / 'checkpoints' / 'last.ckpt'}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such model file; check the path")
    try:
        weights, config = read_weights(path, averaged)
        shift = config.pop("shift")
        boundaries = config.pop("boundaries", None)
        depths = config.pop("depths", None)
        one_step = config.pop(ONE_STEP, False)
    # torch, pickle, zip, safetensors and json all raise different exceptions.
    except Exception as error:
        raise ValueError(
            f"{path}: not a LinearSR model, or damaged ({type(error).__name__}); give a .ckpt "
            "file of lsr fit or a .safetensors file of lsr export"
        ) from error
    unknown = sorted(config.keys() - {field.name for field in fields(DenoiserConfig)})
    if unknown:
        raise ValueError(
            f"{path}: made by another version of LinearSR (unknown settings: "
            f"{', '.join(unknown)}); use that version"
        )
    return ModelFile(weights, DenoiserConfig(**config), shift, boundaries, depths, one_step)


def read_denoiser(path: Path) -> tuple[dict[str, Tensor], DenoiserConfig, float]:
    """Read the model file of a single denoiser, see `read_model`.

    Returns:
        State dict of a `Denoiser`, its configuration, and the shift of its flow times.

    Raises:
        ValueError: If the file cannot be read or holds a mixture of experts.
    """
    found = read_model(path)
    if found.boundaries is not None:
        raise ValueError(
            f"{path} holds {len(found.boundaries) + 1} experts, but a single denoiser is needed: "
            "give a model of stage 1"
        )
    return found.weights, found.config, found.shift


def load_denoiser(path: Path, averaged: bool = True) -> tuple[Model, float]:
    """Build the model that a model file describes; for the arguments see `read_model`.

    Returns:
        The model in evaluation mode on the CPU, without gradients, and the shift of its flow times.

    Raises:
        ValueError: If the file cannot be read, or its weights do not fit its configuration.
    """
    weights, config, shift, boundaries, depths, one_step = read_model(path, averaged)
    denoiser = Denoiser(config) if boundaries is None else ExpertMixture(config, boundaries, depths)
    denoiser.one_step = one_step
    load_weights(denoiser, weights, path)
    return denoiser.eval().requires_grad_(False), shift


def load_weights(
    denoiser: Model, weights: dict[str, Tensor], path: Path, assign: bool = False
) -> None:
    """Load weights that were read from a file into a model.

    Args:
        denoiser: The model.
        weights: Its state dict.
        path: Path of the file, for the error message.
        assign: Whether the model takes the tensors themselves instead of copying their values.

    Raises:
        ValueError: If names or shapes of the weights do not fit the model.
    """
    try:
        load_whole(denoiser, weights, assign=assign)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: names or shapes of the weights do not fit the model's configuration: "
            "the file is damaged; export or fetch it again"
        ) from error
