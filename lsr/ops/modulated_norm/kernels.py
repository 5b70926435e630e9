"""Triton kernels of the modulated norm.

README.md derives the formulas, `launch` chooses the grids. Axis 0 of every grid counts samples,
axis 1 counts runs: consecutive tokens of a sample. A program takes the tokens of its run one after
another and holds one whole token in registers: D channels, padded to a power of two because
Triton's tiles have such sizes. The mask `exists` marks the D channels that exist.

Everything is float32 between load and store, because sums over thousands of channels or tokens
would lose their low bits in half precision.
"""

import triton
import triton.language as tl


@triton.jit
def _normalise(pointer, channel, exists, width, eps):
    """Return one normalised token and 1 / its standard deviation.

    The variance is the mean square of the centred token. The mean of squares minus the square of
    the mean would cancel where the mean is large.
    """
    x = tl.load(pointer + channel, mask=exists, other=0.0).to(tl.float32)
    # Padded channels are loaded as 0. Centring makes them -mean, which must not enter the variance.
    centred = tl.where(exists, x - tl.sum(x, 0) / width, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    return centred * inverse, inverse


@triton.jit
def normalise_and_modulate(
    x, shift, scale, out, shift_b, scale_b, tokens, width, run, eps, padded: tl.constexpr
):
    """Write norm(x) (1 + scale) + shift over a run of tokens of one sample.

    `shift_b` and `scale_b` are the strides of samples in shift and scale.
    """
    sample = tl.program_id(0).to(tl.int64)  # 64 bits: offsets may exceed 2^31 elements
    start = tl.program_id(1) * run
    channel = tl.arange(0, padded)
    exists = channel < width
    factor = 1.0 + tl.load(scale + sample * scale_b + channel, mask=exists, other=0.0).to(
        tl.float32
    )
    offset = tl.load(shift + sample * shift_b + channel, mask=exists, other=0.0).to(tl.float32)
    for token in range(start, tl.minimum(start + run, tokens)):
        row = (sample * tokens + token) * width
        normal, _ = _normalise(x + row, channel, exists, width, eps)
        tl.store(
            out + row + channel, (normal * factor + offset).to(out.dtype.element_ty), mask=exists
        )


@triton.jit
def grad_normalised(
    grad, x, scale, dx, sums, scale_b, tokens, width, run, eps, padded: tl.constexpr
):
    """Write the gradient of x over a run of tokens of one sample, and sums over these tokens.

    The sums (2, parts, B, D) are partial gradients of shift and of scale. Every program has its own
    place in them, so that `launch` can add them up in a fixed order.
    """
    sample = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    channel = tl.arange(0, padded)
    exists = channel < width
    factor = 1.0 + tl.load(scale + sample * scale_b + channel, mask=exists, other=0.0).to(
        tl.float32
    )
    d_shift = tl.zeros((padded,), tl.float32)
    d_scale = tl.zeros((padded,), tl.float32)
    for token in range(part * run, tl.minimum(part * run + run, tokens)):
        row = (sample * tokens + token) * width
        normal, inverse = _normalise(x + row, channel, exists, width, eps)
        d_out = tl.load(grad + row + channel, mask=exists, other=0.0).to(tl.float32)
        d_shift += d_out
        d_scale += d_out * normal
        # With n = (x - mean) r, r = 1 / std: dx = r (dn - mean(dn) - n mean(dn n)). The two means
        # are the gradients that flow through the mean and through the standard deviation of x.
        d_normal = d_out * factor
        mean = tl.sum(d_normal, 0) / width
        slope = tl.sum(d_normal * normal, 0) / width
        d_x = inverse * (d_normal - mean - normal * slope)
        tl.store(dx + row + channel, d_x.to(dx.dtype.element_ty), mask=exists)
    samples = tl.num_programs(0)
    place = (part * samples + sample) * width + channel
    tl.store(sums + place, d_shift, mask=exists)
    tl.store(sums + tl.num_programs(1) * samples * width + place, d_scale, mask=exists)
