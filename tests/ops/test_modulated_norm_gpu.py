"""Compare the kernels on a GPU with float64, at the widths of SANA 0.6B and 1.6B."""

import pytest
import torch
from support.gpu import require_gpu
from support.kernel_checks import assert_close

from lsr.ops.modulated_norm import modulated_norm
from lsr.ops.modulated_norm.reference import modulated_norm_reference

# Relative error (Frobenius norm). Rounding the output costs 1.7e-3 in bfloat16 and 2.1e-4 in
# float16.
TOLERANCE = {torch.bfloat16: 3e-3, torch.float16: 4e-4, torch.float32: 2e-6}


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    require_gpu("modulated norm kernels")


@pytest.fixture
def gpu_generator():
    return torch.Generator("cuda").manual_seed(0)


def random_inputs(generator, shape, dtype, modulation):
    x = torch.randn(shape, generator=generator, device="cuda").to(dtype)
    shift, scale, _ = (
        torch.randn(shape[0], 3, shape[2], generator=generator, device="cuda")
        .to(modulation)
        .chunk(3, dim=1)
    )
    inputs = [y.detach().requires_grad_() for y in (x, shift, scale)]
    out_type = torch.promote_types(dtype, modulation)
    return inputs, torch.randn(shape, generator=generator, device="cuda").to(out_type)


def run(function, inputs, grad):
    out = function(*inputs)
    return out, *torch.autograd.grad(out, inputs, grad)


def assert_equals_float64(inputs, grad, tolerance):
    expected = run(
        modulated_norm_reference,
        [y.detach().double().requires_grad_() for y in inputs],
        grad.double(),
    )
    for name, actual, wanted in zip(
        ("output", "x", "shift", "scale"), run(modulated_norm, inputs, grad), expected, strict=True
    ):
        assert_close(actual, wanted, tolerance, name=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "shape", [(2, 4097, 2240), (8, 1024, 1152), (1, 16384, 128), (3, 7, 8192), (1, 1, 3)]
)
def test_equals_float64(gpu_generator, shape, dtype):
    assert_equals_float64(*random_inputs(gpu_generator, shape, dtype, dtype), TOLERANCE[dtype])


def test_single_precision_modulates_half(gpu_generator):
    """Under autocast the types of the arguments differ."""
    assert_equals_float64(
        *random_inputs(gpu_generator, (2, 100, 2240), torch.bfloat16, torch.float32),
        TOLERANCE[torch.bfloat16],
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_two_runs_agree_in_every_bit(gpu_generator, dtype):
    inputs, grad = random_inputs(gpu_generator, (2, 4097, 2240), dtype, dtype)
    first, second = run(modulated_norm, inputs, grad), run(modulated_norm, inputs, grad)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inductor_runs_it_in_one_graph(gpu_generator):
    inputs, grad = random_inputs(gpu_generator, (2, 100, 2240), torch.bfloat16, torch.bfloat16)
    results = (
        run(torch.compile(modulated_norm, fullgraph=True), inputs, grad),
        run(modulated_norm, inputs, grad),
    )
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
