"""Compile the kernels for GPUs that need not be there and read their resources from the code."""

import pytest
from support.cross_compilation import POINTER, SHARED_MEMORY, compile_for, registers_and_stack

from lsr.ops.glu_conv.launch import Tiling
from lsr.ops.kernel_support import INTERPRETED

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET is set: nothing is compiled")

# With at most 168 registers per thread, three programs of four warps fit in the 65536 registers of
# a multiprocessor.
REGISTERS = 168


@pytest.fixture(autouse=True)
def _own_triton_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("capability", "dtype"), [(90, "bfloat16"), (90, "float16"), (90, "float32"), (80, "bfloat16")]
)
def test_the_kernels_compile_fit_and_spill_nothing(capability, dtype, tmp_path):
    from lsr.ops.glu_conv import kernels

    tiling = Tiling()
    constants = {"rows": tiling.rows, "width": tiling.width, "channels": tiling.channels}
    types = dict.fromkeys(
        ("image_rows", "image_columns", "features", "all_channels", "strips", "run"), "i32"
    ) | {"sums": "*fp32"}
    types |= dict.fromkeys(("hidden", "taps", "bias", "grad", "out", "d_hidden"), POINTER[dtype])
    launches = [
        (kernels.gated_convolution, {"gradient": False}),
        (kernels.gated_convolution, {"gradient": True}),
    ]
    for kernel, more in [*launches, (kernels.grad_convolution, {})]:
        unaligned = ("image_rows", "image_columns", "strips", "run")
        compiled = compile_for(
            capability, kernel, types, constants | more, {"num_warps": tiling.warps}, unaligned
        )
        registers, stack = registers_and_stack(compiled, tmp_path / "kernel.cubin")
        assert stack == 0 and registers <= REGISTERS, (
            f"{kernel.__name__} {more}: {registers} registers, {stack} bytes of stack"
        )
        assert compiled.metadata.shared <= SHARED_MEMORY[capability]
        vector = "v4" if dtype == "float32" else "v2"
        assert (
            f"ld.global.{vector}.b32" in compiled.asm["ptx"]
            and "ld.global.b16" not in compiled.asm["ptx"]
        )
