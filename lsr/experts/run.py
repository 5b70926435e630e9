"""Training of a mixture: the expert of each step, the curves of each expert, and their seed."""

from typing import Any

from torch import Tensor

from lsr.experts.config import ExpertsConfig
from lsr.experts.initial_weights import seed_experts
from lsr.experts.turns import Turns
from lsr.models.checkpoint import MODEL_CONFIG
from lsr.models.mixture import ExpertMixture

EXPERT_RUN = "expert_run"
"""Key in a Lightning checkpoint: the SHA-256 of the seed, and the expert that was trained alone."""


class ExpertRun:
    """The experts of one training run.

    Args:
        config: Configuration of stage 2.
        mixture: The experts.

    Attributes:
        turns: The schedule that assigns each optimiser step to an expert.
        latest: Newest value of each logged curve, by name, such as `train/loss_expert_2`.
    """

    def __init__(self, config: ExpertsConfig, mixture: ExpertMixture) -> None:
        self.config = config
        self.turns = Turns(len(mixture.experts), config.expert)
        self.latest: dict[str, Tensor] = {}
        self._mixture = mixture
        self._seed_sha256: str | None = None

    def grow(self) -> None:
        """Copy the weights of the knee to all experts, see `seed_experts`."""
        self._seed_sha256 = seed_experts(self._mixture, self.config)

    def interval(self, step: int) -> tuple[float, float]:
        """Return the range of flow times that optimiser step `step` trains on."""
        return self._mixture.interval(self.turns.expert(step))

    def keep(self, name: str, step: int, value: Tensor) -> None:
        """Store the newest value of a curve for the expert that optimiser step `step` trains."""
        self.latest[f"train/{name}_expert_{self.turns.expert(step)}"] = value.detach()

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Write the SHA-256 of the seed and the expert that is trained alone to a checkpoint."""
        checkpoint[EXPERT_RUN] = {"seed_sha256": self._seed_sha256, "expert": self.turns.alone}

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Restore the SHA-256 of the seed that `save` has written.

        Raises:
            ValueError: If the run of the checkpoint trained other experts than this run.
        """
        found = checkpoint.get(EXPERT_RUN, {})
        if found.get("expert") != self.turns.alone:
            what = [
                "all experts" if expert is None else f"expert {expert} alone"
                for expert in (found.get("expert"), self.turns.alone)
            ]
            raise ValueError(
                f"the checkpoint is of a run of {what[0]}, but this run trains {what[1]}: set "
                "model.experts.expert to the same value"
            )
        self._seed_sha256 = found.get("seed_sha256")


def check_same_experts(checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Check that the experts of a checkpoint have the boundaries of a model.

    Args:
        checkpoint: A Lightning checkpoint.
        config: Configuration of the model that will load the weights of the checkpoint.

    Raises:
        ValueError: If the boundaries differ.
    """
    found = checkpoint.get(MODEL_CONFIG, {}).get("boundaries")
    wanted = config.get("boundaries")
    if found != wanted:
        what = [
            "a single denoiser" if times is None else f"experts that meet at {times}"
            for times in (found, wanted)
        ]
        raise ValueError(
            f"the checkpoint is of {what[0]}, but the model is of {what[1]}: give the experiment "
            "that the checkpoint was trained with"
        )
