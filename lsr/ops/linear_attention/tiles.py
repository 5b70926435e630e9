"""Load, store and multiply tiles: the functions that all Triton kernels of linear attention share.

One program owns `heads` neighbouring heads of one sample and a chunk of its tokens. It sees them as
one tile of `heads * padded` columns, where `padded` is the head dimension E rounded up to a power
of two, because Triton's tiles have sides that are powers of two. Columns from E to `padded` and
heads beyond the last one exist in the tile only: the mask `exists` marks the columns that also
exist in memory, the others are loaded as 0 and never stored.

The state of all these heads together is one matrix of (heads * padded, heads * padded), which fills
a matrix instruction that the small matrix of one head would not. Heads do not attend to each other,
so only its diagonal blocks (E, E) are meant; masks keep the other blocks 0 in what is read and drop
them in what is written.

Everything is float32 between load and store: half precision sums over thousands of tokens overflow
or lose their low bits. Only operands of `tl.dot` are rounded, to the type `operand`. For this
reason the kernels are also right in Triton's interpreter, whose bfloat16 arithmetic is wrong.
"""

import triton
import triton.language as tl

# A power of two with room below the largest float16, 65504: the low halves of operands that are
# scaled to this peak stay out of float16's subnormal numbers, where they would lose bits.
PEAK = tl.constexpr(16384.0)
# Keeps the scale of a matrix of zeros above 0, so that nothing is divided by 0.
SMALLEST_PEAK = tl.constexpr(1e-30)


@triton.jit
def locate_columns(group, all_heads, heads: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr):
    """Return for every column of a group's tile: its head, its index in the head, and `exists`."""
    column = tl.arange(0, heads * padded)
    head = group * heads + column // padded
    within = column % padded
    return head, within, (head < all_heads) & (within < dim)


@triton.jit
def load_tokens(pointer, row, end, stride, offset, exists):
    """Return the tile (rows, columns) in float32; it is 0 from row `end` on and in padding.

    A padded row or column of zeros adds nothing to any sum or product, so no kernel has to mask
    its arithmetic.
    """
    inside = (row < end)[:, None] & exists[None, :]
    return tl.load(
        pointer + row.to(tl.int64)[:, None] * stride + offset[None, :], mask=inside, other=0.0
    ).to(tl.float32)


@triton.jit
def store_tokens(pointer, tile, row, end, stride, offset, exists):
    """Write the part of the tile (rows, columns) that exists, rounded to the type in memory."""
    inside = (row < end)[:, None] & exists[None, :]
    tl.store(
        pointer + row.to(tl.int64)[:, None] * stride + offset[None, :],
        tile.to(pointer.dtype.element_ty),
        mask=inside,
    )


@triton.jit
def store_state(matrix, vector, first_head, s, z, head, within, exists, dim: tl.constexpr):
    """Write the diagonal blocks of S as (heads, E, E) and z as (heads, E).

    The blocks between different heads are sums of products that no head asks for: they are dropped.
    """
    row = first_head + head
    same_head = (head[:, None] == head[None, :]) & exists[:, None] & exists[None, :]
    tl.store(matrix + (row * dim + within)[:, None] * dim + within[None, :], s, mask=same_head)
    tl.store(vector + row * dim + within, z, mask=exists)


@triton.jit
def load_state(
    matrix, vector, first_head, stride, parts,
    head, within, exists, dim: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Return the sums S and z of `parts` partial states that are `stride` heads apart in memory.

    The order is always the same, so the same input gives the same bits; atomic additions, whose
    order changes from run to run, would not. The blocks of S between different heads are 0.
    """
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
def sum_in_heads(tile, block: tl.constexpr, heads: tl.constexpr, padded: tl.constexpr):
    """Return the sum over the columns of each head, broadcastable to the tile (rows, columns)."""
    if heads == 1:
        sums = tl.sum(tile, 1, keep_dims=True)
    else:
        per_head = tl.sum(tl.reshape(tile, (block, heads, padded)), 2, keep_dims=True)
        sums = tl.reshape(
            tl.broadcast_to(per_head, (block, heads, padded)), (block, heads * padded)
        )
    return sums


@triton.jit
def reciprocal(denominator, eps):
    """Return 1 / (denominator + eps), or 0 for a dead token, even if `eps` is 0."""
    return tl.where(denominator > 0, 1.0 / (denominator + eps), 0.0)


@triton.jit
def split(x, operand: tl.constexpr):
    """Return `high`, `low` and `scale` with x = (high + low) * scale for a float32 matrix x.

    `high` and `low` have the operand type: `high` is x rounded, `low` the rest, rounded too.
    bfloat16 has the range of float32 and needs no scale. float16 has not: x is divided by `scale`
    so that its largest magnitude becomes `PEAK`. A float32 x is returned whole, as both parts.
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
def dot(x, high, low, accumulator, operand: tl.constexpr):
    """Return the accumulator plus x (high + low), where x is exact in the operand type.

    float32 operands take three TF32 products (relative error 2^-21) instead of one (2^-10). Tensor
    cores compute TF32 products; they do not compute products in full float32.
    """
    if operand == tl.float32:
        return tl.dot(x, high, accumulator, input_precision="tf32x3")
    x = x.to(operand)
    # The low part first: small terms are added before large ones.
    return tl.dot(x, high, tl.dot(x, low, accumulator))


@triton.jit
def dot_left(high, low, x, accumulator, operand: tl.constexpr):
    """Return the accumulator plus (high + low) x: `dot` with the split matrix on the left."""
    if operand == tl.float32:
        return tl.dot(high, x, accumulator, input_precision="tf32x3")
    x = x.to(operand)
    return tl.dot(high, x, tl.dot(low, x, accumulator))
