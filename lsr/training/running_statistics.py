"""Keep and restore the running statistics of a network's normalisation layers."""

import torch
from torch import Tensor, nn


class RunningStatistics:
    """The statistics that normalisation layers collect in forward passes, as BatchNorm does.

    A batch with NaN spoils them before its gradients are known. So a step that is not taken needs
    those of before its batches.

    Args:
        module: Module whose layers are searched.
    """

    def __init__(self, module: nn.Module) -> None:
        layers = [layer for layer in module.modules() if hasattr(layer, "running_mean")]
        self._live: list[Tensor] = [b for layer in layers for b in layer.buffers(recurse=False)]
        self._kept: list[Tensor] = [buffer.clone() for buffer in self._live]

    def keep(self) -> None:
        """Remember the current statistics."""
        self._copy(self._live, self._kept)

    def restore(self) -> None:
        """Set the layers back to the statistics remembered last."""
        self._copy(self._kept, self._live)

    @staticmethod
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        if not source:
            return
        with torch.no_grad():
            torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
                target, source
            )
