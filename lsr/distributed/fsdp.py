"""Weights spread over the ranks (FSDP): each holds a part of every weight and of its gradient, moments and average.

Such weights are `DTensor`s under the names that they have otherwise. Checkpoints hold them whole, as under any other strategy.
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
    """Spreads the weights over all ranks; `--trainer.strategy sharded`.

    Checkpoints go through the trainer's checkpoint plugin: one file, written by rank 0, that DDP or a single device can continue
    from, and the other way round.

    Args:
        process_group_backend: As of torch.distributed; None takes what suits the device.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            "auto",
            1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """Take all ranks."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether the trainer is to hand over the state of the optimiser."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the weights whole, see `gather`."""
        assert self.lightning_module is not None
        return gather(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of the optimiser whole, see `gather`, in the form of its own `state_dict`."""
        found = (
            optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        ).state_dict()
        return found | {"state": {i: gather(moments) for i, moments in found["state"].items()}}

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the file on every rank."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this rank's part of whole weights."""
        assert self.lightning_module is not None
        load_whole(self.lightning_module, checkpoint["state_dict"], strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this rank's part of whole moments."""
        for optimizer, found in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                i: {
                    name: part_of(value, weights[i]) if value.shape == weights[i].shape else value
                    for name, value in moments.items()
                }
                for i, moments in found["state"].items()
            }
            optimizer.load_state_dict(found | {"state": parts})

    def on_validation_start(self) -> None:
        """Refuse validations in which a rank would wait for ever for the weights of others that have fewer images.

        Raises:
            ValueError: On every rank, if they do not have as many.
        """
        assert self.lightning_module is not None
        images = [
            len(loader.dataset)
            for loader in tree_leaves(self.lightning_module.trainer.val_dataloaders)
        ]
        if not self.reduce_boolean_decision(images == self.broadcast(images)):
            raise ValueError(
                "with sharded weights every rank needs as many validation images: let max_images be a multiple of the devices"
            )


def check_strategy(strategy: Strategy) -> None:
    """Refuse to be sharded in ways that averages, gradient norm and checkpoints do not see, or on which ranks may not agree.

    Raises:
        ValueError: If the strategy is one.
    """
    if isinstance(strategy, FSDPStrategy) or (
        isinstance(strategy, ModelParallelStrategy) and not isinstance(strategy, ShardedStrategy)
    ):
        raise ValueError(
            f"{type(strategy).__name__} is not supported: --trainer.strategy sharded spreads the weights over all ranks"
        )
    if (
        isinstance(strategy, ShardedStrategy)
        and getattr(strategy.precision_plugin, "scaler", None) is not None
    ):
        raise ValueError(
            "each rank would scale the gradients of its part for itself: use --trainer.precision bf16-mixed, not 16-mixed"
        )


def shard(denoisers: Sequence[Any], mesh: DeviceMesh) -> None:
    """Spread the weights that rank 0 has over a mesh of one dimension, block by block: a rank gathers a block when it comes to it.

    Experts are apart from each other: one that does not take part in a step is not gathered. A model that is sharded stays as it is.

    Args:
        denoisers: The denoisers of the model, see `lsr.models.denoiser.Denoiser.denoisers`.
        mesh: The ranks.
    """
    if isinstance(next(denoisers[0].parameters()), DTensor):
        return
    for denoiser in denoisers:
        for block in denoiser.net.blocks:
            attention = getattr(block, "cross_attention", None)
            if (
                attention is not None
            ):  # these are asked for outside of the block too, once per image
                _shard([attention.kv, attention.norm_k], mesh)
            _shard([block], mesh)
        _shard([denoiser], mesh)


def _shard(modules: list[Any], mesh: DeviceMesh) -> None:
    for module in modules:
        module.to(mesh.device_type)
        for tensor in (*module.parameters(), *module.buffers()):
            if not isinstance(tensor, DTensor):
                torch.distributed.broadcast(tensor.detach(), 0)
    # Left gathered after its last call, the outermost would be plain tensors to whoever exchanges weights in a validation.
    fully_shard(modules if len(modules) > 1 else modules[0], mesh=mesh, reshard_after_forward=True)
