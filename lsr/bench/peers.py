"""Published linear-attention kernels of other projects, measured if they are installed."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from lsr.nn.attention import LinearSelfAttention

FLASH_BLA = "flash_bla"
SANA = "SANA's TritonLiteMLA"
_MODULES = {FLASH_BLA: "flash_bla", SANA: "diffusion.model.nets.fastlinear"}


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # a package that contains the module is not installed
        return False


def absent_peers(device: torch.device) -> dict[str, str]:
    """Return the peers that cannot run on a device: name and reason."""
    absent = {
        name: "not importable" for name, module in _MODULES.items() if not _importable(module)
    }
    return absent if device.type == "cuda" else dict.fromkeys(_MODULES, "needs a GPU") | absent


def attention_peers(
    device: torch.device, eps: float
) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield the peers that have an attention operator.

    Args:
        device: Device to run on.
        eps: Number added to the denominator's mean over tokens.

    Yields:
        Name, and a function from (B, N, 3, A, E) to (B, N, A, E).
    """
    if FLASH_BLA not in absent_peers(device):
        from flash_bla.ops.linear_attn.fused import linear_attention  # pyright: ignore

        def flash_bla(qkv: Tensor) -> Tensor:
            q, k, v = qkv.transpose(1, 3).unbind(2)
            return linear_attention(q.relu(), k.relu(), v, eps=eps).transpose(1, 2)

        yield FLASH_BLA, flash_bla


def layer_peers(layer: LinearSelfAttention) -> Iterator[tuple[str, nn.Module]]:
    """Yield the peers that only have a whole layer: SANA's kernels include the projections.

    Args:
        layer: Layer whose sizes and weights the peers take over.

    Yields:
        Name, and a layer from (B, N, D) to (B, N, D).
    """
    weight = layer.qkv.weight
    if SANA not in absent_peers(weight.device):
        from diffusion.model.nets.fastlinear.modules import TritonLiteMLA  # pyright: ignore

        width = layer.qkv.in_features
        peer = TritonLiteMLA(width, width // layer.head_dim).to(weight.device, weight.dtype)
        state = {name.replace("out.", "proj."): value for name, value in layer.state_dict().items()}
        # Not strict: their qkv has a bias, which their forward pass does not use.
        peer.load_state_dict(state, strict=False)
        yield SANA, peer
