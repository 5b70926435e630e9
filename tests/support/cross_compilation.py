"""Compile a Triton kernel for a GPU that is not here and read its registers and spills."""

import re
import subprocess

# Bytes of shared memory that a block may have.
SHARED_MEMORY = {90: 227 * 1024, 80: 163 * 1024}
POINTER = {"bfloat16": "*bf16", "float16": "*fp16", "float32": "*fp32"}


def compile_for(capability, kernel, types, constants, options, unaligned=()):
    """Compile a kernel as a launch would.

    `types` are the types of the arguments that are no constants. All of them are taken as
    multiples of 16, except the arguments in `unaligned`.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {
        name: "constexpr" if name in constants else types[name] for name in kernel.arg_names
    }
    aligned = [
        i
        for i, (name, kind) in enumerate(signature.items())
        if kind not in ("constexpr", "fp32") and name not in unaligned
    ]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={
            (i,): constants[name] for i, name in enumerate(kernel.arg_names) if name in constants
        },
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def registers_and_stack(compiled, path):
    """Registers and bytes of stack of a thread; the stack is where registers are spilled to."""
    import triton

    path.write_bytes(compiled.asm["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    return int(found[1]), int(found[2])
