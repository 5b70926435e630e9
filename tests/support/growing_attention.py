"""A real LinearSRModule whose keys grow at every step, as in long training, but fast."""

from dataclasses import replace

import lightning as L
import torch

from lsr.models.attention_health import attentions
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig
from support.tiny import TINY, SyntheticPairs


class Growing(LinearSRModule):
    """Its W_k grows by a factor at every step, as in long training, but fast."""

    def __init__(self, growth=1.0) -> None:
        torch.manual_seed(0)
        super().__init__(
            replace(TINY, context_dim=0),
            OptimizerConfig(lr=1e-4, warmup_steps=1),
            val_metrics=("psnr_y",),
        )
        self.growth = growth

    def on_train_batch_end(self, *_):
        for attention in attentions(self.denoiser).values():
            width = attention.qkv.in_features
            attention.qkv.weight.data[width : 2 * width] *= self.growth


def fit(folder, module, callbacks, steps=6, every=2, **options):
    training, validation = (
        torch.utils.data.DataLoader(SyntheticPairs(), batch_size=size) for size in (2, 8)
    )
    trainer = L.Trainer(
        **{"logger": False, "num_sanity_val_steps": 0} | options,
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        callbacks=callbacks,
        accelerator="cpu",
        val_check_interval=every,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, training, validation)
    return trainer
