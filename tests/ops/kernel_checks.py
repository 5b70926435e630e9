"""What the tests of all kernels ask of a result and of the place where they run."""

import warnings

import pytest
import torch


def let_memory_start_as_nan():
    """So that what is allocated and not written is seen."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all() and torch.zeros(1).new_empty(3).isnan().all()


def require_gpu(kernels):
    """Skip where there is no GPU, and say so among the warnings of the run."""
    if not torch.cuda.is_available():
        reason = f"{kernels} kernels NOT run on a GPU: this machine has none"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


def assert_close(actual, expected, tolerance, scale=0.0, name=""):
    """Hold the Frobenius norm of the difference below `tolerance` times that of `expected`, or times `scale` if that is larger."""
    size = max(expected.norm().item(), scale)
    error = (actual.double() - expected).norm().item()
    assert error <= tolerance * size, f"{name} {error:.2e} of {size:.2e}"
