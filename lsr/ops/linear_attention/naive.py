"""Linear attention with sums in half precision, as it is commonly written: the counter-example.

Never the default. `callbacks.NaiveSums` puts it into a run, to show where it ends in NaN.

S = sum_n relu(k_n)^T v_n grows with the number of tokens and with the norms of W_k and W_v, and
float16 ends at 65,504. bfloat16 has the range of float32, but numbers of 8 bits. Two places are
common for half precision:

- "sums": S and z are stored in half precision between two passes over the tokens, and everything
  else is float32, as in a kernel that keeps its state in the type of the inputs;
- "products": the products with the queries are stored in half precision too, as under autocast
  without a cast to float32. They are larger than S by about |q|, and overflow much earlier.

Two remedies leave the result as it is in exact arithmetic, because numerator and denominator are
scaled alike: dividing by the number of tokens, and dividing the keys of a head by their size.
"""

from typing import Literal

import torch
from torch import Tensor

Stored = Literal["sums", "products"]
"""What is stored in half precision: S and z, or also their products with the queries."""

Scaling = Literal["none", "tokens", "keys"]
"""What the keys are divided by: nothing, their number, or number and root mean square."""


def naive_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dtype: torch.dtype,
    stored: Stored = "sums",
    scaling: Scaling = "none",
    eps: float = 1e-6,
) -> Tensor:
    """Attend like `linear_attention_reference`, with sums that are stored in another type.

    Every product is accumulated in float32 and then rounded, as tensor cores do: it is the mildest
    form of the fault. Gradients pass through the same roundings.

    Args:
        q: Queries (B, N, A, E): batch, tokens, heads, head dimension.
        k: Keys (B, N, A, E).
        v: Values (B, N, A, E).
        dtype: Type of the sums, such as `torch.float16`.
        stored: What is stored in this type.
        scaling: What the keys are divided by, per image and head.
        eps: Number added to the denominator.

    Returns:
        (B, N, A, E) in the dtype of `v`.
    """
    with torch.autocast(q.device.type, enabled=False):
        a, b, value = (x.transpose(1, 2).float() for x in (q, k, v))
        a, b = a.relu(), b.relu()
        if scaling == "keys":
            b = b / b.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(eps)
        if scaling != "none":
            b = b / b.shape[-2]
        numerator = a @ (b.transpose(-1, -2) @ value).to(dtype).float()
        denominator = a @ b.sum(-2).to(dtype).float().unsqueeze(-1)
        if stored == "products":
            numerator, denominator = (x.to(dtype).float() for x in (numerator, denominator))
        return (numerator / (denominator + eps)).transpose(1, 2).to(v.dtype)
