"""Triton kernels of the gated depth-wise convolution.

README.md derives the formulas, `launch` chooses the grids. A strip is a rectangle of one sample,
`width` columns wide and `rows` rows high. A program owns `channels` channels of a strip and walks
down row by row. It loads every row once, in three horizontal shifts, of which the cache serves two.
An input row belongs to the 3x3 windows of the output rows above, at and below it, so the sums of
three output rows are unfinished at any time. A tile is (columns, channels), one row of the strip.

Everything is float32 between load and store: the nine products of a window, and the sums over all
pixels, lose no bits to half precision, and the kernels are right in Triton's interpreter too. Masks
have the shape of tiles, even where a scalar would do, because the interpreter cannot combine them
with scalars.
"""

import triton
import triton.language as tl


@triton.jit
def _strip(index, image_rows, image_columns, rows: tl.constexpr, width: tl.constexpr):
    """Return the sample, the first row, the end of the rows and the columns of a strip.

    Strips are counted from left to right, then downwards, then over the samples. Only the rows are
    cut off at the border of the image; columns beyond it are masked, see `_pixels`.
    """
    across = tl.cdiv(image_columns, width)
    down = tl.cdiv(image_rows, rows)
    first = index // across % down * rows
    column = index % across * width + tl.arange(0, width)
    return (
        (index // (across * down)).to(tl.int64),  # 64 bits: offsets may exceed 2^31 elements
        first,
        tl.minimum(first + rows, image_rows),
        column,
    )


@triton.jit
def _pixels(sample, row, column, end, image_rows, image_columns):
    """Return the indices of a row's pixels in (B, H, W), and a mask of those that exist.

    The mask is False outside the image, which makes loads return the zeros that pad the
    convolution, and from row `end` on.
    """
    row = row + column * 0
    inside = (row >= 0) & (row < end) & (column >= 0) & (column < image_columns)
    return (sample * image_rows + row) * image_columns + column, inside


@triton.jit
def _load(pointer, pixel, inside, stride, channel, exists):
    """Return the tile (columns, channels) in float32; it is 0 where a mask is False."""
    mask = inside[:, None] & exists[None, :]
    return tl.load(pointer + pixel[:, None] * stride + channel[None, :], mask=mask, other=0.0).to(
        tl.float32
    )


@triton.jit
def _store(pointer, tile, pixel, inside, stride, channel, exists):
    """Write the tile (columns, channels) where both masks are True, in the type of the memory."""
    mask = inside[:, None] & exists[None, :]
    tl.store(
        pointer + pixel[:, None] * stride + channel[None, :],
        tile.to(pointer.dtype.element_ty),
        mask=mask,
    )


@triton.jit
def _tap(taps, index, stride, channel, exists):
    """Return one of the nine weights of every channel, broadcastable to a tile."""
    return tl.load(taps + index * stride + channel, mask=exists, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _load_taps(taps, stride, channel, exists, first, step):
    """Return the nine weights of every channel, from weight `first` on in steps of 1 or -1."""
    return (
        _tap(taps, first, stride, channel, exists),
        _tap(taps, first + step, stride, channel, exists),
        _tap(taps, first + 2 * step, stride, channel, exists),
        _tap(taps, first + 3 * step, stride, channel, exists),
        _tap(taps, first + 4 * step, stride, channel, exists),
        _tap(taps, first + 5 * step, stride, channel, exists),
        _tap(taps, first + 6 * step, stride, channel, exists),
        _tap(taps, first + 7 * step, stride, channel, exists),
        _tap(taps, first + 8 * step, stride, channel, exists),
    )


@triton.jit
def _add_row(above, at, below, left, middle, right, taps):
    """Return the sums of the output rows above, at and below an input row, this row added.

    `left`, `middle` and `right` are the input row shifted so that each pixel of a tile finds its
    neighbour of that side. The input row is the bottom row of the windows around the output row
    above it, which takes the weights 6 to 8, and the top row of those below, which take the weights
    0 to 2.
    """
    above += taps[6] * left + taps[7] * middle + taps[8] * right
    at += taps[3] * left + taps[4] * middle + taps[5] * right
    below += taps[0] * left + taps[1] * middle + taps[2] * right
    return above, at, below


@triton.jit
def gated_convolution(
    hidden, taps, bias, grad, out,
    image_rows, image_columns, features,
    gradient: tl.constexpr, rows: tl.constexpr, width: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    """Convolve a strip and write value * SiLU(gate) into `out` (B, H, W, F).

    If `gradient`, read the gradient of that product from `grad` (B, H, W, F) and write the gradient
    of the convolved strip, of values and gates, into `out` (B, H, W, 2 F) instead. Axis 0 of the
    grid counts strips, axis 1 tiles of the F channels; the program of a tile of values also
    convolves the gates that belong to them, which lie F channels further on.
    """
    sample, first, end, column = _strip(tl.program_id(0), image_rows, image_columns, rows, width)
    channel = tl.program_id(1) * channels + tl.arange(0, channels)
    exists = channel < features
    value_taps = _load_taps(taps, 2 * features, channel, exists, 0, 1)
    gate_taps = _load_taps(taps, 2 * features, channel + features, exists, 0, 1)
    zero = tl.zeros((width, channels), tl.float32)
    value_bias = zero + tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    gate_bias = (
        zero + tl.load(bias + channel + features, mask=exists, other=0.0).to(tl.float32)[None, :]
    )
    value = value_bias
    value_below = value_bias
    gate = gate_bias
    gate_below = gate_bias
    for row in range(first - 1, end + 1):  # the rows of the strip and one neighbour on each side
        # The sums that were at and below the last row are above and at this one. A sum begins with
        # the bias.
        value_above, value_at, value_below = value, value_below, value_bias
        gate_above, gate_at, gate_below = gate, gate_below, gate_bias
        pixel, inside = _pixels(sample, row, column - 1, image_rows, image_rows, image_columns)
        value_left = _load(hidden, pixel, inside, 2 * features, channel, exists)
        gate_left = _load(hidden, pixel, inside, 2 * features, channel + features, exists)
        pixel, inside = _pixels(sample, row, column + 1, image_rows, image_rows, image_columns)
        value_right = _load(hidden, pixel, inside, 2 * features, channel, exists)
        gate_right = _load(hidden, pixel, inside, 2 * features, channel + features, exists)
        pixel, inside = _pixels(sample, row, column, image_rows, image_rows, image_columns)
        value_middle = _load(hidden, pixel, inside, 2 * features, channel, exists)
        gate_middle = _load(hidden, pixel, inside, 2 * features, channel + features, exists)
        value_above, value, value_below = _add_row(
            value_above, value_at, value_below, value_left, value_middle, value_right, value_taps
        )
        gate_above, gate, gate_below = _add_row(
            gate_above, gate_at, gate_below, gate_left, gate_middle, gate_right, gate_taps
        )
        # This row completes the sums of the row above, which belongs to this strip from the second
        # row on.
        if row > first:
            pixel, inside = _pixels(sample, row - 1, column, image_rows, image_rows, image_columns)
            sigmoid = 1.0 / (1.0 + tl.exp(-gate_above))
            if gradient:
                # f = p g s with s = sigmoid(g): df/dp = g s and df/dg = p s (1 + g (1 - s)).
                d = _load(grad, pixel, inside, features, channel, exists)
                d_gate = d * value_above * sigmoid * (1.0 + gate_above * (1.0 - sigmoid))
                _store(out, d * gate_above * sigmoid, pixel, inside, 2 * features, channel, exists)
                _store(out, d_gate, pixel, inside, 2 * features, channel + features, exists)
            else:
                product = value_above * (gate_above * sigmoid)
                _store(out, product, pixel, inside, features, channel, exists)


@triton.jit
def grad_convolution(
    hidden, taps, grad, d_hidden, sums,
    image_rows, image_columns, all_channels, strips, run,
    rows: tl.constexpr, width: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    """Write the gradient of `hidden` (B, H, W, C) over a run of strips, and sums over their pixels.

    `grad` (B, H, W, C) is the gradient of the convolved image. The sums are partial gradients of
    the weights and the bias, (parts, 10, C): nine weights, then the bias. Axis 0 of the grid counts
    runs of strips, axis 1 tiles of the C = 2 F channels.
    """
    part = tl.program_id(0)
    channel = tl.program_id(1) * channels + tl.arange(0, channels)
    exists = channel < all_channels
    # The gradient of a convolution is a convolution of `grad` with the weights rotated by 180
    # degrees: the nine weights in reverse order.
    turned = _load_taps(taps, all_channels, channel, exists, 8, -1)
    zero = tl.zeros((width, channels), tl.float32)
    # The sums over pixels stay tiles (columns, channels) until the end: then one reduction over the
    # columns is enough.
    w0, w1, w2 = zero, zero, zero
    w3, w4, w5 = zero, zero, zero
    w6, w7, w8 = zero, zero, zero
    d_bias = zero
    for index in range(part * run, tl.minimum(part * run + run, strips)):
        sample, first, end, column = _strip(index, image_rows, image_columns, rows, width)
        d = zero
        d_below = zero
        hidden_at = zero
        hidden_below = zero
        for row in range(first - 1, end + 1):
            d_above, d_at, d_below = d, d_below, zero
            hidden_above, hidden_at = hidden_at, hidden_below
            # dw[i, j] = sum over pixels (h, x) of hidden[h, x] grad[h - i + 1, x - j + 1]. Every
            # pixel of `hidden` must enter once: only pixels of this strip are loaded, while the
            # gradients around them are read beyond the border of the strip.
            pixel, inside = _pixels(sample, row + 1, column, end, image_rows, image_columns)
            hidden_below = _load(hidden, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column - 1, image_rows, image_rows, image_columns)
            left = _load(grad, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column + 1, image_rows, image_rows, image_columns)
            right = _load(grad, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column, image_rows, image_rows, image_columns)
            middle = _load(grad, pixel, inside, all_channels, channel, exists)
            # A column outside the image may read a gradient of the image on its left, but its
            # `hidden` is 0.
            w0 += hidden_above * right
            w1 += hidden_above * middle
            w2 += hidden_above * left
            w3 += hidden_at * right
            w4 += hidden_at * middle
            w5 += hidden_at * left
            w6 += hidden_below * right
            w7 += hidden_below * middle
            w8 += hidden_below * left
            # The bias sums every gradient once: rows above and below belong to other strips.
            in_strip = (row + column * 0 >= first) & (row + column * 0 < end)
            d_bias += tl.where(in_strip[:, None], middle, 0.0)
            d_above, d, d_below = _add_row(d_above, d_at, d_below, left, middle, right, turned)
            if row > first:
                pixel, inside = _pixels(
                    sample, row - 1, column, image_rows, image_rows, image_columns
                )
                _store(d_hidden, d_above, pixel, inside, all_channels, channel, exists)
    partial = sums + part * 10 * all_channels + channel
    tl.store(partial, tl.sum(w0, 0), mask=exists)
    tl.store(partial + all_channels, tl.sum(w1, 0), mask=exists)
    tl.store(partial + 2 * all_channels, tl.sum(w2, 0), mask=exists)
    tl.store(partial + 3 * all_channels, tl.sum(w3, 0), mask=exists)
    tl.store(partial + 4 * all_channels, tl.sum(w4, 0), mask=exists)
    tl.store(partial + 5 * all_channels, tl.sum(w5, 0), mask=exists)
    tl.store(partial + 6 * all_channels, tl.sum(w6, 0), mask=exists)
    tl.store(partial + 7 * all_channels, tl.sum(w7, 0), mask=exists)
    tl.store(partial + 8 * all_channels, tl.sum(w8, 0), mask=exists)
    tl.store(partial + 9 * all_channels, tl.sum(d_bias, 0), mask=exists)
