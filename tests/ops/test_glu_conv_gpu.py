"""Compare the kernels on a GPU with float64 at the sizes of SANA: F 2880 (0.6B) and 5600 (1.6B)."""

import pytest
import torch
from support.gpu import require_gpu
from support.kernel_checks import assert_close

from lsr.ops.glu_conv import glu_conv
from lsr.ops.glu_conv.reference import glu_conv_reference

# Relative error (Frobenius norm). Rounding the output costs 1.7e-3 in bfloat16 and 2.1e-4 in
# float16; the gradient of the convolution is rounded once between the kernels.
TOLERANCE = {torch.bfloat16: 4e-3, torch.float16: 6e-4, torch.float32: 2e-6}


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    require_gpu("gated convolution kernels")


@pytest.fixture
def gpu_generator():
    return torch.Generator("cuda").manual_seed(0)


def random_inputs(generator, shape, dtype):
    channels = 2 * shape[-1]
    sizes = ((*shape[:-1], channels), (channels, 1, 3, 3), (channels,), shape)
    *inputs, grad = (
        torch.randn(size, generator=generator, device="cuda").to(dtype) for size in sizes
    )
    return [x.requires_grad_() for x in inputs], grad


def run(function, inputs, grad):
    out = function(*inputs)
    return out, *torch.autograd.grad(out, inputs, grad)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "shape", [(2, 32, 32, 5600), (1, 37, 51, 2880), (2, 1, 19, 100), (1, 19, 1, 100), (1, 1, 1, 1)]
)
def test_equals_float64(gpu_generator, shape, dtype):
    inputs, grad = random_inputs(gpu_generator, shape, dtype)
    expected = run(
        glu_conv_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double()
    )
    for name, actual, wanted in zip(
        ("output", "hidden", "weight", "bias"), run(glu_conv, inputs, grad), expected, strict=True
    ):
        assert_close(actual, wanted, TOLERANCE[dtype], name=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_two_runs_agree_in_every_bit(gpu_generator, dtype):
    inputs, grad = random_inputs(gpu_generator, (2, 64, 65, 2880), dtype)
    first, second = run(glu_conv, inputs, grad), run(glu_conv, inputs, grad)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inductor_runs_it_in_one_graph(gpu_generator):
    inputs, grad = random_inputs(gpu_generator, (2, 32, 32, 640), torch.bfloat16)
    compiled = torch.compile(lambda *x: glu_conv(*x).flatten(1, 2), fullgraph=True)
    results = run(compiled, inputs, grad.flatten(1, 2)), run(glu_conv, inputs, grad)
    assert all(torch.equal(a.flatten(), b.flatten()) for a, b in zip(*results, strict=True))
