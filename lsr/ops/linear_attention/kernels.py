"""Triton kernels of ReLU linear attention; README.md derives them, `launch` chooses their grids.

One program owns `heads` neighbouring heads of one sample and a run of tokens. It sees them as one tile of `heads * padded` columns,
`padded` being the head dimension rounded up to a power of two, so S of a program is block diagonal and is masked to that.

Everything is float32 between load and store; only operands of `tl.dot` are rounded to `operand`. So the kernels are right in Triton's
interpreter too, where arithmetic on bfloat16 itself is not.
"""

import triton
import triton.language as tl

# A power of two with room below the largest float16, 65504: operands scaled to it keep their low bits out of the subnormals.
PEAK = tl.constexpr(16384.0)
SMALLEST_PEAK = tl.constexpr(1e-30)


@triton.jit
def _columns(group, all_heads, heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr):
    """Head, index within the head, and whether it exists, for every column of the tile of a group of heads."""
    column = tl.arange(0, heads * padded)
    head = group * heads + column // padded
    within = column % padded
    return head, within, (head < all_heads) & (within < dim)


@triton.jit
def _load_tokens(pointer, row, end, stride, offset, exists):
    """Tile (rows, columns) in float32; 0 where it is outside."""
    inside = (row < end)[:, None] & exists[None, :]
    return tl.load(
        pointer + row.to(tl.int64)[:, None] * stride + offset[None, :], mask=inside, other=0.0
    ).to(tl.float32)


@triton.jit
def _store_tokens(pointer, tile, row, end, stride, offset, exists):
    inside = (row < end)[:, None] & exists[None, :]
    tl.store(
        pointer + row.to(tl.int64)[:, None] * stride + offset[None, :],
        tile.to(pointer.dtype.element_ty),
        mask=inside,
    )


@triton.jit
def _store_state(matrix, vector, first_head, s, z, head, within, exists, dim: tl.constexpr):
    """Store the blocks of S on the diagonal and z, as (heads, E, E) and (heads, E)."""
    row = first_head + head
    same_head = (head[:, None] == head[None, :]) & exists[:, None] & exists[None, :]
    tl.store(matrix + (row * dim + within)[:, None] * dim + within[None, :], s, mask=same_head)
    tl.store(vector + row * dim + within, z, mask=exists)


@triton.jit
def _load_state(
    matrix,
    vector,
    first_head,
    stride,
    parts,
    head,
    within,
    exists,
    dim: tl.constexpr,
    width: tl.constexpr,
):
    """Add up the `parts` partial states, `stride` heads apart, always in the same order."""
    s = tl.zeros((width, width), tl.float32)
    z = tl.zeros((width,), tl.float32)
    same_head = (head[:, None] == head[None, :]) & exists[:, None] & exists[None, :]
    for part in range(0, parts):
        row = first_head + part * stride + head
        s += tl.load(
            matrix + (row * dim + within)[:, None] * dim + within[None, :],
            mask=same_head,
            other=0.0,
        )
        z += tl.load(vector + row * dim + within, mask=exists, other=0.0)
    return s, z


@triton.jit
def _sum_in_heads(tile, block: tl.constexpr, heads: tl.constexpr, padded: tl.constexpr):
    """Row sums of (rows, columns) within every head, broadcastable to the tile."""
    if heads == 1:
        sums = tl.sum(tile, 1, keep_dims=True)
    else:
        per_head = tl.sum(tl.reshape(tile, (block, heads, padded)), 2, keep_dims=True)
        sums = tl.reshape(
            tl.broadcast_to(per_head, (block, heads, padded)), (block, heads * padded)
        )
    return sums


@triton.jit
def _reciprocal(denominator, eps):
    """1 / (denominator + eps), 0 for a dead token even if eps is 0."""
    return tl.where(denominator > 0, 1.0 / (denominator + eps), 0.0)


@triton.jit
def _split(x, operand: tl.constexpr):
    """Write float32 x as (high + low) * scale with high and low of the operand type.

    bfloat16 has the range of float32 and needs no scale. float16 does not: x is brought to a peak of `PEAK`.
    """
    scale = 1.0
    if operand == tl.float32:
        return x, x, scale
    if operand == tl.float16:
        scale = tl.maximum(tl.max(tl.max(tl.abs(x), 1), 0), SMALLEST_PEAK) / PEAK
        x = x / scale
    high = x.to(operand)
    return high, (x - high.to(tl.float32)).to(operand), scale


