"""Triton kernels of the modulated norm; README.md derives them, `launch` chooses their grids.

A program holds whole tokens: a run of them from one sample, one at a time. Everything is float32 between load and store.
"""

import triton
import triton.language as tl


@triton.jit
def _normalise(pointer, channel, exists, width, eps):
    """One token of x without its mean, divided by its standard deviation, and one over that; 0 in the channels that only pad."""
    x = tl.load(pointer + channel, mask=exists, other=0.0).to(tl.float32)
    centred = tl.where(exists, x - tl.sum(x, 0) / width, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    return centred * inverse, inverse


@triton.jit
def normalise_and_modulate(
    x, shift, scale, out, shift_b, scale_b, tokens, width, run, eps, padded: tl.constexpr
):
    """Norm(x) (1 + scale) + shift over a run of tokens of one sample."""
    sample = tl.program_id(0).to(tl.int64)
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
    """Gradient of x over a run of tokens of one sample, and what they add to those of shift and scale: sums (2, parts, B, D)."""
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
        d_normal = d_out * factor
        mean = tl.sum(d_normal, 0) / width
        slope = tl.sum(d_normal * normal, 0) / width
        d_x = inverse * (d_normal - mean - normal * slope)
        tl.store(dx + row + channel, d_x.to(dx.dtype.element_ty), mask=exists)
    samples = tl.num_programs(0)
    place = (part * samples + sample) * width + channel
    tl.store(sums + place, d_shift, mask=exists)
    tl.store(sums + tl.num_programs(1) * samples * width + place, d_scale, mask=exists)
