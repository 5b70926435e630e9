"""AdamW with warm-up, and the choice of what it decays."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lsr.experts.turns import steps_taken

_NO_DECAY = re.compile(r"(^|\.)(qkv|q|kv)\.weight$|norm|scale_shift_table|tag_table")


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of AdamW (arXiv 1711.05101).

    Attributes:
        lr: Learning rate after warm-up.
        weight_decay: Decoupled weight decay of the weights that are decayed.
        betas: Decay rates of the moments.
        warmup_steps: Steps of linear warm-up from lr / warmup_steps; every expert of a mixture counts its own.
    """

    lr: float = 1e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 1000

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, not {self.lr}")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Tell whether weight decay applies.

    Not to vectors (biases, norms) and modulation tables; not to embeddings of tags, for most are absent from a batch and would only
    shrink; not to query and key projections either: linear attention does not
    change when they are scaled, so decay would only shrink them until their gradient, which grows as 1 / |W|, spikes. A
    fused projection goes with its queries and keys.
    """
    return parameter.ndim >= 2 and not _NO_DECAY.search(name)


def build_optimizer(
    networks: Sequence[nn.Module], config: OptimizerConfig
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return AdamW over the trainable parameters of the networks, and its per-step warm-up.

    Each network that is trained has two parameter groups, with and without weight decay, and a warm-up of its own.

    Args:
        networks: The denoiser, or the experts of a mixture.
        config: Settings of AdamW.
    """
    parts = [part for part in networks if any(p.requires_grad for p in part.parameters())]
    groups, factors = [], []
    for i, part in enumerate(parts):
        named = [(name, p) for name, p in part.named_parameters() if p.requires_grad]
        groups += [
            {
                "params": [p for name, p in named if is_decayed(name, p)],
                "weight_decay": config.weight_decay,
            },
            {"params": [p for name, p in named if not is_decayed(name, p)], "weight_decay": 0.0},
        ]
        factors += [_warm_up(i, len(parts), max(config.warmup_steps, 1))] * 2
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    return optimizer, LambdaLR(optimizer, factors)


def _warm_up(expert: int, n_experts: int, steps: int) -> Callable[[int], float]:
    return lambda step: min(1.0, (steps_taken(expert, step, n_experts) + 1) / steps)