@triton.jit
def _dot(x, high, low, accumulator, operand: tl.constexpr):
    """Add x (high + low) to the accumulator; x is exact in the operand type.

    float32 operands take three TF32 products (relative error 2^-21) instead of one (2^-10), which runs on tensor cores; plain
    float32 products would not.
    """
    if operand == tl.float32:
        return tl.dot(x, high, accumulator, input_precision="tf32x3")
    x = x.to(operand)
    return tl.dot(x, high, tl.dot(x, low, accumulator))


@triton.jit
def _dot_left(high, low, x, accumulator, operand: tl.constexpr):
    """Add (high + low) x to the accumulator; x is exact in the operand type."""
    if operand == tl.float32:
        return tl.dot(high, x, accumulator, input_precision="tf32x3")
    x = x.to(operand)
    return tl.dot(high, x, tl.dot(low, x, accumulator))


@triton.jit
def sum_keys_values(
    k, v, s_parts, z_parts,
    k_b, k_n, k_a, v_b, v_n, v_a,
    tokens, all_heads, chunk, mean,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """S = 1/N sum b^T v and z = 1/N sum b over one chunk of tokens."""
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = _columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    part = tl.program_id(1)
    end = tl.minimum(part * chunk + chunk, tokens)
    s = tl.zeros((width, width), tl.float32)
    z = tl.zeros((width,), tl.float32)
    for first in range(part * chunk, end, block):
        row = first + tl.arange(0, block)
        key = _load_tokens(k + sample * k_b, row, end, k_n, head * k_a + within, exists)
        value = _load_tokens(v + sample * v_b, row, end, v_n, head * v_a + within, exists)
        b = tl.maximum(key, 0.0).to(operand)
        s = tl.dot(tl.trans(b), value.to(operand), s, input_precision="tf32x3")
        z += tl.sum(b.to(tl.float32), 0)
    _store_state(
        s_parts,
        z_parts,
        (part * samples + sample) * all_heads,
        s * mean,
        z * mean,
        head,
        within,
        exists,
        dim,
    )


@triton.jit
def attend(
    q, s_parts, z_parts, o, s_sum, z_sum,
    q_b, q_n, q_a, o_b, o_n, o_a,
    tokens, all_heads, chunk, parts, eps,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """O = a S / (a . z + eps) over one chunk of tokens; the program of the first chunk also stores S and z."""
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = _columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    s, z = _load_state(
        s_parts,
        z_parts,
        sample * all_heads,
        samples * all_heads,
        parts,
        head,
        within,
        exists,
        dim,
        width,
    )
    if tl.program_id(1) == 0:
        _store_state(s_sum, z_sum, sample * all_heads, s, z, head, within, exists, dim)
    high, low, scale = _split(s, operand)
    start = tl.program_id(1) * chunk
    end = tl.minimum(start + chunk, tokens)
    for first in range(start, end, block):
        row = first + tl.arange(0, block)
        a = tl.maximum(
            _load_tokens(q + sample * q_b, row, end, q_n, head * q_a + within, exists), 0.0
        )
        inverse = _reciprocal(_sum_in_heads(a * z[None, :], block, heads, padded), eps)
        numerator = _dot(a, high, low, tl.zeros((block, width), tl.float32), operand)
        _store_tokens(
            o + sample * o_b,
            numerator * (inverse * scale),
            row,
            end,
            o_n,
            head * o_a + within,
            exists,
        )


@triton.jit
def grad_queries(
    q, o, do, s_sum, z_sum, dq, ds_parts, dz_parts,
    q_b, q_n, q_a, o_b, o_n, o_a, do_b, do_n, do_a, dq_b, dq_n, dq_a,
    tokens, all_heads, chunk, eps,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """Gradient of q over one chunk of tokens, and what the chunk adds to the gradients of S and z."""
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = _columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    s, z = _load_state(s_sum, z_sum, sample * all_heads, 0, 1, head, within, exists, dim, width)
    high, low, scale = _split(tl.trans(s), operand)
    part = tl.program_id(1)
    end = tl.minimum(part * chunk + chunk, tokens)
    ds = tl.zeros((width, width), tl.float32)
    dz = tl.zeros((width,), tl.float32)
    for first in range(part * chunk, end, block):
        row = first + tl.arange(0, block)
        a = tl.maximum(
            _load_tokens(q + sample * q_b, row, end, q_n, head * q_a + within, exists), 0.0
        )
        grad = _load_tokens(do + sample * do_b, row, end, do_n, head * do_a + within, exists)
        out = _load_tokens(o + sample * o_b, row, end, o_n, head * o_a + within, exists)
        inverse = _reciprocal(_sum_in_heads(a * z[None, :], block, heads, padded), eps)
        delta = -inverse * _sum_in_heads(grad * out, block, heads, padded)
        # The reciprocal stays outside the product, so that its left operand is the gradient as it came, exact in half precision.
        da = (
            _dot(grad, high, low, tl.zeros((block, width), tl.float32), operand) * (inverse * scale)
            + delta * z[None, :]
        )
        _store_tokens(
            dq + sample * dq_b,
            tl.where(a > 0, da, 0.0),
            row,
            end,
            dq_n,
            head * dq_a + within,
            exists,
        )
        dz += tl.sum(a * delta, 0)
        # a / den has no bound, a z / den is at most 1: the row of dS is divided by z after the sum.
        share = a * z[None, :] * inverse * PEAK
        share_high = share.to(operand)
        share_low = (share - share_high.to(tl.float32)).to(operand)
        ds = _dot_left(tl.trans(share_high), tl.trans(share_low), grad, ds, operand)
    # z = 0: no key has this component, nothing to pass on.
    ds = ds * tl.where(z > 0, 1.0 / (z * PEAK), 0.0)[:, None]
    _store_state(
        ds_parts, dz_parts, (part * samples + sample) * all_heads, ds, dz, head, within, exists, dim
    )


@triton.jit
def grad_keys_values(
    k, v, ds_parts, dz_parts, dk, dv,
    k_b, k_n, k_a, v_b, v_n, v_a, dk_b, dk_n, dk_a, dv_b, dv_n, dv_a,
    tokens, all_heads, chunk, parts, mean,
    keys: tl.constexpr, values: tl.constexpr,
    heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr, operand: tl.constexpr,
):  # fmt: skip
    """Gradients of k (if `keys`) and of v (if `values`) over one chunk of tokens."""
    width: tl.constexpr = heads * padded
    groups = tl.cdiv(all_heads, heads)
    sample = (tl.program_id(0) // groups).to(tl.int64)
    samples = tl.num_programs(0) // groups
    head, within, exists = _columns(tl.program_id(0) % groups, all_heads, heads, dim, padded)
    ds, dz = _load_state(
        ds_parts,
        dz_parts,
        sample * all_heads,
        samples * all_heads,
        parts,
        head,
        within,
        exists,
        dim,
        width,
    )
    high, low, scale = _split(ds, operand)
    dz = dz * mean
    scale = scale * mean
    start = tl.program_id(1) * chunk
    end = tl.minimum(start + chunk, tokens)
    for first in range(start, end, block):
        row = first + tl.arange(0, block)
        b = tl.maximum(
            _load_tokens(k + sample * k_b, row, end, k_n, head * k_a + within, exists), 0.0
        )
        zero = tl.zeros((block, width), tl.float32)
        if values:
            grad = _dot(b, high, low, zero, operand) * scale
            _store_tokens(dv + sample * dv_b, grad, row, end, dv_n, head * dv_a + within, exists)
        if keys:
            value = _load_tokens(v + sample * v_b, row, end, v_n, head * v_a + within, exists)
            db = _dot(value, tl.trans(high), tl.trans(low), zero, operand) * scale + dz[None, :]
            _store_tokens(
                dk + sample * dk_b,
                tl.where(b > 0, db, 0.0),
                row,
                end,
                dk_n,
                head * dk_a + within,
                exists,
            )
