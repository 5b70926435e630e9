import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lsr.nn.attention import LinearSelfAttention
from lsr.ops.linear_attention import linear_attention


def random_qkv(generator, tokens, heads, dim, dtype=torch.float64):
    return tuple(
        torch.randn(2, tokens, heads, dim, generator=generator, dtype=torch.float64).to(dtype)
        for _ in range(3)
    )


def quadratic(q, k, v):
    """The definition with its N x N matrix of weights."""
    weights = torch.einsum("bnad,bmad->banm", q.relu(), k.relu())
    return torch.einsum("banm,bmad->bnad", weights / weights.sum(-1, keepdim=True), v)


@pytest.mark.parametrize(("tokens", "heads", "dim"), [(1, 1, 16), (63, 3, 32), (257, 2, 72)])
def test_equals_its_quadratic_definition(generator, tokens, heads, dim):
    q, k, v = random_qkv(generator, tokens, heads, dim)
    torch.testing.assert_close(
        linear_attention((q, k, v), eps=1e-15), quadratic(q, k, v), rtol=1e-9, atol=1e-9
    )


def test_gradients_equal_those_of_the_definition(generator):
    inputs = tuple(x.requires_grad_() for x in random_qkv(generator, 17, 2, 16))
    weight = torch.randn(inputs[0].shape, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((linear_attention(inputs, eps=1e-15) * weight).sum(), inputs)
    theirs = torch.autograd.grad((quadratic(*inputs) * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_output_is_a_convex_combination_of_the_values(generator):
    q, k, v = random_qkv(generator, 50, 2, 16)
    out = linear_attention((q, k, v), eps=0.0)
    assert (out <= v.amax(1, keepdim=True) + 1e-12).all() and (
        out >= v.amin(1, keepdim=True) - 1e-12
    ).all()


def test_scaling_a_query_or_all_keys_changes_nothing(generator):
    q, k, v = random_qkv(generator, 20, 2, 16)
    out = linear_attention((q, k, v), eps=1e-15)
    per_token = torch.rand(2, 20, 2, 1, generator=generator, dtype=torch.float64) + 0.1
    torch.testing.assert_close(linear_attention((q * per_token, k * 7, v), eps=1e-15), out)


def test_a_dead_token_gives_zero_and_finite_gradients(generator):
    q, k, v = (x.float() for x in random_qkv(generator, 9, 2, 16))
    q[:, 3] = -q[:, 3].abs()
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    out = linear_attention((q, k, v))
    assert (out[:, 3] == 0).all()
    grads = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(g.isfinite().all() for g in grads) and (grads[0][:, 3] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_summed_in_float32(generator, dtype):
    q, k, v = random_qkv(generator, 4096, 1, 32, dtype)
    q, k = q * 8, k * 8  # float16 sums would overflow
    out = linear_attention((q, k, v))
    assert out.dtype == dtype
    expected = linear_attention((q.double(), k.double(), v.double()))
    torch.testing.assert_close(out.double(), expected, rtol=1e-2, atol=1e-3)


def test_autocast_does_not_reach_the_sums(generator):
    q, k, v = random_qkv(generator, 64, 1, 32, torch.float32)
    expected = linear_attention((q, k, v))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear_attention((q, k, v)), expected)


def test_a_packed_tensor_is_its_three_parts(generator):
    packed = torch.randn(2, 9, 3, 3, 16, generator=generator, requires_grad=True)
    parts = tuple(x.detach().clone().requires_grad_() for x in packed.unbind(2))
    weight = torch.randn(2, 9, 3, 16, generator=generator)
    assert torch.equal(linear_attention(packed), linear_attention(parts))
    (together,) = torch.autograd.grad((linear_attention(packed) * weight).sum(), packed)
    apart = torch.autograd.grad((linear_attention(parts) * weight).sum(), parts)
    assert torch.equal(together, torch.stack(apart, dim=2))


def test_float16_stays_finite_where_the_formula_written_in_float16_does_not(generator):
    q, k, v = (x * 100 for x in random_qkv(generator, 128, 1, 32, torch.float16))
    a, b, value = q.relu().transpose(1, 2), k.relu().transpose(1, 2), v.transpose(1, 2)
    plain = (a @ (b.transpose(-1, -2) @ value)) / (a @ b.sum(-2).unsqueeze(-1) + 1e-6)
    assert not plain.isfinite().all()
    inputs = tuple(x.requires_grad_() for x in (q, k, v))
    out = linear_attention(inputs)
    assert out.isfinite().all() and all(
        g.isfinite().all() for g in torch.autograd.grad(out.sum(), inputs)
    )


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_layer_compiles_without_a_graph_break(generator, qk_norm):
    layer = LinearSelfAttention(32, 16, qk_norm)
    x = torch.randn(2, 5, 32, generator=generator)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))


def last_operation(shape, dtype):
    """Return the name of the output's autograd node; fake CUDA tensors need no GPU."""
    with FakeTensorMode():
        out = linear_attention(torch.empty(shape, dtype=dtype, device="cuda", requires_grad=True))
    assert out.shape == (*shape[:2], *shape[3:]) and out.dtype == dtype
    assert out.grad_fn is not None
    return out.grad_fn.name()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("dim", [16, 32, 64, 72, 112, 128])
def test_a_gpu_runs_the_kernels(dim, dtype):
    pytest.importorskip("triton")
    assert "lsr_linear_attention_packed" in last_operation((2, 8, 3, 5, dim), dtype)


@pytest.mark.parametrize(("dim", "dtype"), [(24, torch.bfloat16), (32, torch.float64)])
def test_what_the_kernels_cannot_take_is_left_to_pytorch(dim, dtype):
    assert "lsr" not in last_operation((2, 8, 3, 5, dim), dtype)


def test_it_works_without_triton():
    code = """
import sys
sys.modules["triton"] = None
import torch
from lsr.ops.linear_attention import linear_attention
print(linear_attention(torch.ones(1, 2, 3, 1, 16)).sum().item())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert abs(float(run.stdout) - 32) < 1e-4
