"""Shard the weights over the ranks (FSDP).

Each rank holds a part of every weight, and the same part of its gradient, its moments in the
optimiser and its average. Sharded weights are `DTensor`s with unchanged names. Checkpoints hold
full tensors, as under any other strategy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from lsr.distributed.tensors import gather, load_whole, part_of


class ShardedStrategy(ModelParallelStrategy):
    """Strategy that shards the weights over all ranks: `--trainer.strategy sharded`.

    The checkpoint plugin of the trainer writes one file on rank 0. DDP or a single device can
    continue from it, and this strategy can continue from theirs.

    Args:
        process_group_backend: Backend of torch.distributed, such as "nccl"; None takes the default
            of the device.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """Set up the processes and use all ranks of all nodes for data parallelism."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether the trainer passes optimiser states to `load_optimizer_state_dict`: always."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the full weights on rank 0, see `gather`."""
        assert self.lightning_module is not None
        return gather(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state dict of the optimiser with full tensors on rank 0, see `gather`."""
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        found = optimizer.state_dict()
        return found | {"state": {i: gather(moments) for i, moments in found["state"].items()}}

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint on every rank."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the full weights of a checkpoint: each rank takes its part of them."""
        assert self.lightning_module is not None
        load_whole(self.lightning_module, checkpoint["state_dict"], strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the full moments of a checkpoint: each rank takes its part of them."""
        for optimizer, found in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            # Moments have the shape of their weight and are sharded like it; step counts are not.
            parts = {
                i: {
                    name: part_of(value, weights[i]) if value.shape == weights[i].shape else value
                    for name, value in moments.items()
                }
                for i, moments in found["state"].items()
            }
            optimizer.load_state_dict(found | {"state": parts})

    def on_validation_start(self) -> None:
        """Check that all ranks validate on the same number of images.

        Every evaluation of the model gathers weights from all ranks, so a rank with more images
        would wait for ever for the others.

        Raises:
            ValueError: On every rank, if the numbers differ.
        """
        assert self.lightning_module is not None
        images = [
            len(loader.dataset)
            for loader in tree_leaves(self.lightning_module.trainer.val_dataloaders)
        ]
        if not self.reduce_boolean_decision(images == self.broadcast(images)):
            raise ValueError(
                "--trainer.strategy sharded needs the same number of validation images on every "
                "device: set max_images to a multiple of the number of devices"
            )


def check_strategy(strategy: Strategy) -> None:
    """Check that the strategy shards weights in the supported way, or not at all.

    Averages of the weights, gradient norms and checkpoints support `ShardedStrategy` only. It
    cannot train with float16: each rank would choose the loss scale by the gradients of its own
    part, and the ranks might disagree.

    Raises:
        ValueError: If the strategy is not supported.
    """
    if isinstance(strategy, FSDPStrategy) or (
        isinstance(strategy, ModelParallelStrategy) and not isinstance(strategy, ShardedStrategy)
    ):
        raise ValueError(
            f"{type(strategy).__name__} is not supported: use --trainer.strategy sharded, "
            "which shards the weights over all ranks"
        )
    if (
        isinstance(strategy, ShardedStrategy)
        and getattr(strategy.precision_plugin, "scaler", None) is not None
    ):
        raise ValueError(
            "--trainer.strategy sharded cannot train with --trainer.precision 16-mixed (each rank "
            "would scale its gradients differently): use bf16-mixed"
        )


def shard(denoisers: Sequence[Any], mesh: DeviceMesh) -> None:
    """Shard the weights of rank 0 over all ranks, block by block.

    A rank gathers the full weights of a block when it computes the block. Each expert is sharded
    separately, so an expert that does not take part in a step is not gathered. Nothing happens if
    the model is sharded already.

    Args:
        denoisers: Denoisers of the model, see `lsr.models.denoiser.Denoiser.denoisers`.
        mesh: Device mesh of one dimension with all ranks.
    """
    if isinstance(next(denoisers[0].parameters()), DTensor):
        return
    for denoiser in denoisers:
        for block in denoiser.net.blocks:
            attention = getattr(block, "cross_attention", None)
            # A unit of their own, because sampling calls them outside the block, once per image.
            if attention is not None:
                _shard([attention.kv, attention.norm_k], mesh)
            _shard([block], mesh)
        _shard([denoiser], mesh)


def _shard(modules: list[Any], mesh: DeviceMesh) -> None:
    """Shard modules as one unit, whose weights are gathered together."""
    for module in modules:
        module.to(mesh.device_type)
        for tensor in (*module.parameters(), *module.buffers()):
            if not isinstance(tensor, DTensor):
                torch.distributed.broadcast(tensor.detach(), 0)
    # By default FSDP leaves the outermost module gathered after its forward pass. Its weights would
    # then be plain tensors, and code that swaps in averaged weights for a validation expects
    # `DTensor`s.
    fully_shard(modules if len(modules) > 1 else modules[0], mesh=mesh, reshard_after_forward=True)
