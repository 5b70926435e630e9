"""Training of a mixture: the expert of each step, the curves of each expert, and their seed."""

from typing import Any

import torch
from torch import Tensor

from lsr.distributed.ranks import mean_over_ranks
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

    def averaged(self) -> dict[str, Tensor]:
        """Return `latest` with losses that are means over the ranks; every rank has to call this.

        The gradient norms are the same on all ranks already.
        """
        names = [name for name in self.latest if name.startswith("train/loss")]
        if not names:
            return dict(self.latest)
        means = mean_over_ranks(torch.stack([self.latest[name] for name in names]))
        return self.latest | dict(zip(names, means, strict=True))

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Write the SHA-256 of the seed and the expert that is trained alone to a checkpoint."""
        checkpoint[EXPERT_RUN] = {"seed_sha256": self._seed_sha256, "expert": self.turns.alone}

    def load(self, checkpoint: dict[str, Any], in_training: bool) -> None:
        """Restore the SHA-256 of the seed that `save` has written.

        A run of all experts can be evaluated with `expert` set: all its weights are there.

        Args:
            checkpoint: A Lightning checkpoint.
            in_training: Whether the run will be continued, not evaluated.

        Raises:
            ValueError: If the run of the checkpoint trained other experts than this run.
        """
        found = checkpoint.get(EXPERT_RUN, {})
        expert = found.get("expert")
        wanted = self.turns.alone
        if in_training and expert != wanted:
            raise ValueError(
                f"the checkpoint is of a run of {_experts(expert)}, but this run trains "
                f"{_experts(wanted)}: set model.experts.expert to the same value"
            )
        if expert not in (None, wanted):
            raise ValueError(
                f"the checkpoint is of a run of {_experts(expert)}: evaluate it with "
                f"--model.experts.expert {expert}, or join all runs by lsr merge-experts"
            )
        self._seed_sha256 = found.get("seed_sha256")


def _experts(expert: int | None) -> str:
    """Return in words which experts a run trains."""
    return "all experts" if expert is None else f"expert {expert} alone"


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
