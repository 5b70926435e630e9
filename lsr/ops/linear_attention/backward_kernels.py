"""Triton kernels of the backward pass of ReLU linear attention.

README.md derives the formulas, `launch` chooses the grids, `tiles` describes the tile of a program.
Axis 0 of every grid counts the groups of heads of all samples, axis 1 the chunks of tokens. With
the state S and z of the forward pass, inv_n = 1 / (a_n . z + eps) and delta_n = -inv_n <do_n, o_n>,
`grad_queries` computes

    dq_n = inv_n (do_n S^T) + delta_n z    where q > 0, else 0
    dS   = sum_n inv_n a_n^T do_n          dz = sum_n delta_n a_n

with dS and dz in parts, one for each chunk of tokens. `grad_keys_values` adds the parts up:

    dk_n = 1/N (v_n dS^T + dz)             where k > 0, else 0
    dv_n = 1/N b_n dS.
"""

import triton
import triton.language as tl

from lsr.ops.linear_attention.tiles import (
    PEAK,
    dot,
    dot_left,
    load_state,
    load_tokens,
    locate_columns,
    reciprocal,
    split,
    store_state,
    store_tokens,
    sum_in_heads,
)


@triton.jit
def grad_queries(
    q, o, do, s_sum, z_sum, dq, ds_parts, dz_parts,
    q_b, q_n, q_a, o_b, o_n, o_a, do_b, do_n, do_a, dq_b, dq_n, dq_a,
    tokens, all_heads, chunk, eps,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Write dq of one chunk of tokens, and the chunk's share of dS and dz (formulas above).

    `x_b`, `x_n` and `x_a` are the strides of samples, tokens and heads of a tensor x.
    """
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = locate_columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    s, z = load_state(s_sum, z_sum, sample * all_heads, 0, 1, head, within, exists, dim, width)
    high, low, scale = split(tl.trans(s), operand)
    part = tl.program_id(1)
    end = tl.minimum(part * chunk + chunk, tokens)
    ds = tl.zeros((width, width), tl.float32)
    dz = tl.zeros((width,), tl.float32)
    for first in range(part * chunk, end, block):
        row = first + tl.arange(0, block)
        a = tl.maximum(
            load_tokens(q + sample * q_b, row, end, q_n, head * q_a + within, exists), 0.0
        )
        grad = load_tokens(do + sample * do_b, row, end, do_n, head * do_a + within, exists)
        out = load_tokens(o + sample * o_b, row, end, o_n, head * o_a + within, exists)
        inverse = reciprocal(sum_in_heads(a * z[None, :], block, heads, padded), eps)
        # <do, o> takes the stored output: the numerator need not be computed again.
        delta = -inverse * sum_in_heads(grad * out, block, heads, padded)
        # `inverse` multiplies the product, not its left operand, which is then the gradient as it
        # came: exact in half precision.
        product = dot(grad, high, low, tl.zeros((block, width), tl.float32), operand)
        da = product * (inverse * scale) + delta * z[None, :]
        da = tl.where(a > 0, da, 0.0)
        store_tokens(dq + sample * dq_b, da, row, end, dq_n, head * dq_a + within, exists)
        dz += tl.sum(a * delta, 0)
        # a inv has no bound, and the operand type may overflow. a z inv is a share of the sum
        # a . z, between 0 and 1: multiply by z here and divide the row of dS by z after the loop.
        share = a * z[None, :] * inverse * PEAK
        share_high = share.to(operand)
        share_low = (share - share_high.to(tl.float32)).to(operand)
        ds = dot_left(tl.trans(share_high), tl.trans(share_low), grad, ds, operand)
    # z = 0 where no key of the head has a positive component: then no key receives a gradient.
    ds = ds * tl.where(z > 0, 1.0 / (z * PEAK), 0.0)[:, None]
    store_state(
        ds_parts, dz_parts, (part * samples + sample) * all_heads, ds, dz, head, within, exists, dim
    )


@triton.jit
def grad_keys_values(
    k, v, ds_parts, dz_parts, dk, dv,
    k_b, k_n, k_a, v_b, v_n, v_a, dk_b, dk_n, dk_a, dv_b, dv_n, dv_a,
    tokens, all_heads, chunk, parts, mean,
    keys: tl.constexpr, values: tl.constexpr,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Write dk (if `keys`) and dv (if `values`) over one chunk of tokens; `mean` is 1 / N."""
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = locate_columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    ds, dz = load_state(
        ds_parts, dz_parts, sample * all_heads, samples * all_heads, parts,
        head, within, exists, dim, width,
    )  # fmt: skip
    high, low, scale = split(ds, operand)
    dz = dz * mean
    scale = scale * mean
    start = tl.program_id(1) * chunk
    end = tl.minimum(start + chunk, tokens)
    for first in range(start, end, block):
        row = first + tl.arange(0, block)
        b = tl.maximum(
            load_tokens(k + sample * k_b, row, end, k_n, head * k_a + within, exists), 0.0
        )
        zero = tl.zeros((block, width), tl.float32)
        if values:
            grad = dot(b, high, low, zero, operand) * scale
            store_tokens(dv + sample * dv_b, grad, row, end, dv_n, head * dv_a + within, exists)
        if keys:
            value = load_tokens(v + sample * v_b, row, end, v_n, head * v_a + within, exists)
            db = dot(value, tl.trans(high), tl.trans(low), zero, operand) * scale + dz[None, :]
            db = tl.where(b > 0, db, 0.0)
            store_tokens(dk + sample * dk_b, db, row, end, dk_n, head * dk_a + within, exists)
