"""Triton kernels of the forward pass of ReLU linear attention.

README.md derives the formulas, `launch` chooses the grids, `tiles` describes the tile of a program.
Axis 0 of every grid counts the groups of heads of all samples, axis 1 the chunks of tokens. With
a = relu(q) and b = relu(k), `sum_keys_values` computes the state

    S = 1/N sum_n b_n^T v_n,    z = 1/N sum_n b_n

in parts, one for each chunk of tokens, and `attend` adds the parts up and reads the state:

    o_n = a_n S / (a_n . z + eps).
"""

import triton
import triton.language as tl

from lsr.ops.linear_attention.tiles import (
    dot,
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
def sum_keys_values(
    k, v, s_parts, z_parts,
    k_b, k_n, k_a, v_b, v_n, v_a,
    tokens, all_heads, chunk, mean,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Write what one chunk of tokens adds to S and z; `mean` is 1 / N.

    `x_b`, `x_n` and `x_a` are the strides of samples, tokens and heads of a tensor x. A part is
    written to its own place, (parts, B, A, ...), so that no program waits for another one.
    """
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    # 64 bits: the offset of a sample may exceed 2^31 elements.
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = locate_columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    part = tl.program_id(1)
    end = tl.minimum(part * chunk + chunk, tokens)
    s = tl.zeros((width, width), tl.float32)
    z = tl.zeros((width,), tl.float32)
    for first in range(part * chunk, end, block):
        row = first + tl.arange(0, block)
        key = load_tokens(k + sample * k_b, row, end, k_n, head * k_a + within, exists)
        value = load_tokens(v + sample * v_b, row, end, v_n, head * v_a + within, exists)
        # z sums the rounded b that S sums: then their quotient stays a convex combination of v.
        b = tl.maximum(key, 0.0).to(operand)
        s = tl.dot(tl.trans(b), value.to(operand), s, input_precision="tf32x3")
        z += tl.sum(b.to(tl.float32), 0)
    store_state(
        s_parts, z_parts, (part * samples + sample) * all_heads, s * mean, z * mean,
        head, within, exists, dim,
    )  # fmt: skip


@triton.jit
def attend(
    q, s_parts, z_parts, o, s_sum, z_sum,
    q_b, q_n, q_a, o_b, o_n, o_a,
    tokens, all_heads, chunk, parts, eps,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
    operand: tl.constexpr,
):  # fmt: skip
    """Write o = a S / (a . z + eps) over one chunk of tokens.

    Every program adds up the partial states of its heads itself, which saves a launch. The program
    of the first chunk also writes the sums S and z, which the backward pass reads.
    """
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = locate_columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    s, z = load_state(
        s_parts, z_parts, sample * all_heads, samples * all_heads, parts,
        head, within, exists, dim, width,
    )  # fmt: skip
    if tl.program_id(1) == 0:
        store_state(s_sum, z_sum, sample * all_heads, s, z, head, within, exists, dim)
    high, low, scale = split(s, operand)
    start = tl.program_id(1) * chunk
    end = tl.minimum(start + chunk, tokens)
    for first in range(start, end, block):
        row = first + tl.arange(0, block)
        a = tl.maximum(
            load_tokens(q + sample * q_b, row, end, q_n, head * q_a + within, exists), 0.0
        )
        inverse = reciprocal(sum_in_heads(a * z[None, :], block, heads, padded), eps)
        # Divided after the product, so that its left operand is q as it came: exact.
        numerator = dot(a, high, low, tl.zeros((block, width), tl.float32), operand)
        out = numerator * (inverse * scale)
        store_tokens(o + sample * o_b, out, row, end, o_n, head * o_a + within, exists)
