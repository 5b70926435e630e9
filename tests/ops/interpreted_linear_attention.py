"""Compare the Triton kernels, run by Triton's interpreter, with float64 autograd of the reference.

`test_interpreted.py` runs this file with TRITON_INTERPRET=1, which must be set before a kernel is
defined.
"""

import pytest
import torch
from support.kernel_checks import assert_close, let_memory_start_as_nan
from torch.fx.experimental.proxy_tensor import make_fx

from lsr.ops.linear_attention import launch, linear_attention, operators
from lsr.ops.linear_attention.launch import Tiling
from lsr.ops.linear_attention.reference import linear_attention_reference

EPS = 1e-6
TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-6}
# Tokens, heads, heads of a program, tokens of a block, number of partial sums, and whether one
# launch computes the gradients of k and v.
SMALL_HEADS = [
    (1, 1, 1, 16, 1, True),
    (7, 3, 2, 16, 1, True),
    (33, 2, 1, 16, 3, False),
    (100, 3, 2, 64, 2, True),
    (100, 3, 4, 32, 4, True),
]
LARGE_HEADS = [
    (1, 1, 1, 16, 1, True),
    (7, 2, 1, 16, 1, True),
    (33, 1, 1, 16, 3, False),
    (100, 1, 1, 32, 4, True),
]


@pytest.fixture(autouse=True)
def _memory_starts_as_nan():
    let_memory_start_as_nan()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_qkv(generator, tokens, heads, dim):
    """Return qkv (2, N, 3, A, E) with its special cases.

    One query is dead, all keys of one head are, and one component is negative in all keys of a
    head.
    """
    qkv = torch.randn(2, tokens, 3, heads, dim, generator=generator)
    qkv[0, -1, 0, 0] = -qkv[0, -1, 0, 0].abs()
    qkv[1, :, 1, -1] = -qkv[1, :, 1, -1].abs()
    qkv[0, :, 1, 0, 2] = -1
    return qkv


def exact(inputs, grad):
    """Return output and gradients of the reference in float64."""
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    out = linear_attention_reference(*inputs, EPS)
    return out.detach(), torch.autograd.grad(out, inputs, grad.double())


def scattered(q, k, v):
    """Return the same numbers with different strides.

    q is contiguous, k is one half of a tensor of twice as many channels, v has heads before tokens.
    """
    return (
        q.contiguous(),
        torch.cat([k, k], dim=-1)[..., : k.shape[-1]],
        v.transpose(1, 2).contiguous().transpose(1, 2),
    )


def kernels(inputs, grad, tiling, stored, packed=True):
    """Return output and gradients of the kernels with a tiling, stored in the dtype `stored`."""
    grads = torch.full((*grad.shape[:2], 3, *grad.shape[2:]), torch.nan, dtype=stored).unbind(2)
    if not packed:
        inputs, grads, grad = (
            scattered(*inputs),
            scattered(*reversed(grads)),
            scattered(grad, grad, grad)[1],
        )
    o = torch.full_like(grad, torch.nan, dtype=stored)
    s, z = launch.forward(*inputs, EPS, o, tiling)
    launch.backward(grad, inputs, (o, s, z), EPS, grads, tiling)
    return o, grads


