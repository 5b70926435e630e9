"""Triton kernels of the gated depth-wise convolution; README.md derives them, `launch` chooses their grids.

A strip is a run of columns and of rows of one sample, `width` columns wide and `rows` rows high. A program walks down a strip with
`channels` channels and loads every row once (in its three horizontal shifts, of which the cache serves two); three sums, of the rows
above, at and below the one just loaded, are under way at a time.

Everything is float32 between load and store, so the kernels are right in Triton's interpreter too. Predicates are shaped like tiles,
because the interpreter cannot mix them with scalars.
"""

import triton
import triton.language as tl


@triton.jit
def _strip(index, image_rows, image_columns, rows: tl.constexpr, width: tl.constexpr):
    """Sample, first row, end of rows and columns of a strip."""
    across = tl.cdiv(image_columns, width)
    down = tl.cdiv(image_rows, rows)
    first = index // across % down * rows
    column = index % across * width + tl.arange(0, width)
    return (
        (index // (across * down)).to(tl.int64),
        first,
        tl.minimum(first + rows, image_rows),
        column,
    )


@triton.jit
def _pixels(sample, row, column, end, image_rows, image_columns):
    """Indices of a row's pixels in (B, H, W), and whether they are inside the image, above row `end`."""
    row = row + column * 0
    inside = (row >= 0) & (row < end) & (column >= 0) & (column < image_columns)
    return (sample * image_rows + row) * image_columns + column, inside


@triton.jit
def _load(pointer, pixel, inside, stride, channel, exists):
    """Tile (columns, channels) in float32; 0 where it is outside."""
    mask = inside[:, None] & exists[None, :]
    return tl.load(pointer + pixel[:, None] * stride + channel[None, :], mask=mask, other=0.0).to(
        tl.float32
    )


@triton.jit
def _store(pointer, tile, pixel, inside, stride, channel, exists):
    mask = inside[:, None] & exists[None, :]
    tl.store(
        pointer + pixel[:, None] * stride + channel[None, :],
        tile.to(pointer.dtype.element_ty),
        mask=mask,
    )


@triton.jit
def _tap(taps, index, stride, channel, exists):
    """One of the nine weights for every channel, broadcastable to a tile."""
    return tl.load(taps + index * stride + channel, mask=exists, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _load_taps(taps, stride, channel, exists, first, step):
    """The weights (9, C), forwards or backwards."""
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
    """Add an input row to the sums of the output rows above, at and below it."""
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
    """Write value * SiLU(gate) of the convolved strip into `out` (B, H, W, F).

    If `gradient`: given `grad` (B, H, W, F) of that, write the gradient of the convolved strip into `out` (B, H, W, 2 F) instead.
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
    value, value_below = value_bias, value_bias
    gate, gate_below = gate_bias, gate_bias
    for row in range(first - 1, end + 1):
        # The sums that were at and below the last row are above and at this one.
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
        if row > first:
            pixel, inside = _pixels(sample, row - 1, column, image_rows, image_rows, image_columns)
            sigmoid = 1.0 / (1.0 + tl.exp(-gate_above))
            if gradient:
                d = _load(grad, pixel, inside, features, channel, exists)
                d_gate = d * value_above * sigmoid * (1.0 + gate_above * (1.0 - sigmoid))
                _store(out, d * gate_above * sigmoid, pixel, inside, 2 * features, channel, exists)
                _store(out, d_gate, pixel, inside, 2 * features, channel + features, exists)
            else:
                _store(
                    out,
                    value_above * (gate_above * sigmoid),
                    pixel,
                    inside,
                    features,
                    channel,
                    exists,
                )


@triton.jit
def grad_convolution(
    hidden, taps, grad, d_hidden, sums,
    image_rows, image_columns, all_channels, strips, run,
    rows: tl.constexpr, width: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    """Gradient of `hidden` (B, H, W, C) over a run of strips, given `grad` of the convolution, and what they add to the other gradients.

    The partial sums are (parts, 10, C): the nine weights, then the bias.
    """
    part = tl.program_id(0)
    channel = tl.program_id(1) * channels + tl.arange(0, channels)
    exists = channel < all_channels
    # The gradient is a convolution with the weights turned by half a turn.
    turned = _load_taps(taps, all_channels, channel, exists, 8, -1)
    zero = tl.zeros((width, channels), tl.float32)
    w0, w1, w2, w3, w4, w5, w6, w7, w8, d_bias = (
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
        zero,
    )
    for index in range(part * run, tl.minimum(part * run + run, strips)):
        sample, first, end, column = _strip(index, image_rows, image_columns, rows, width)
        d, d_below = zero, zero
        hidden_at, hidden_below = zero, zero
        for row in range(first - 1, end + 1):
            d_above, d_at, d_below = d, d_below, zero
            hidden_above, hidden_at = hidden_at, hidden_below
            # Pixels of this strip alone; the gradients around them are read beyond its border.
            pixel, inside = _pixels(sample, row + 1, column, end, image_rows, image_columns)
            hidden_below = _load(hidden, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column - 1, image_rows, image_rows, image_columns)
            left = _load(grad, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column + 1, image_rows, image_rows, image_columns)
            right = _load(grad, pixel, inside, all_channels, channel, exists)
            pixel, inside = _pixels(sample, row, column, image_rows, image_rows, image_columns)
            middle = _load(grad, pixel, inside, all_channels, channel, exists)
            # A column that is outside the image has hidden = 0, but reads the gradient of its neighbour.
            w0 += hidden_above * right
            w1 += hidden_above * middle
            w2 += hidden_above * left
            w3 += hidden_at * right
            w4 += hidden_at * middle
            w5 += hidden_at * left
            w6 += hidden_below * right
            w7 += hidden_below * middle
            w8 += hidden_below * left
            own = (row + column * 0 >= first) & (row + column * 0 < end)
            d_bias += tl.where(own[:, None], middle, 0.0)
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
