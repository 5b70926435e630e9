"""Strategies that hide weights or gradients, as DeepSpeed does."""

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy


class StepsCopies(SingleDeviceStrategy):
    """Its optimiser steps copies of the weights."""

    def setup(self, trainer):
        super().setup(trainer)
        for group in self.optimizers[0].param_groups:
            group["params"] = [torch.zeros(1) for _ in group["params"]]
