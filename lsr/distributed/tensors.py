"""Gather, divide and load tensors that may be sharded over the ranks.

Sharded tensors are `DTensor`s. Every function also accepts ordinary tensors and leaves them alone,
so that its callers need not know whether the weights are sharded.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

_foreach_norm = torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one. All ranks must call this, and each gets it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the full tensors of sharded ones on the CPU of rank 0. All ranks must call this.

    Other ranks get no entry for a sharded tensor. The tensors are gathered one after another, so a
    GPU holds only one full tensor at a time. Tensors that are not sharded are returned unchanged on
    every rank.
    """
    found = {}
    for name, tensor in named.items():
        complete = whole(tensor)
        if complete is tensor:
            found[name] = tensor
        elif torch.distributed.get_rank() == 0:
            found[name] = complete.cpu()
    return found


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Return `tensor` sharded in the same way as `like`.

    Args:
        tensor: Full tensor, which every rank has.
        like: Tensor that is sharded or not.

    Returns:
        `DTensor` with the part of this rank; `tensor` itself if `like` is not sharded or `tensor`
        is sharded already.
    """
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(
        tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def load_whole(
    module: nn.Module, weights: Mapping[str, Tensor], strict: bool = True, assign: bool = False
) -> None:
    """Load full weights into a module, whose own weights may be sharded.

    Args:
        module: The module.
        weights: Full weights by name, the same on every rank.
        strict: Whether missing and additional names are errors, as in `load_state_dict`.
        assign: Whether the module takes the tensors themselves instead of copying their values.

    Raises:
        RuntimeError: If names or shapes do not fit.
    """
    own = module.state_dict()
    module.load_state_dict(
        {name: part_of(weight, own.get(name, weight)) for name, weight in weights.items()},
        strict,
        assign,
    )


def own_part(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank holds, as a view of the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def numbers_of(tensor: Tensor) -> Tensor:
    """Return the numbers in this rank's part of a tensor, for norms and tests of finiteness.

    Sparse and complex tensors and those of 8-bit floating point, for which PyTorch has no such
    functions, become dense real tensors. All others are returned as they are.
    """
    part = own_part(tensor)
    if part.is_sparse:
        part = part.coalesce().values()
    if part.is_complex():
        part = torch.view_as_real(part.resolve_conj())
    return part.float() if part.is_floating_point() and part.itemsize == 1 else part


def norms_of(tensors: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of this rank's part of each of N > 0 tensors, (N,) float32.

    The result is on the device of the first tensor. A norm above float32's range is infinite.
    """
    if {type(each) for each in tensors} <= {Tensor, nn.Parameter}:
        try:
            return torch.stack(_foreach_norm(tensors, 2, torch.float32))
        except RuntimeError:
            pass  # a tensor has to be converted; to look for it first would take longer
    parts = [numbers_of(each) for each in tensors]
    widest = torch.float64 if any(p.dtype == torch.float64 for p in parts) else torch.float32
    norms = _foreach_norm(parts, 2, widest)
    return torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms])


def several_processes() -> bool:
    """Return whether this process is a rank of a distributed run."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def on_all_ranks(flags: Tensor) -> Tensor:
    """Return which flags (N,), bool, are True on every rank. All ranks must call this.

    Without a process group these are the flags themselves.
    """
    if not several_processes() or torch.distributed.get_world_size() == 1:
        return flags
    # The minimum of 0 and 1 over the ranks is the logical and.
    agreed = flags.int()
    torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MIN)
    return agreed.bool()
