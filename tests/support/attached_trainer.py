"""A stand-in for the trainer that a DataModule reads."""

from types import SimpleNamespace

import torch


def attach(data, rank=0, world=1, batches=0):
    """What the DataModule reads of a trainer, without running one."""
    progress = SimpleNamespace(total=SimpleNamespace(processed=batches))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        fit_loop=loop,
        strategy=strategy,
        lightning_module=None,
        overfit_batches=0.0,
        limit_train_batches=1.0,
        max_steps=10,
        max_epochs=-1,
    )
    return data
