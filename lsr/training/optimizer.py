"""AdamW with a warm-up, and the choice of the weights that are decayed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lsr.experts.turns import steps_taken

_QUERIES_KEYS = re.compile(r"(^|\.)(qkv|q|kv)\.weight$")
_NO_DECAY = re.compile(r"norm|scale_shift_table|tag_table")


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of AdamW (arXiv 1711.05101).

    Attributes:
        lr: Learning rate after the warm-up.
        weight_decay: Decoupled weight decay, for the weights chosen by `is_decayed`.
        betas: Decay rates of the averages of the gradient and of its square.
        warmup_steps: Steps in which the learning rate rises linearly, from lr / warmup_steps to lr.
            Each expert of a mixture counts its own steps.
        qk_decay: Decoupled weight decay of the projections of queries and keys. Nothing else holds
            their norms back, so it keeps the sums of the attention small, see `is_decayed`.
    """

    lr: float = 1e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 1000
    qk_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, not {self.lr}")
        if self.qk_decay < 0:
            raise ValueError(f"qk_decay must be at least 0, not {self.qk_decay}")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay applies to a parameter.

    It does not apply to:

    - vectors (biases and norms) and modulation tables;
    - embeddings of tags: most tags are absent from a batch, so decay would only shrink them;
    - query and key projections: the output of linear attention does not change when they are
      scaled, so decay would only shrink them, until their gradient, which grows as 1 / |W|, spikes.
      A projection fused with values counts as one of queries and keys. `qk_decay` is for these.

    Args:
        name: Name of the parameter in its network.
        parameter: The parameter.
    """
    return parameter.ndim >= 2 and not (_NO_DECAY.search(name) or _QUERIES_KEYS.search(name))


def build_optimizer(
    networks: Sequence[nn.Module], config: OptimizerConfig
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return AdamW for the trainable parameters of the networks, and its warm-up.

    Each network with trainable parameters has two parameter groups, with and without weight decay,
    a third one for the queries and keys if they have a decay, and a warm-up of its own.

    Args:
        networks: The denoiser, or the experts of a mixture.
        config: Settings of AdamW.

    Returns:
        The optimiser and its schedule, which counts optimiser steps.
    """
    parts = [part for part in networks if any(p.requires_grad for p in part.parameters())]
    groups = []
    factors = []
    for i, part in enumerate(parts):
        named = [(name, p) for name, p in part.named_parameters() if p.requires_grad]
        qk = [name for name, _ in named if config.qk_decay and _QUERIES_KEYS.search(name)]
        decayed = [p for name, p in named if is_decayed(name, p)]
        others = [p for name, p in named if not is_decayed(name, p) and name not in qk]
        own = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        if qk:  # no empty group: checkpoints of runs without this decay have two
            own.append(
                {"params": [p for n, p in named if n in qk], "weight_decay": config.qk_decay}
            )
        groups += own
        factors += [_warm_up(i, len(parts), max(config.warmup_steps, 1))] * len(own)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    return optimizer, LambdaLR(optimizer, factors)


def _warm_up(expert: int, n_experts: int, steps: int) -> Callable[[int], float]:
    # LambdaLR calls this with the number of optimiser steps done, and multiplies lr by the result.
    return lambda step: min(1.0, (steps_taken(expert, step, n_experts) + 1) / steps)
