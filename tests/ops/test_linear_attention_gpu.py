"""Compare the kernels on a GPU with float64 at the sizes of SANA: 36 (0.6B) and 70 heads (1.6B)."""

import pytest
import torch
from support.gpu import require_gpu
from support.kernel_checks import assert_close

from lsr.ops.linear_attention import linear_attention
from lsr.ops.linear_attention.reference import linear_attention_reference

# Relative error (Frobenius norm). Rounding the output costs 1.7e-3 in bfloat16 and 2.1e-4 in
# float16.
TOLERANCE = {torch.bfloat16: 4e-3, torch.float16: 6e-4, torch.float32: 1e-5}


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    require_gpu("linear attention kernels")


@pytest.fixture
def gpu_generator():
    return torch.Generator("cuda").manual_seed(0)


def random_qkv(generator, samples, tokens, heads, dim, dtype):
    qkv = torch.randn(samples, tokens, 3, heads, dim, generator=generator, device="cuda").to(dtype)
    grad = torch.randn(samples, tokens, heads, dim, generator=generator, device="cuda").to(dtype)
    qkv[0, -1, 0, 0] = -qkv[0, -1, 0, 0].abs()
    return qkv.requires_grad_(), grad


def run(qkv, grad):
    out = linear_attention(qkv)
    return out, torch.autograd.grad(out, qkv, grad)[0]


def assert_equals_float64(qkv, grad, tolerance):
    out, dqkv = run(qkv, grad)
    exact = qkv.detach().double().requires_grad_()
    expected = linear_attention_reference(*exact.unbind(2))
    (expected_grad,) = torch.autograd.grad(expected, exact, grad.double())
    assert (out[0, -1, 0] == 0).all() and (dqkv[0, -1, 0, 0] == 0).all()
    pairs = {"o": (out, expected)} | {
        f"d{name}": (dqkv[:, :, i], expected_grad[:, :, i]) for i, name in enumerate("qkv")
    }
    for name, (actual, wanted) in pairs.items():
        assert_close(actual, wanted, tolerance, name=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("heads", [36, 70])
@pytest.mark.parametrize("tokens", [1024, 4097])
def test_equals_float64(gpu_generator, tokens, heads, dtype):
    assert_equals_float64(*random_qkv(gpu_generator, 2, tokens, heads, 32, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dim", [16, 64, 72, 112, 128])
def test_every_head_dimension_equals_float64(gpu_generator, dim, dtype):
    assert_equals_float64(*random_qkv(gpu_generator, 1, 333, 3, dim, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_two_runs_agree_in_every_bit(gpu_generator, dtype):
    qkv, grad = random_qkv(gpu_generator, 2, 4097, 70, 32, dtype)
    first, second = run(qkv, grad), run(qkv, grad)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_float16_stays_finite_with_activations_a_hundred_times_as_large(gpu_generator):
    qkv, grad = random_qkv(gpu_generator, 2, 4097, 36, 32, torch.float16)
    out, dqkv = run((qkv.detach() * 100).requires_grad_(), grad)
    assert out.isfinite().all() and dqkv.isfinite().all()


def test_inductor_runs_it_in_one_graph(gpu_generator):
    qkv, grad = random_qkv(gpu_generator, 2, 1024, 36, 32, torch.bfloat16)
    compiled = torch.compile(lambda x: linear_attention(x).flatten(2), fullgraph=True)
    out = compiled(qkv)
    expected, expected_grad = run(qkv, grad)
    assert torch.equal(out, expected.flatten(2))
    assert torch.equal(torch.autograd.grad(out, qkv, grad.flatten(2))[0], expected_grad)
