"""Compare the Triton kernels, run by Triton's interpreter, with float64 autograd of the reference.

`test_interpreted.py` runs this file with TRITON_INTERPRET=1, which must be set before a kernel is
defined.
"""

import pytest
import torch
from support.kernel_checks import assert_close, guarded, let_memory_start_as_nan
from torch.fx.experimental.proxy_tensor import make_fx

from lsr.ops.glu_conv import glu_conv, launch, operators
from lsr.ops.glu_conv.launch import Tiling
from lsr.ops.glu_conv.reference import glu_conv_reference

TOLERANCE = 1e-6
# Shape (B, H, W, F) and tiling (rows, columns, channels, warps, partial sums). The cases are: sides
# that are not multiples of the strip, with several strips in one partial sum; one row; one column,
# with channels that are not a multiple of the tile; one pixel.
CASES = [
    ((2, 4, 5, 3), Tiling(3, 4, 4, 1, 3)),
    ((1, 1, 9, 3), Tiling(16, 8, 4, 1)),
    ((1, 6, 1, 20), Tiling(4, 2, 16, 1)),
    ((1, 1, 1, 1), None),
]


@pytest.fixture(autouse=True)
def _memory_starts_as_nan():
    let_memory_start_as_nan()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_inputs(generator, shape):
    """Return hidden (B, H, W, 2 F), weight, bias, and a gradient of the output (B, H, W, F)."""
    channels = 2 * shape[-1]
    sizes = ((*shape[:-1], channels), (channels, 1, 3, 3), (channels,), shape)
    return [torch.randn(size, generator=generator) for size in sizes]


def exact(inputs, grad):
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    out = glu_conv_reference(*inputs)
    return out.detach(), torch.autograd.grad(out, inputs, grad.double())


@pytest.mark.parametrize(
    ("shape", "tiling", "dtype"),
    [(*case, torch.float32) for case in CASES] + [(*CASES[1], torch.float16)],
)
def test_output_and_gradients(generator, shape, tiling, dtype):
    *inputs, grad = (x.to(dtype) for x in random_inputs(generator, shape))
    # Results are float32 even for float16 inputs: rounding them would hide sums that are inexact.
    (out, behind), (d_hidden, behind_hidden) = guarded(shape), guarded(inputs[0].shape)
    launch.forward(*inputs, out, tiling)
    gradients = d_hidden, *launch.backward(grad, *inputs, d_hidden, tiling)
    assert behind.isnan().all() and behind_hidden.isnan().all()
    expected, expected_gradients = exact(inputs, grad)
    assert_close(out, expected, TOLERANCE, name="output")
    for name, actual, wanted in zip(
        ("hidden", "weight", "bias"), gradients, expected_gradients, strict=True
    ):
        assert_close(actual, wanted, TOLERANCE, name=name)


def test_the_operator_equals_the_reference_when_compiled_and_on_any_strides(generator):
    hidden, weight, bias, grad = random_inputs(generator, (1, 2, 3, 2))
    turned = hidden.transpose(1, 2).contiguous().transpose(1, 2)
    inputs = [x.requires_grad_() for x in (turned, weight, bias)]
    compiled = torch.compile(glu_conv, fullgraph=True, backend="aot_eager")
    # The gradient of a sum is one number, expanded with strides of 0.
    gradients = torch.autograd.grad(compiled(*inputs).sum(), inputs)
    _, expected = exact(inputs, torch.ones_like(grad))
    for x, actual, wanted in zip(inputs, gradients, expected, strict=True):
        assert actual.shape == x.shape and actual.is_contiguous()
        assert_close(actual, wanted, TOLERANCE)


def test_types_may_differ(generator):
    """Under autocast the weights are float32 and the activations are not."""
    hidden, weight, bias, grad = random_inputs(generator, (1, 2, 3, 2))
    inputs = [hidden.half().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    out = glu_conv(*inputs)
    gradients = torch.autograd.grad(out, inputs, grad.half())
    assert [x.dtype for x in (out, *gradients)] == [
        torch.float16,
        torch.float16,
        torch.float32,
        torch.float32,
    ]
    expected, expected_gradients = exact(inputs, grad.half())
    for actual, wanted in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        assert_close(actual, wanted, 1e-3)


def test_a_graph_holds_one_operator_each_way_and_backward_keeps_the_arguments_alone(generator):
    hidden, weight, bias, _ = random_inputs(generator, (1, 1, 2, 1))
    inputs = [x.requires_grad_() for x in (hidden, weight, bias)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.shape), lambda x: x):
        glu_conv(*inputs)
    assert saved == [x.shape for x in inputs]

    def gradient(*tensors):
        out = glu_conv(*tensors)
        return torch.autograd.grad(out, tensors, torch.ones_like(out))

    targets = [
        str(node.target)
        for node in make_fx(gradient, tracing_mode="fake")(*inputs).graph.nodes
        if node.op == "call_function"
    ]
    assert [target for target in targets if "lsr" in target] == [
        "lsr.glu_conv.default",
        "lsr.glu_conv_backward.default",
    ]
    assert not [target for target in targets if "conv" in target and "lsr" not in target]


def test_the_operators_keep_the_rules_of_torch_library(generator):
    inputs = random_inputs(generator, (1, 1, 2, 1))
    torch.library.opcheck(operators.glu_conv, tuple(x.requires_grad_() for x in inputs[:3]))
    torch.library.opcheck(
        operators.glu_conv_backward, (inputs[3], *(x.detach() for x in inputs[:3]))
    )


def test_bfloat16_is_refused():
    with pytest.raises(ValueError, match="bfloat16"):
        glu_conv(
            torch.zeros(1, 1, 1, 2, dtype=torch.bfloat16), torch.zeros(2, 1, 3, 3), torch.zeros(2)
        )
