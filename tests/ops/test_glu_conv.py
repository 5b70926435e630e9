import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lsr.nn.block import MixFFN
from lsr.ops.glu_conv import glu_conv


def test_a_single_tap_moves_the_image_by_a_pixel(generator):
    """A single weight of 1 in the upper left corner makes a value that of its upper left neighbour.

    Outside the image it is 0. The bias of the gates opens them.
    """
    hidden = torch.randn(1, 3, 4, 2, generator=generator, dtype=torch.float64)
    weight, bias = torch.zeros(2, 1, 3, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    weight[0, 0, 0, 0] = 1
    bias[1] = 3
    expected = torch.zeros(1, 3, 4, 1, dtype=torch.float64)
    expected[:, 1:, 1:] = hidden[:, :-1, :-1, :1] * torch.nn.functional.silu(bias[1])
    assert torch.equal(glu_conv(hidden, weight, bias), expected)


def test_gradients_are_those_of_finite_differences(generator):
    shapes = ((1, 2, 3, 4), (4, 1, 3, 3), (4,))
    inputs = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )
    assert torch.autograd.gradcheck(glu_conv, inputs)


def test_the_layer_compiles_without_a_graph_break(generator):
    layer = MixFFN(8)
    x = torch.randn(2, 12, 8, generator=generator)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, (3, 4)), layer(x, (3, 4)))


def last_operation(dtype):
    """Return the name of the output's autograd node; fake CUDA tensors need no GPU."""
    with FakeTensorMode():
        hidden = torch.empty(2, 3, 5, 12, dtype=dtype, device="cuda", requires_grad=True)
        out = glu_conv(
            hidden,
            torch.empty(12, 1, 3, 3, device="cuda", dtype=dtype),
            torch.empty(12, device="cuda", dtype=dtype),
        )
    assert out.shape == (2, 3, 5, 6) and out.dtype == dtype and out.grad_fn is not None
    return out.grad_fn.name()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_gpu_runs_the_kernels(dtype):
    pytest.importorskip("triton")
    assert "lsr_glu_conv" in last_operation(dtype)


def test_what_the_kernels_cannot_take_is_left_to_pytorch():
    assert "lsr" not in last_operation(torch.float64)


def test_layers_work_without_triton():
    code = """
import sys
sys.modules["triton"] = None
import torch
from lsr.nn.block import LinearDiTBlock
block = LinearDiTBlock(32, 16, None, 2.0, False)
print(block(torch.ones(1, 6, 32), (2, 3), torch.ones(1, 6, 32), None, None).shape)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "[1, 6, 32]" in run.stdout


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 2, 2, 3), (3, 1, 3, 3), (3,)),
        ((1, 2, 2, 4), (2, 1, 3, 3), (4,)),
        ((2, 2, 4), (4, 1, 3, 3), (4,)),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(shapes):
    with pytest.raises(AssertionError):
        glu_conv(*(torch.zeros(shape) for shape in shapes))
