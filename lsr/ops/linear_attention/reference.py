"""Define ReLU linear attention in PyTorch; every other implementation is tested against it."""

import torch
from torch import Tensor


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-6) -> Tensor:
    """Attend over all tokens in O(N) with the ReLU feature map.

    With a = relu(q), b = relu(k) and per head

        S = 1/N sum_n b_n^T v_n,    z = 1/N sum_n b_n,    o_n = a_n S / (a_n . z + eps),

    which is `sum_m w_nm v_m / sum_m w_nm` with the weights `w_nm = a_n . b_m >= 0`: a convex
    combination of the values (LinearSR, arXiv 2510.08771; the form of SANA, arXiv 2410.10629). The
    1/N cancels in exact arithmetic; it makes S and z means, whose size does not grow with the
    number of tokens. A token is dead if no component of its query is positive: it attends to
    nothing, its output and its gradient are 0.

    Sums and quotient are float32 for half-precision and float32 inputs, under autocast too, because
    half-precision sums overflow and end in NaN. For float64 inputs they are float64.

    Args:
        q: Queries (B, N, A, E): batch, tokens, heads, head dimension.
        k: Keys (B, N, A, E).
        v: Values (B, N, A, E).
        eps: Number added to the denominator; it bounds the gradient of tokens that are nearly dead.

    Returns:
        (B, N, A, E) in the dtype of `v`.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, value = (
            x.transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v)
        )
        a = q.relu()
        b = k.relu() / k.shape[-2]
        # The order of the products makes the cost O(N E^2): b^T v first, not a b^T, which is N x N.
        numerator = a @ (b.transpose(-1, -2) @ value)
        denominator = a @ b.sum(-2).unsqueeze(-1)
        return (numerator / (denominator + eps)).transpose(1, 2).to(v.dtype)
