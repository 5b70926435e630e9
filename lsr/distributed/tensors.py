"""What is done with tensors that may be spread over the ranks as `DTensor`s; those that are whole pass through as they are."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a sharded tensor whole on every rank, which all must ask for; another one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whole: sharded ones on rank 0 alone, on the CPU, one after the other; all ranks must ask. Others as they are."""
    found = {}
    for name, tensor in named.items():
        complete = whole(tensor)
        if complete is tensor:
            found[name] = tensor
        elif torch.distributed.get_rank() == 0:
            found[name] = complete.cpu()
    return found


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of `tensor`, which every rank has whole, where `like` is sharded; else `tensor` as it is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(
        tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def load_whole(
    module: nn.Module, weights: Mapping[str, Tensor], strict: bool = True, assign: bool = False
) -> None:
    """Load whole weights into a module, sharded or not.

    Raises:
        RuntimeError: If they do not fit.
    """
    own = module.state_dict()
    module.load_state_dict(
        {name: part_of(weight, own.get(name, weight)) for name, weight in weights.items()},
        strict,
        assign,
    )


def own_part(tensor: Tensor) -> Tensor:
    """Return what this rank has of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def on_all_ranks(flags: Tensor, like: Tensor) -> Tensor:
    """Return where flags (N,) hold on every rank, if `like` is sharded; else the flags as they are."""
    if not isinstance(like, DTensor):
        return flags
    agreed = flags.int()
    torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MIN)
    return agreed.bool()