@pytest.mark.parametrize("dim", [16, 32, 64, 72, 112, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_output_and_gradients(generator, dim, dtype):
    cases = SMALL_HEADS if dim <= 32 else LARGE_HEADS
    for index, (tokens, heads, heads_of_program, block, parts, together) in enumerate(
        cases if dtype == torch.float32 else cases[-1:]
    ):
        tiling = Tiling(heads_of_program, block, 1, 1, together, parts)
        packed = (index + dim // 16) % 2 == 0
        qkv = random_qkv(generator, tokens, heads, dim).to(dtype)
        inputs = qkv.unbind(2)
        grad = torch.randn(2, tokens, heads, dim, generator=generator).to(dtype)
        # Results are float32 even for float16 operands: rounding them would hide inexact products.
        out, grads = kernels(inputs, grad, tiling, torch.float32, packed)
        expected, expected_grads = exact(inputs, grad)
        assert_close(out, expected, TOLERANCE[dtype])
        # A single token attends to itself whatever q and k are: the gradients of q and k are
        # differences of equal terms, and the error is compared with the size of these terms.
        terms = (grad.double() * expected).sum(-1)
        for x, actual, wanted in zip(inputs, grads, expected_grads, strict=True):
            size = (
                (terms / x.double().relu().norm(dim=-1).clamp_min(0.5)).norm().item()
                if tokens == 1
                else 0.0
            )
            assert_close(actual, wanted, TOLERANCE[dtype], size)
        for dead in (
            out[0, -1, 0],
            grads[0][0, -1, 0],
            out[1, :, -1],
            *(g[1, :, -1] for g in grads),
        ):
            assert (dead == 0).all()


@pytest.mark.parametrize("dim", [32, 72])
def test_float16_with_activations_a_hundred_times_as_large(generator, dim):
    for tokens, scale in ((1, 150), (100, 100)):
        qkv = (random_qkv(generator, tokens, 2, dim) * scale).half()
        # A loss scale, without which float16 gradients of this size are subnormal.
        grad = (torch.randn(2, tokens, 2, dim, generator=generator) * 256).half()
        inputs = qkv.unbind(2)
        out, grads = kernels(inputs, grad, None, torch.float16)
        assert out.isfinite().all() and all(g.isfinite().all() for g in grads)
        expected, expected_grads = exact(inputs, grad)
        assert_close(out, expected, 5e-4)
        for actual, wanted in zip(grads[:2] if tokens > 1 else (), expected_grads, strict=False):
            assert_close(actual, wanted, 1e-3)
        assert_close(grads[2], expected_grads[2], 1e-3)


def test_float16_products_that_overflow_float16(generator):
    """S reaches 1e9 with large k and v, and a token that is nearly dead has 1 / (a . z) of 1e7."""
    qkv = random_qkv(generator, 33, 1, 32)
    qkv[:, :, 1:] *= torch.tensor([3e4, 1e4])[:, None, None]
    qkv[:, 5, 0] *= 1e-4
    qkv[:, :, 1, 0, 4] *= 1e-6
    inputs = qkv.clamp(-6e4, 6e4).half().unbind(2)
    grad = torch.randn(2, 33, 1, 32, generator=generator).half()
    out, grads = kernels(inputs, grad, None, torch.float16)
    expected, expected_grads = exact(inputs, grad)
    assert_close(out, expected, 5e-4)
    assert_close(grads[2], expected_grads[2], 1e-3)
    for actual, wanted in zip(grads, expected_grads, strict=True):
        assert actual[wanted.abs() < 6e4].isfinite().all() and not actual.isnan().any()


@pytest.mark.parametrize(("packed", "compiled"), [(True, True), (False, False)])
def test_the_operator_equals_the_reference(generator, packed, compiled):
    qkv = random_qkv(generator, 7, 3, 16)
    inputs = [x.clone().requires_grad_() for x in ([qkv] if packed else qkv.unbind(2))]
    weight = torch.randn(2, 7, 3, 16, generator=generator)

    def loss(*tensors):
        return (linear_attention(tensors[0] if packed else tensors) * weight).sum()

    expected = torch.autograd.grad(
        (linear_attention_reference(*(inputs[0].unbind(2) if packed else inputs)) * weight).sum(),
        inputs,
    )
    function = torch.compile(loss, fullgraph=True, backend="aot_eager") if compiled else loss
    for actual, wanted in zip(
        torch.autograd.grad(function(*inputs), inputs), expected, strict=True
    ):
        assert actual.is_contiguous() and actual.dtype == wanted.dtype
        assert_close(actual, wanted.double(), 2e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_a_graph_holds_one_operator_each_way(generator, packed):
    qkv = random_qkv(generator, 5, 2, 16)
    inputs = [x.requires_grad_() for x in ([qkv] if packed else qkv.unbind(2))]

    def gradient(*tensors):
        out = linear_attention(tensors[0] if packed else tensors)
        return torch.autograd.grad(out, tensors, torch.ones_like(out))

    targets = [
        str(node.target)
        for node in make_fx(gradient, tracing_mode="fake")(*inputs).graph.nodes
        if node.op == "call_function"
    ]
    name = "lsr.linear_attention_packed" if packed else "lsr.linear_attention"
    assert [target for target in targets if "lsr" in target] == [
        f"{name}.default",
        f"{name}_backward.default",
    ]
    assert not [
        target for target in targets if "mm" in target or "clone" in target or "stack" in target
    ]


def test_the_operators_keep_the_rules_of_torch_library(generator):
    qkv = random_qkv(generator, 5, 2, 16).requires_grad_()
    torch.library.opcheck(operators.packed, (qkv, EPS))
    torch.library.opcheck(
        operators.separate, (*(x.detach().clone().requires_grad_() for x in qkv.unbind(2)), EPS)
    )


@pytest.mark.parametrize("packed", [True, False])
def test_backward_keeps_inputs_output_and_state_alone(generator, packed):
    qkv = random_qkv(generator, 7, 3, 16).requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(tuple(x.shape)), lambda x: x
    ):
        linear_attention(
            qkv if packed else tuple(x.detach().requires_grad_() for x in qkv.unbind(2))
        )
    tokens, state = (2, 7, 3, 16), [(2, 3, 16, 16), (2, 3, 16)]
    assert saved == ([(2, 7, 3, 3, 16)] if packed else [tokens] * 3) + [tokens, *state]


def test_eps_may_be_zero(generator):
    """Dead tokens and the padding of the last tile have denominators of 0, but cause no NaN."""
    qkv = random_qkv(generator, 7, 3, 16).requires_grad_()
    out = linear_attention(qkv, eps=0.0)
    (grad,) = torch.autograd.grad(out.sum(), qkv)
    reference = qkv.detach().double().requires_grad_()
    living = torch.ones(2, 7, 3, 1, dtype=torch.float64)
    living[0, -1, 0] = living[1, :, -1] = 0
    expected = linear_attention_reference(*reference.unbind(2), 1e-15)
    (expected_grad,) = torch.autograd.grad((expected * living).sum(), reference)
    assert_close(out, expected, 2e-6)
    assert_close(grad, expected_grad, 2e-6)


def test_strides_are_free(generator):
    """Inputs whose channels are not neighbours, and a gradient that is one number, expanded."""
    q, k, v = (
        torch.randn(2, 16, 3, 7, generator=generator).permute(0, 3, 2, 1).requires_grad_()
        for _ in range(3)
    )
    grads = torch.autograd.grad(linear_attention((q, k, v)).sum(), (q, k, v))
    _, expected = exact((q, k, v), torch.ones(2, 7, 3, 16))
    for actual, wanted in zip(grads, expected, strict=True):
        assert_close(actual, wanted, 2e-6)


def test_normalised_queries_may_be_wider_than_the_values(generator):
    q, k, v = random_qkv(generator, 7, 2, 16).unbind(2)
    inputs = q.clone().requires_grad_(), k.clone().requires_grad_(), v.half().requires_grad_()
    out = linear_attention(inputs)
    grads = torch.autograd.grad(out.float().sum(), inputs)
    assert [x.dtype for x in (out, *grads)] == [
        torch.float16,
        torch.float32,
        torch.float32,
        torch.float16,
    ]
    expected, expected_grads = exact(inputs, torch.ones_like(out))
    assert_close(out, expected, 5e-4)
    assert_close(grads[2], expected_grads[2], 5e-4)


@pytest.mark.parametrize(("types", "operand"), [
    (("float16", "float16", "float16"), "float16"),
    (("bfloat16", "bfloat16", "bfloat16"), "bfloat16"),
    (("float32", "bfloat16", "bfloat16"), "bfloat16"),
    (("float32", "float16", "float16"), "float32"),
    (("float16", "float16", "float32"), "float32"),
])  # fmt: skip
def test_operands_are_never_of_a_narrower_range_than_an_input(types, operand):
    q, k, v = (torch.empty(1, dtype=getattr(torch, name)) for name in types)
    assert launch.operand_type(q, k, v) == getattr(torch, operand)


def test_bfloat16_is_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        linear_attention(torch.zeros(1, 2, 3, 1, 16, dtype=torch.bfloat16))
