"""Compare the Triton kernels with PyTorch on small inputs: `python -m lsr.ops.kernel_check`.

On a GPU the compiled kernels run, elsewhere Triton's interpreter. `lsr doctor` starts this in a
process of its own: the interpreter must be chosen before a kernel is defined, and a kernel that
hangs can be ended.
"""

import os
import sys

import torch
from torch import Tensor

_TOLERANCE = 1e-3
"""Largest relative error: rounding is far below it, a kernel that computes something else above."""


def main() -> int:
    """Print one line, and return 1 if a kernel is wrong."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    from lsr.ops.kernel_support import HAVE_TRITON

    if not HAVE_TRITON:
        sys.stdout.write("Triton is not installed: PyTorch computes in place of the kernels\n")
        return 0
    errors = _errors(device)
    where = f"on {torch.cuda.get_device_name()}" if device.type == "cuda" else "in its interpreter"
    wrong = [f"{name} (by {error:.0e})" for name, error in errors.items() if not error < _TOLERANCE]
    told = f"wrong: {', '.join(wrong)}" if wrong else f"right: {', '.join(errors)}"
    sys.stdout.write(f"{where} these kernels are {told}\n")
    return 1 if wrong else 0


def _errors(device: torch.device) -> dict[str, float]:
    """Return the relative error of each kernel's forward pass."""
    from lsr.ops.glu_conv.dispatch import glu_conv
    from lsr.ops.glu_conv.reference import glu_conv_reference
    from lsr.ops.linear_attention.dispatch import linear_attention
    from lsr.ops.linear_attention.reference import linear_attention_reference
    from lsr.ops.modulated_norm.dispatch import modulated_norm
    from lsr.ops.modulated_norm.reference import modulated_norm_reference

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    q, k, v = draw(1, 9, 2, 16), draw(1, 9, 2, 16), draw(1, 9, 2, 16)
    image = draw(1, 4, 5, 16), draw(16, 1, 3, 3), draw(16)
    tokens = draw(2, 5, 20), draw(2, 1, 20), draw(2, 1, 20)
    return {
        "linear attention": _error(
            linear_attention((q, k, v)), linear_attention_reference(q, k, v)
        ),
        "gated convolution": _error(glu_conv(*image), glu_conv_reference(*image)),
        "modulated norm": _error(modulated_norm(*tokens), modulated_norm_reference(*tokens)),
    }


def _error(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


if __name__ == "__main__":
    sys.exit(main())
