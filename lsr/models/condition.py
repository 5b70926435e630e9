"""Hold the condition of a denoiser: LR images, their context, and results computed from them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lsr.nn.attention import KeysValues

if TYPE_CHECKING:
    from lsr.models.denoiser import Denoiser


@dataclass(frozen=True)
class Condition:
    """Condition of a denoiser: LR images and context, the same at all sampling steps.

    It keeps what denoisers compute from them, so that each computes it once per image.

    Attributes:
        lr: LR images (B, 3, h, w) in [-1, 1].
        base: Latent (B, C, H / f, W / f) that x_0 = 0 stands for: that of the bicubically upsampled
            LR image, or 0 if `residual_std` is 0.
        context: Context (B, L, context_dim), or indices into the vocabulary (B, L), or None.
        mask: Mask (B, L), bool, True for context tokens and False for padding; required with
            `context`.
    """

    lr: Tensor
    base: Tensor
    context: Tensor | None = None
    mask: Tensor | None = None
    _features: dict[nn.Module, Tensor] = field(default_factory=dict)
    _memories: dict[nn.Module, tuple[KeysValues, ...]] = field(default_factory=dict)

    def features(self, stem: nn.Module) -> Tensor:
        """Return the LR features (B, stem_width, H / f, W / f) of a stem.

        They are computed at the first call for this stem and kept.
        """
        if stem not in self._features:
            self._features[stem] = stem(self.lr)
        return self._features[stem]

    def memory(self, denoiser: "Denoiser") -> tuple[KeysValues, ...]:
        """Return the keys and values of the context for every block of a denoiser.

        They are computed at the first call for this denoiser and kept.
        """
        if denoiser not in self._memories:
            self._memories[denoiser] = denoiser.net.keys_values(denoiser.embed(self))
        return self._memories[denoiser]

    def afresh(self) -> "Condition":
        """Return the same condition without the kept results, which new weights make invalid."""
        return Condition(self.lr, self.base, self.context, self.mask)

    def doubled_for_cfg(self) -> "Condition":
        """Return a condition for twice the batch, for classifier-free guidance.

        The first half is this condition, the second half the same without context.
        """
        assert self.context is not None and self.mask is not None
        lr, base, context = (torch.cat([x, x]) for x in (self.lr, self.base, self.context))
        return Condition(lr, base, context, torch.cat([self.mask, torch.zeros_like(self.mask)]))
