"""Denoisers that stage 3 uses without training them: the features of LADD, and the teacher."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.flow.samplers import sample_euler
from lsr.flow.timesteps import timestep_grid
from lsr.models.checkpoint import load_denoiser
from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser, flow_data
from lsr.models.mixture import Model
from lsr.student.config import StudentConfig
from lsr.student.start import start_file


class Frozen:
    """A trained model without gradients of its own, next to a student.

    It is no `nn.Module`, so checkpoints, averages, optimisers and DDP pass over it.

    Args:
        path: The model file.
        student: The student. If both use the same latents, they share the autoencoder.

    Attributes:
        path: The model file.
        model: The model.
        shift: Shift of its flow times.
        same_latents: Whether its latents are those of the student.

    Raises:
        ValueError: If the file cannot be read, or the model enlarges by another factor.
    """

    def __init__(self, path: Path, student: Denoiser) -> None:
        self.path = path
        self.model: Model
        self.model, self.shift = load_denoiser(path)
        own, other = self.model.config, student.config
        if own.scale != other.scale:
            raise ValueError(
                f"{path} enlarges {own.scale} times, but the student {other.scale} times: give "
                "model.init_from or student.ladd.features a model of the same scale"
            )
        self.same_latents = bool(own.autoencoder) == bool(other.autoencoder) and (
            self.model.space.factor == student.space.factor
        )
        if self.same_latents:
            for denoiser in self.model.denoisers:
                denoiser.space = student.space
        else:
            self.model.space.prepare()

    def condition(self, of: Condition) -> Condition:
        """Return the condition of this model for the images and the context of another one."""
        return self.model.condition(of.lr, of.context, of.mask)

    def data(self, x_0: Tensor, student: Denoiser, of: Condition, own: Condition) -> Tensor:
        """Return data x_0 of the student's flow as data of this model's flow.

        Args:
            x_0: Data (B, C, H / f, W / f).
            student: The student.
            of: Condition of the student.
            own: Condition of this model.
        """
        latent = student.latent(x_0, of)
        if not self.same_latents:
            latent = self.model.space.encode(student.space.decode(latent))
        return flow_data(latent, own, self.model.config)

    @torch.no_grad()
    def sample(self, noise: Tensor, student: Denoiser, of: Condition, steps: int) -> Tensor:
        """Return the result of several sampling steps from the student's noise, as its data.

        Args:
            noise: Normal noise (B, C, H / f, W / f).
            student: The student, of the same latents.
            of: Condition of the student.
            steps: Number of Euler steps.
        """
        own = self.condition(of)
        grid = timestep_grid(steps, self.shift)
        x_0 = sample_euler(partial(self.model, condition=own), noise, grid)
        return flow_data(self.model.latent(x_0, own), of, student.config)


def read_frozen(
    config: StudentConfig, init_from: str | None, student: Denoiser
) -> dict[str, Frozen]:
    """Return the frozen models of a run: that of LADD as "ladd", the teacher as "teacher".

    Args:
        config: Configuration of the student.
        init_from: The model that the student starts from, or None.
        student: The student.

    Raises:
        ValueError: If a model is not named or cannot be used.
    """
    named = {}
    if config.ladd is not None:
        named["ladd"] = config.ladd.features or init_from
    if config.needs_teacher and config.teacher_steps:
        named["teacher"] = init_from
    found: dict[str, Frozen] = {}
    for role, name in named.items():
        if name is None:
            setting = "ladd" if role == "ladd" else "teacher_steps"
            raise ValueError(
                f"student.{setting} needs a trained model: set model.init_from to the knee of "
                "stage 1 or a model file"
            )
        path = start_file(name)
        same = [each for each in found.values() if each.path == path]
        found[role] = same[0] if same else Frozen(path, student)
    if "teacher" in found and not found["teacher"].same_latents:
        raise ValueError(
            f"{found['teacher'].path} has other latents than the student, so student.teacher_steps "
            "cannot use it: give the data a folder of its results"
        )
    return found


def block_features(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, condition: Condition, blocks: tuple[int, ...]
) -> list[Tensor]:
    """Return the tokens after some blocks as maps (B, D, h, w), normalised at each position.

    Gradients flow through them to `x_t`.

    Args:
        denoiser: The denoiser.
        x_t: State of its flow (B, C, h, w).
        t: Flow times (B,).
        condition: Its condition.
        blocks: Numbers of the blocks.
    """
    found: dict[nn.Module, Tensor] = {}

    def keep(block: nn.Module, inputs: Any, output: Tensor) -> None:
        found[block] = output.float()

    chosen = [denoiser.net.blocks[number] for number in blocks]
    hooks = [block.register_forward_hook(keep) for block in chosen]
    try:
        denoiser(x_t, t, condition)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = [F.layer_norm(found[block], found[block].shape[-1:]) for block in chosen]
    return [each.transpose(1, 2).unflatten(2, x_t.shape[-2:]) for each in tokens]
