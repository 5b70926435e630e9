"""Compile the kernels for GPUs that need not be there and read their resources from the code."""

import re

import pytest
import torch
from support.cross_compilation import POINTER, SHARED_MEMORY, compile_for, registers_and_stack

from lsr.ops.kernel_support import INTERPRETED
from lsr.ops.linear_attention.launch import tiling_for

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET is set: nothing is compiled")

# Limits in bytes of stack per thread, which is where registers are spilled to; 0 if not listed.
STACK = {
    (90, 128, "bfloat16", "grad_queries"): 128,
    (90, 128, "float32", "grad_queries"): 256,
    (80, 32, "bfloat16", "grad_queries"): 64,
    (80, 128, "bfloat16", "grad_queries"): 896,
}


@pytest.fixture(autouse=True)
def _own_triton_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def types_of(kernel, dtype):
    """Return the types of all arguments, and the names of those that are not multiples of 16."""
    types, unaligned = {}, []
    for name in kernel.arg_names:
        if name.startswith(("s_", "z_", "ds_", "dz_")):
            types[name] = "*fp32"
        elif name in ("eps", "mean"):
            types[name] = "fp32"
        elif "_" in name or name in ("tokens", "chunk", "parts"):
            types[name] = "i32"
            if not re.search("_[bna]$|chunk", name):
                unaligned.append(name)
        else:
            types[name] = POINTER[dtype]
    return types, unaligned


@pytest.mark.parametrize(
    ("capability", "dim", "dtype"),
    [
        (90, 32, "bfloat16"),
        (90, 64, "bfloat16"),
        (90, 128, "bfloat16"),
        (80, 32, "bfloat16"),
        (80, 64, "bfloat16"),
        (80, 128, "bfloat16"),
    ]
    + [(90, 32, "float16"), (90, 128, "float32")],
)
def test_the_kernels_compile_and_fit(capability, dim, dtype, tmp_path):
    from lsr.ops.linear_attention import backward_kernels, forward_kernels

    tiling = tiling_for(dim, getattr(torch, dtype))
    constants = {
        "heads": tiling.heads,
        "dim": dim,
        "padded": triton.next_power_of_2(dim),
        "block": tiling.block,
    }
    constants["operand"] = getattr(triton.language, dtype)
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
    launches = [
        (forward_kernels.sum_keys_values, {}),
        (forward_kernels.attend, {}),
        (backward_kernels.grad_queries, {}),
    ]
    for gradients in tiling.launches_of_keys_values:
        launches.append((backward_kernels.grad_keys_values, gradients))
    for kernel, gradients in launches:
        name = kernel.__name__
        types, unaligned = types_of(kernel, dtype)
        compiled = compile_for(capability, kernel, types, constants | gradients, options, unaligned)
        assert compiled.metadata.shared <= SHARED_MEMORY[capability], name
        assert registers_and_stack(compiled, tmp_path / "kernel.cubin")[1] <= STACK.get(
            (capability, dim, dtype, name), 0
        ), name
        if capability == 90 and dtype != "float32":
            assert "wgmma.mma_async" in compiled.asm["ptx"], (
                f"{name} does not use Hopper's matrix instructions"
            )
