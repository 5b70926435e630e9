"""NaiveSums: trains with sums of attention in half precision, to show where this ends in NaN."""

from functools import partial
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from lsr.models.attention_health import attentions
from lsr.ops.linear_attention import linear_attention, unpacked
from lsr.ops.linear_attention.naive import Scaling, Stored, naive_linear_attention

_TYPES = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


class NaiveSums(L.Callback):
    """Makes the linear attentions of a run sum as naive code does, see `lsr.ops.linear_attention`.

    A counter-example for experiments. The model files of the run do not know of it, and the
    Triton kernels are not used.

    Args:
        dtype: Type of the sums; "float32" leaves the attention as it is.
        stored: What is stored in this type: S and z ("sums"), or also their products with the
            queries ("products").
        scaling: What the keys are divided by: nothing, their number ("tokens"), or their number
            and their root mean square in each head ("keys").
    """

    def __init__(
        self,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        stored: Stored = "sums",
        scaling: Scaling = "none",
    ) -> None:
        known = (_TYPES, ("sums", "products"), ("none", "tokens", "keys"))
        for value, allowed in zip((dtype, stored, scaling), known, strict=True):
            if value not in allowed:
                raise ValueError(f"NaiveSums: {value!r} must be one of {', '.join(allowed)}")
        self._dtype = _TYPES[dtype]
        self._settings: dict[str, Any] = {"stored": stored, "scaling": scaling}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Replace the operator of all linear attentions of the module."""
        if self._dtype is not None:
            operator = partial(_naive, dtype=self._dtype, **self._settings)
            for attention in attentions(pl_module).values():
                attention.operator = operator

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the attentions their own operator back."""
        _restore(pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Do the same when a run diverges or is interrupted: Lightning calls no teardown then."""
        _restore(pl_module)


def _restore(module: L.LightningModule) -> None:
    for attention in attentions(module).values():
        attention.operator = linear_attention


def _naive(qkv: Tensor | tuple[Tensor, Tensor, Tensor], **settings: Any) -> Tensor:
    return naive_linear_attention(*unpacked(qkv), **settings)
