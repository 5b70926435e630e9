"""Dispatch linear attention: to the Triton kernels where they run, else to PyTorch."""

from torch import Tensor

from lsr.ops.kernel_support import HAVE_TRITON, kernels_take
from lsr.ops.linear_attention.reference import linear_attention_reference

if HAVE_TRITON:
    from lsr.ops.linear_attention import operators

HEAD_DIMS = (16, 32, 64, 72, 112, 128)
"""Head dimensions that the kernels are tested for."""


def linear_attention(qkv: Tensor | tuple[Tensor, Tensor, Tensor], eps: float = 1e-6) -> Tensor:
    """Attend over all tokens in O(N) with the ReLU feature map, see `linear_attention_reference`.

    Triton kernels compute CUDA tensors (Ampere or newer) in bfloat16, float16 or float32 whose head
    dimension is one of `HEAD_DIMS`; PyTorch computes everything else. Sums and quotient are float32
    in both cases, under autocast too. For the backward pass the kernels keep the inputs, the
    output, and the small state S and z in float32.

    Args:
        qkv: One tensor (B, N, 3, A, E), as one projection writes it: batch, tokens, (q, k, v),
            heads, head dimension. Its gradient is one contiguous tensor of that shape. Or the three
            tensors q, k and v, (B, N, A, E) each, with any strides.
        eps: Number added to the denominator; it bounds the gradient of tokens that are nearly dead.

    Returns:
        (B, N, A, E) in the dtype of v.
    """
    if isinstance(qkv, Tensor):
        assert qkv.ndim == 5 and qkv.shape[2] == 3, (
            f"qkv must be (B, N, 3, A, E), not {tuple(qkv.shape)}"
        )
        if kernels_take(qkv) and qkv.shape[-1] in HEAD_DIMS:
            return operators.packed(qkv, eps)[0]
    elif kernels_take(*qkv) and qkv[0].shape[-1] in HEAD_DIMS:
        return operators.separate(*qkv, eps)[0]
    return linear_attention_reference(*unpacked(qkv), eps)


def unpacked(qkv: Tensor | tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values (B, N, A, E) of the input of `linear_attention`."""
    if not isinstance(qkv, Tensor):
        return qkv
    q, k, v = qkv.unbind(2)
    return q, k, v
