"""Compare the Triton kernels, run by Triton's interpreter, with float64 autograd of the reference.

`test_interpreted.py` runs this file with TRITON_INTERPRET=1, which must be set before a kernel is
defined.
"""

import pytest
import torch
from support.kernel_checks import assert_close, guarded, let_memory_start_as_nan
from torch.fx.experimental.proxy_tensor import make_fx

from lsr.ops.modulated_norm import launch, modulated_norm, operators
from lsr.ops.modulated_norm.reference import modulated_norm_reference

EPS = 1e-6
TOLERANCE = 1e-6
# (B, N, D): one token; widths that are not a power of two; a last run of tokens that is shorter
# than the others.
SHAPES = [(1, 1, 3), (2, 5, 20), (2, 17, 33), (3, 9, 64)]


@pytest.fixture(autouse=True)
def _memory_starts_as_nan():
    let_memory_start_as_nan()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_inputs(generator, shape):
    """Return tokens with a mean, shift and scale as views of one tensor, and a gradient."""
    x = torch.randn(shape, generator=generator) + 2
    shift, scale, _ = torch.randn(shape[0], 3, shape[2], generator=generator).chunk(3, dim=1)
    return x, shift, scale, torch.randn(shape, generator=generator)


def exact(inputs, grad):
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    out = modulated_norm_reference(*inputs, EPS)
    return out.detach(), torch.autograd.grad(out, inputs, grad.double())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_output_and_gradients(generator, shape, dtype):
    *inputs, grad = (x.to(dtype) for x in random_inputs(generator, shape))
    # Results are float32 even for float16 inputs: rounding them would hide sums that are inexact.
    (out, behind), (dx, behind_dx) = guarded(shape), guarded(shape)
    launch.forward(*inputs, EPS, out)
    gradients = dx, *launch.backward(grad, inputs[0], inputs[2], EPS, dx)
    assert behind.isnan().all() and behind_dx.isnan().all()
    expected, expected_gradients = exact(inputs, grad)
    assert_close(out, expected, TOLERANCE, name="output")
    for name, actual, wanted in zip(
        ("x", "shift", "scale"), gradients, expected_gradients, strict=True
    ):
        assert_close(actual, wanted, TOLERANCE, name=name)


def test_several_tokens_of_a_program_are_those_of_one_sample(generator, monkeypatch):
    """With few programs each takes several tokens, as with the many tokens of real images."""
    monkeypatch.setattr(launch, "WRITING_PROGRAMS", 6)
    monkeypatch.setattr(launch, "SUMMING_PROGRAMS", 2)
    test_output_and_gradients(generator, (2, 10, 4), torch.float32)


def test_a_mean_that_is_large_beside_the_deviation(generator):
    """The variance is computed from the centred token, not as a difference of two large numbers."""
    x, shift, scale, grad = random_inputs(generator, (1, 2, 32))
    inputs = x + 1000, shift, scale
    assert_close(modulated_norm(*inputs, EPS), exact(inputs, grad)[0], 1e-4)


def test_the_operator_equals_the_reference_when_compiled_and_on_any_strides(generator):
    x, shift, scale, grad = random_inputs(generator, (2, 3, 4))
    inputs = [
        y.requires_grad_()
        for y in (
            x.transpose(1, 2).contiguous().transpose(1, 2),
            shift,
            torch.stack([scale, scale], -1)[..., 0],
        )
    ]
    compiled = torch.compile(modulated_norm, fullgraph=True, backend="aot_eager")
    # The gradient of a sum is one number, expanded with strides of 0.
    gradients = torch.autograd.grad(compiled(*inputs).sum(), inputs)
    _, expected = exact(inputs, torch.ones_like(grad))
    for y, actual, wanted in zip(inputs, gradients, expected, strict=True):
        assert actual.shape == y.shape and actual.is_contiguous()
        assert_close(actual, wanted, TOLERANCE, scale=1.0)


def test_types_may_differ(generator):
    """Under autocast the modulation is float32 and the first block's tokens are not."""
    x, shift, scale, grad = random_inputs(generator, (2, 3, 20))
    inputs = [x.half().requires_grad_(), shift.half().requires_grad_(), scale.requires_grad_()]
    out = modulated_norm(*inputs)
    gradients = torch.autograd.grad(out, inputs, grad)
    assert out.dtype == torch.float32 and [g.dtype for g in gradients] == [y.dtype for y in inputs]
    expected, expected_gradients = exact(inputs, grad)
    assert_close(out, expected, TOLERANCE)
    for actual, wanted in zip(gradients, expected_gradients, strict=True):
        assert_close(actual, wanted, 1e-3)


def test_a_graph_holds_one_operator_each_way_and_backward_keeps_x_and_scale_alone(generator):
    x, shift, scale, _ = random_inputs(generator, (2, 3, 4))
    inputs = [y.clone().requires_grad_() for y in (x, shift, scale)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda y: saved.append(y.shape), lambda y: y):
        modulated_norm(*inputs)
    assert saved == [x.shape, scale.shape]

    def gradient(*tensors):
        out = modulated_norm(*tensors)
        return torch.autograd.grad(out, tensors, torch.ones_like(out))

    targets = [
        str(node.target)
        for node in make_fx(gradient, tracing_mode="fake")(*inputs).graph.nodes
        if node.op == "call_function"
    ]
    assert [target for target in targets if "lsr" in target] == [
        "lsr.modulated_norm.default",
        "lsr.modulated_norm_backward.default",
    ]
    assert not [target for target in targets if "norm" in target and "lsr" not in target]


def test_the_operators_keep_the_rules_of_torch_library(generator):
    x, shift, scale, grad = random_inputs(generator, (2, 3, 4))
    inputs = [y.clone().requires_grad_() for y in (x, shift, scale)]
    torch.library.opcheck(operators.modulated_norm, (*inputs, EPS))
    torch.library.opcheck(operators.modulated_norm_backward, (grad, x, scale, EPS))


def test_bfloat16_is_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        modulated_norm(
            torch.zeros(1, 1, 2, dtype=torch.bfloat16), torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)
        )
