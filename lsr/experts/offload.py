"""Experts that wait in host memory: the device holds the one that is asked, and no other."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lsr.models.checkpoint import load_weights, read_model
from lsr.models.mixture import ExpertMixture


class ExpertOffload:
    """Moves the experts of a mixture to a device one at a time, each when it is called, for evaluation only.

    Weights do not change in evaluation: the expert that leaves is dropped from the device and nothing is copied back. Times fall
    from step to step, so in sampling an image every expert comes once: n experts take each other's place n - 1 times, and once
    more for the next image, which begins with the last expert; with `lsr.inference.sampling.super_resolve_together` n - 1 times for all. Not
    for networks that are replayed as CUDA graphs: those remember where weights lay.

    Args:
        mixture: Its weights are taken from where they are, host memory or a mapped file, and are there again after `release`.
        device: Where the experts compute.

    Attributes:
        arrivals: How often an expert was brought to the device so far.
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
        """Leave the mixture as it was, all of it where it waits."""
        self._leave()
        for hook in self._hooks:
            hook.remove()

    def _bring(self, index: int) -> None:
        if index == self._active:
            return
        self._leave()
        self._active = index
        self.arrivals += 1
        for parameter in self._mixture.expert(index).parameters():
            self._waiting.append((parameter, parameter.data))
            # A file may hold half precision; it computes as `load_denoiser` would, in float32.
            parameter.data = parameter.data.to(self.device, torch.float32, copy=True)

    def _leave(self) -> None:
        for parameter, host in self._waiting:
            parameter.data = host
        self._waiting, self._active = [], None


def load_offloaded(path: Path, device: torch.device) -> tuple[ExpertMixture, float, ExpertOffload]:
    """Load a mixture whose experts wait: in the page cache, mapped from the file, if it is `.safetensors`; else in memory.

    Args:
        path: A model file of a mixture, see `lsr.models.checkpoint.read_model`.
        device: Where the experts compute.

    Returns:
        The mixture in evaluation mode, the shift of its flow times, and what moves its experts.

    Raises:
        ValueError: If the file cannot be read, or holds a single denoiser.
    """
    weights, config, shift, boundaries, depths = read_model(path)
    if boundaries is None:
        raise ValueError(
            f"{path} holds a single denoiser: there are no experts to keep off the device"
        )
    with torch.device("meta"):
        mixture = ExpertMixture(config, boundaries, depths)
    load_weights(mixture, weights, path, assign=True)
    return mixture.eval(), shift, ExpertOffload(mixture, device)
