"""An ordinary LightningModule, as somebody else would write it, whose training can be spoilt."""

import math

import lightning as L
import torch
from torch import nn


class Plain(L.LightningModule):
    """A linear regression with BatchNorm. `spoil` names what becomes NaN at a step, on a rank."""

    def __init__(self, spoil=None, at=5, rank=0, manual=False) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.automatic_optimization = not manual
        self.spoil = spoil
        self.at = at
        self.rank = rank
        self.weights = []

    def is_now(self, what):
        here = self.global_rank == self.rank
        return self.spoil == what and self.global_step == self.at and here

    def training_step(self, batch, batch_idx):
        self.weights.append(self.net[0].weight.detach().clone())
        x = batch["x"] * math.nan if self.is_now("input") else batch["x"]
        loss = self.net(x).square().mean() + 1
        loss = loss * math.nan if self.is_now("loss") else loss
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return None
        return loss

    def on_after_backward(self):
        if self.is_now("gradient"):
            self.net[2].bias.grad[0] = math.nan

    def on_train_batch_end(self, *_):
        if self.is_now("weight"):
            self.net[0].weight.data[0, 0] = math.nan

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return {"x": torch.randn(4, generator=generator), "path": f"{i}.png", "index": i}


def loader(batch_size=2):
    return torch.utils.data.DataLoader(Samples(), batch_size=batch_size)


def fit(folder, module, *callbacks, steps=8, ckpt_path=None, batch_size=2, **options):
    trainer = L.Trainer(
        **{"default_root_dir": folder, "max_steps": steps, "accelerator": "cpu"} | options,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader(batch_size), ckpt_path=ckpt_path)
    return trainer
