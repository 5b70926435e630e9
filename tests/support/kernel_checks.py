"""What the tests of all kernels ask of memory and of a result."""

import torch


def let_memory_start_as_nan():
    """So that what is allocated and not written is seen."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all() and torch.zeros(1).new_empty(3).isnan().all()


def guarded(shape):
    """Memory of NaN for a result, and what lies behind it, which nothing may be written to."""
    size = torch.Size(shape).numel()
    memory = torch.full((size + 64,), torch.nan)
    return memory[:size].view(shape), memory[size:]


def assert_close(actual, expected, tolerance, scale=0.0, name=""):
    """Assert that the Frobenius norm of the difference is at most `tolerance * max(norm, scale)`.

    `norm` is the Frobenius norm of `expected`.
    """
    size = max(expected.norm().item(), scale)
    error = (actual.double() - expected).norm().item()
    assert error <= tolerance * size, f"{name} {error:.2e} of {size:.2e}"
