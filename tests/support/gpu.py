"""Tests that need a GPU say so loudly where there is none."""

import warnings

import pytest
import torch


def require_gpu(what):
    """Skip where there is no GPU, and say so among the warnings of the run."""
    if not torch.cuda.is_available():
        reason = f"{what} NOT run on a GPU: this machine has none"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
