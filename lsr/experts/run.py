"""What training a mixture adds to a run: whose turn it is, the curves of each expert, and where the experts come from."""

from typing import Any

from torch import Tensor

from lsr.experts.config import ExpertsConfig
from lsr.experts.seed import seed_experts
from lsr.experts.turns import Turns
from lsr.models.checkpoint import MODEL_CONFIG
from lsr.models.mixture import ExpertMixture

EXPERT_RUN = "expert_run"
"""Key of the origin of the experts in a Lightning checkpoint."""


class ExpertRun:
    """The experts of one run.

    Args:
        config: What they grow from and which of them are trained.
        mixture: The experts.

    Attributes:
        turns: Whose turn each step is.
        latest: The newest value of each expert's curves, by name.
    """

    def __init__(self, config: ExpertsConfig, mixture: ExpertMixture) -> None:
        self.config = config
        self.turns = Turns(len(mixture.experts), config.expert)
        self.latest: dict[str, Tensor] = {}
        self._mixture = mixture
        self._seed_sha256: str | None = None

    def grow(self) -> None:
        """Let the experts begin as the knee, see `lsr.experts.seed.seed_experts`."""
        self._seed_sha256 = seed_experts(self._mixture, self.config)

    def interval(self, step: int) -> tuple[float, float]:
        """Return the times that optimiser step `step` trains on."""
        return self._mixture.interval(self.turns.expert(step))

    def keep(self, name: str, step: int, value: Tensor) -> None:
        """Remember a value of the expert that optimiser step `step` trains."""
        self.latest[f"train/{name}_expert_{self.turns.expert(step)}"] = value.detach()

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Say which knee the experts come from, and whether one was trained alone."""
        checkpoint[EXPERT_RUN] = {"seed_sha256": self._seed_sha256, "expert": self.turns.alone}

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take up what `save` has written.

        Raises:
            ValueError: If other experts were trained.
        """
        found = checkpoint.get(EXPERT_RUN, {})
        if found.get("expert") != self.turns.alone:
            what = [
                "all experts" if expert is None else f"expert {expert} alone"
                for expert in (found.get("expert"), self.turns.alone)
            ]
            raise ValueError(f"the checkpoint is of a run of {what[0]}, not of {what[1]}")
        self._seed_sha256 = found.get("seed_sha256")


def check_same_experts(checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse weights of experts that were trained for other times.

    Args:
        checkpoint: A Lightning checkpoint.
        config: The configuration of the model that is to take its weights.

    Raises:
        ValueError: If their boundaries are not those of the model.
    """
    found, wanted = (
        config.get("boundaries") for config in (checkpoint.get(MODEL_CONFIG, {}), config)
    )
    if found != wanted:
        what = [
            "a single denoiser" if times is None else f"experts that meet at {times}"
            for times in (found, wanted)
        ]
        raise ValueError(f"the checkpoint is of {what[0]}, not of {what[1]}")
