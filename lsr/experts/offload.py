"""Keep the experts of a mixture in host memory, and only the active one on the device."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lsr.models.checkpoint import load_weights, read_model
from lsr.models.mixture import ExpertMixture


class ExpertOffload:
    """Copy an expert to the device when it is called, and remove the previous one.

    This is for evaluation only: the weights do not change, so nothing is copied back. Times
    decrease from step to step of a sampler, so each of the n experts is copied once for an image,
    and the next image starts with the last expert again.
    `lsr.inference.sampling.super_resolve_together` samples several images step by step, and copies
    each expert once for all of them.

    Do not use it with CUDA graphs: a graph stores the addresses of the weights.

    Args:
        mixture: The experts. Their weights are in host memory or in a mapped file; `release`
            restores this state.
        device: The device that computes.

    Attributes:
        arrivals: Number of copies of an expert to the device so far.
    """

    def __init__(self, mixture: ExpertMixture, device: torch.device) -> None:
        self.device = device
        self.arrivals = 0
        self._mixture = mixture.requires_grad_(False)
        self._active: int | None = None
        self._waiting: list[tuple[nn.Parameter, Tensor]] = []
        self._hooks = [
            mixture.expert(i).register_forward_pre_hook(lambda *_, i=i: self._bring(i))
            for i in range(len(mixture.experts))
        ]

    def release(self) -> None:
        """Restore the weights of the mixture in host memory and remove the hooks."""
        self._leave()
        for hook in self._hooks:
            hook.remove()

    def _bring(self, index: int) -> None:
        """Copy an expert to the device unless it is there."""
        if index == self._active:
            return
        self._leave()
        self._active = index
        self.arrivals += 1
        for parameter in self._mixture.expert(index).parameters():
            self._waiting.append((parameter, parameter.data))
            # A file may hold half precision; like `load_denoiser`, experts compute in float32.
            parameter.data = parameter.data.to(self.device, torch.float32, copy=True)

    def _leave(self) -> None:
        """Remove the active expert from the device."""
        for parameter, host in self._waiting:
            parameter.data = host
        self._waiting = []
        self._active = None


def load_offloaded(path: Path, device: torch.device) -> tuple[ExpertMixture, float, ExpertOffload]:
    """Load a mixture whose experts stay in host memory until they are called.

    A `.safetensors` file is mapped into memory: the system reads it on demand and can free the
    pages. Other files are read into memory.

    Args:
        path: Model file of a mixture, see `lsr.models.checkpoint.read_model`.
        device: The device that computes.

    Returns:
        The mixture in evaluation mode, the shift of its flow times, and the object that copies its
        experts to the device.

    Raises:
        ValueError: If the file cannot be read, or holds a single denoiser.
    """
    weights, config, shift, boundaries, depths, _ = read_model(path)
    if boundaries is None:
        raise ValueError(
            f"{path} holds a single denoiser: there are no experts to keep in host memory; load it "
            "with lsr.models.checkpoint.load_denoiser"
        )
    with torch.device("meta"):
        mixture = ExpertMixture(config, boundaries, depths)
    load_weights(mixture, weights, path, assign=True)
    return mixture.eval(), shift, ExpertOffload(mixture, device)
