import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lsr.ops.modulated_norm import modulated_norm
from lsr.ops.modulated_norm.dispatch import WIDEST


def test_without_modulation_tokens_have_mean_0_and_variance_1(generator):
    x = 3 * torch.randn(2, 5, 64, generator=generator) + 7
    none = torch.zeros(2, 1, 64)
    out = modulated_norm(x, none, none)
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(-1, unbiased=False), torch.ones(2, 5), rtol=1e-5, atol=0)


def test_shift_and_scale_are_those_of_the_sample(generator):
    x = torch.randn(2, 3, 8, generator=generator)
    shift, scale = torch.randn(2, 2, 1, 8, generator=generator)
    none = torch.zeros(2, 1, 8)
    normal = modulated_norm(x, none, none)
    torch.testing.assert_close(
        modulated_norm(x, shift, scale)[1], normal[1] * (1 + scale[1]) + shift[1]
    )


def test_gradients_are_those_of_finite_differences(generator):
    inputs = tuple(
        torch.randn(2, n, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (3, 1, 1)
    )
    assert torch.autograd.gradcheck(modulated_norm, inputs)


def last_operation(width, dtypes):
    """Return the name of the output's autograd node; fake CUDA tensors need no GPU."""
    with FakeTensorMode():
        x, shift, scale = (
            torch.empty(2, n, width, dtype=dtype, device="cuda", requires_grad=True)
            for n, dtype in zip((3, 1, 1), dtypes, strict=True)
        )
        out = modulated_norm(x, shift, scale)
    assert out.shape == x.shape and out.grad_fn is not None
    return out.grad_fn.name(), out.dtype


HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("dtypes", "out"),
    [((HALF, HALF, HALF), HALF), ((HALF, SINGLE, SINGLE), SINGLE), ((SINGLE, HALF, HALF), SINGLE)],
)
def test_a_gpu_runs_the_kernels(dtypes, out):
    pytest.importorskip("triton")
    name, dtype = last_operation(2240, dtypes)
    assert "lsr_modulated_norm" in name and dtype == out


@pytest.mark.parametrize(
    ("width", "dtypes"), [(WIDEST + 1, (HALF, HALF, HALF)), (8, (DOUBLE, DOUBLE, DOUBLE))]
)
def test_what_the_kernels_cannot_take_is_left_to_pytorch(width, dtypes):
    assert "lsr" not in last_operation(width, dtypes)[0]


def test_a_modulation_of_other_samples_is_refused():
    with pytest.raises(AssertionError):
        modulated_norm(torch.zeros(2, 3, 4), torch.zeros(1, 1, 4), torch.zeros(2, 1, 4))


def test_a_sample_alone_has_the_result_that_it_has_among_others(generator):
    x = torch.randn(2, 7, 24, generator=generator)
    shift, scale = torch.randn(2, 2, 1, 24, generator=generator)
    together = modulated_norm(x, shift, scale)
    for i in range(2):
        alone = modulated_norm(x[i : i + 1], shift[i : i + 1], scale[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-5, atol=1e-5)
