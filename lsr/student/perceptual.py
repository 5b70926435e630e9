"""LPIPS and DISTS as terms of the student's loss, where their weights are at hand."""

import logging
from typing import Any

from torch import Tensor

from lsr.metrics.quality import create
from lsr.metrics.weights import MissingWeights, provide
from lsr.student.config import StudentConfig

log = logging.getLogger(__name__)

_LPIPS_WEIGHT = 1.0
"""Weight of LPIPS if none is set."""


class Perceptual:
    """Distances of images by the features of networks that were trained on photographs.

    It is no `nn.Module`: the networks are not trained, and no checkpoint holds them.

    Args:
        config: Configuration of the student.

    Attributes:
        weights: Weight of each distance that is used, by name.

    Raises:
        ValueError: If the networks' weights are damaged, or missing for a distance whose weight is
            set. If LPIPS has no weight set and is missing, a warning names it instead.
    """

    def __init__(self, config: StudentConfig) -> None:
        lpips = _LPIPS_WEIGHT if config.lpips_weight is None else config.lpips_weight
        wanted = {"lpips": lpips, "dists": config.dists_weight}
        self.weights = {name: weight for name, weight in wanted.items() if weight}
        self._networks: dict[str, Any] = {}
        for name in list(self.weights):
            try:
                self._networks[name] = create(name, provide([name], None), as_loss=True)
            except MissingWeights as error:
                if name == "dists" or config.lpips_weight is not None:
                    raise ValueError(
                        f"student.{name}_weight is {self.weights[name]}, but {error}"
                    ) from error
                log.warning("the student is trained without LPIPS: %s", error.recipe)
                del self.weights[name]

    def __call__(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Return the mean distance of images (B, 3, H, W) in [-1, 1] by name, scalars."""
        found = {}
        for name, network in self._networks.items():
            images = [((image + 1) / 2).clamp(0, 1) for image in (sr, hr)]
            found[name] = network.to(sr.device)(*images)
        return found
