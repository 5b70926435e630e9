"""The kernels are compiled for GPUs that need not be there: what each takes of a multiprocessor is read from the machine code."""

import re
import subprocess

import pytest
import torch

from lsr.ops.linear_attention.launch import INTERPRETED, tiling_for

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET is set: nothing is compiled")

# Bytes of shared memory that a block may have.
SHARED_MEMORY = {90: 227 * 1024, 80: 163 * 1024}
# Bytes per thread on the stack, which is where registers are spilled to; 0 for what is not listed.
STACK = {
    (90, 128, "bfloat16", "grad_queries"): 128,
    (90, 128, "float32", "grad_queries"): 256,
    (80, 32, "bfloat16", "grad_queries"): 64,
    (80, 128, "bfloat16", "grad_queries"): 896,
}


@pytest.fixture(autouse=True)
def _own_triton_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compile_for(capability, kernel, constants, dtype, options):
    """Compile as a launch with aligned pointers and strides would."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    short = {"bfloat16": "*bf16", "float16": "*fp16", "float32": "*fp32"}[dtype]
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.startswith(("s_", "z_", "ds_", "dz_")):
            signature[name] = "*fp32"
        elif name in ("eps", "mean"):
            signature[name] = "fp32"
        else:
            counted = "_" in name or name in ("tokens", "chunk", "parts")
            signature[name] = "i32" if counted else short
    aligned = [i for i, (name, kind) in enumerate(signature.items()) if kind[0] == "*" or re.search("_[bna]$|chunk", name)]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(i,): constants[name] for i, name in enumerate(kernel.arg_names) if name in constants},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def stack_bytes(compiled, path):
    path.write_bytes(compiled.asm["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    return int(found[2])


@pytest.mark.parametrize(
    ("capability", "dim", "dtype"),
    [(90, 32, "bfloat16"), (90, 64, "bfloat16"), (90, 128, "bfloat16"), (80, 32, "bfloat16"), (80, 64, "bfloat16"), (80, 128, "bfloat16")]
    + [(90, 32, "float16"), (90, 128, "float32")],
)
def test_the_kernels_compile_and_fit(capability, dim, dtype, tmp_path):
    from lsr.ops.linear_attention import kernels

    tiling = tiling_for(dim, getattr(torch, dtype))
    constants = {"heads": tiling.heads, "dim": dim, "padded": triton.next_power_of_2(dim), "block": tiling.block}
    constants["operand"] = getattr(triton.language, dtype)
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
    launches = [("sum_keys_values", {}), ("attend", {}), ("grad_queries", {})]
    launches += [("grad_keys_values", gradients) for gradients in tiling.launches_of_keys_values]
    for name, gradients in launches:
        compiled = compile_for(capability, getattr(kernels, name), constants | gradients, dtype, options)
        assert compiled.metadata.shared <= SHARED_MEMORY[capability], name
        assert stack_bytes(compiled, tmp_path / "kernel.cubin") <= STACK.get((capability, dim, dtype, name), 0), name
        if capability == 90 and dtype != "float32":
            assert "wgmma.mma_async" in compiled.asm["ptx"], f"{name} does not use Hopper's matrix instructions"
