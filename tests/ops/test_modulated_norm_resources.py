"""Compile the kernels for GPUs that need not be there and read their resources from the code."""

import pytest
from support.cross_compilation import POINTER, SHARED_MEMORY, compile_for, registers_and_stack

from lsr.ops.kernel_support import INTERPRETED
from lsr.ops.modulated_norm.dispatch import WIDEST

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET is set: nothing is compiled")

# With more registers per thread a program of sixteen warps would fill a multiprocessor by itself.
REGISTERS = 128


@pytest.fixture(autouse=True)
def _own_triton_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("capability", "dtype", "width"),
    [
        (90, "bfloat16", 1152),
        (90, "bfloat16", 2240),
        (90, "float16", 2240),
        (90, "float32", WIDEST),
        (80, "bfloat16", 2240),
    ],
)
def test_the_kernels_compile_fit_and_spill_nothing(capability, dtype, width, tmp_path):
    from lsr.ops.modulated_norm import kernels, launch

    constants = launch.constants_for(width)
    options = {"num_warps": constants.pop("num_warps")}
    types = dict.fromkeys(("shift_b", "scale_b", "tokens", "width", "run"), "i32") | {
        "sums": "*fp32",
        "eps": "fp32",
    }
    types |= dict.fromkeys(("x", "shift", "scale", "out", "grad", "dx"), POINTER[dtype])
    for kernel in (kernels.normalise_and_modulate, kernels.grad_normalised):
        compiled = compile_for(capability, kernel, types, constants, options, ("tokens", "run"))
        registers, stack = registers_and_stack(compiled, tmp_path / "kernel.cubin")
        assert stack == 0 and registers <= REGISTERS, (
            f"{kernel.__name__}: {registers} registers, {stack} bytes of stack"
        )
        assert compiled.metadata.shared <= SHARED_MEMORY[capability]
        assert "ld.global.v4.b32" in compiled.asm["ptx"]
