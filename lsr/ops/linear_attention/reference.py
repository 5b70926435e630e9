"""The PyTorch definition of ReLU linear attention that every other implementation is tested against."""

import torch
from torch import Tensor


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-6) -> Tensor:
    """Attend over all tokens in O(N) with the ReLU feature map.

    With a = relu(q), b = relu(k) and per head

        S = 1/N sum_n b_n^T v_n,    z = 1/N sum_n b_n,    o_n = a_n S / (a_n . z + eps),

    which is `sum_m w_nm v_m / sum_m w_nm` with the weights `w_nm = a_n . b_m >= 0`: a convex combination of the values
    (LinearSR, arXiv 2510.08771; the form of SANA, arXiv 2410.10629). The 1/N cancels in exact arithmetic; it keeps the
    sums independent of the number of tokens. A token whose query is dead (all q <= 0) attends to nothing: output and
    gradient are 0.

    Sums and quotient are computed in float32 (float64 stays float64) whatever the input and outside autocast: half
    precision sums overflow and end in NaN.

    Args:
        q: Queries (B, N, A, E): batch, tokens, heads, head dimension.
        k: Keys (B, N, A, E).
        v: Values (B, N, A, E).
        eps: Added to the denominator; bounds the gradient of tokens that are nearly dead.

    Returns:
        (B, N, A, E) in the dtype of `v`.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, value = (
            x.transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v)
        )
        a, b = q.relu(), k.relu() / k.shape[-2]
        numerator = a @ (b.transpose(-1, -2) @ value)
        denominator = a @ b.sum(-2).unsqueeze(-1)
        return (numerator / (denominator + eps)).transpose(1, 2).to(v.dtype)
