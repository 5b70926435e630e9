"""Kernels of linear attention that others have published, measured beside ours where they are installed."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from lsr.nn.attention import LinearSelfAttention

FLASH_BLA, SANA = "flash_bla", "SANA's TritonLiteMLA"
_MODULES = {FLASH_BLA: "flash_bla", SANA: "diffusion.model.nets.fastlinear"}


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # a package that it lies in is not there
        return False


def absent_peers(device: torch.device) -> dict[str, str]:
    """Return the peers that cannot run, and why."""
    absent = {
        name: "not importable" for name, module in _MODULES.items() if not _importable(module)
    }
    return absent if device.type == "cuda" else dict.fromkeys(_MODULES, "needs a GPU") | absent


def attention_peers(
    device: torch.device, eps: float
) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield functions from (B, N, 3, A, E) to (B, N, A, E), by name; `eps` is added to the denominator's mean over tokens."""
    if FLASH_BLA not in absent_peers(device):
        from flash_bla.ops.linear_attn.fused import linear_attention  # pyright: ignore[reportMissingImports]

        def flash_bla(qkv: Tensor) -> Tensor:
            q, k, v = qkv.transpose(1, 3).unbind(2)
            return linear_attention(q.relu(), k.relu(), v, eps=eps).transpose(1, 2)

        yield FLASH_BLA, flash_bla


def layer_peers(layer: LinearSelfAttention) -> Iterator[tuple[str, nn.Module]]:
    """Yield layers with the projections and the weights of `layer`, by name: SANA's kernels have no operator without them."""
    device, dtype, width = layer.qkv.weight.device, layer.qkv.weight.dtype, layer.qkv.in_features
    if SANA not in absent_peers(device):
        from diffusion.model.nets.fastlinear.modules import TritonLiteMLA  # pyright: ignore[reportMissingImports]

        theirs = TritonLiteMLA(width, width // layer.head_dim).to(device, dtype)
        state = {name.replace("out.", "proj."): value for name, value in layer.state_dict().items()}
        theirs.load_state_dict(
            state, strict=False
        )  # their qkv has a bias that their forward does not use
        yield SANA, theirs
