import sys

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.plugins import MixedPrecision
from support.knee_folder import SMALL, publish_knee
from support.tiny import TINY

from callbacks import EMA, DivergenceGuard
from lsr.experts.config import ExpertsConfig
from lsr.training.gradients import clip_gradients
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig


class Seen(LinearSRModule):
    """Remembers the gradients that the optimiser gets."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(TINY, OptimizerConfig(lr=1e-3, warmup_steps=1))
        self.largest = []
        self.losses = []

    def optimizer_step(self, *arguments, **keywords):
        super().optimizer_step(*arguments, **keywords)
        parts = [p.grad.flatten() for p in self.parameters() if p.grad is not None]
        if parts:
            self.largest.append(torch.cat(parts).abs().max().item())

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        return loss


def fit(folder, module, loader, *callbacks, steps=3, **options):
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        callbacks=list(callbacks),
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, loader)


@pytest.mark.parametrize("algorithm", [None, "norm", "value"])
def test_gradients_are_clipped_as_the_trainer_is_told(tmp_path, loader, algorithm):
    module = Seen()
    limit = {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": algorithm}
    fit(tmp_path, module, loader, **limit)
    if algorithm == "value":
        assert module.largest == pytest.approx([1e-4] * 3)
    else:
        assert max(module.largest) < 0.9e-4, "a part of the norm"


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_a_limit_that_is_no_norm_is_refused(tmp_path, loader, limit):
    with pytest.raises(ValueError, match=f"gradient_clip_val must be at least 0, not {limit}"):
        fit(tmp_path, Seen(), loader, gradient_clip_val=limit)


class Scales(L.Callback):
    """Changes the gradients before the clipping: they become a hundred times as large."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                parameter.grad.data.mul_(100)


class ScalesItself(Seen):
    def on_before_optimizer_step(self, optimizer):
        Scales().on_before_optimizer_step(self.trainer, self, optimizer)


class ClipsItself(Seen):
    def configure_gradient_clipping(self, optimizer, *arguments, **keywords):
        Scales().on_before_optimizer_step(self.trainer, self, optimizer)
        super().configure_gradient_clipping(optimizer, *arguments, **keywords)


class StepsItself(Seen):
    """Takes its optimiser steps itself, and clips before each of them."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        clip_gradients(self, optimizer.optimizer, 1e-4, "norm")
        optimizer.step()


def clipped(folder, module, loader, *callbacks, **options):
    """Return the largest gradient of each step after the clipping, and the weights at the end."""
    limit = 1e-4 if module.automatic_optimization else None
    fit(folder, module, loader, *callbacks, gradient_clip_val=limit, **options)
    return [*module.largest, *module.state_dict().values()]


@pytest.fixture
def measured(monkeypatch):
    """Collects the norms that the clipping measures itself."""
    norms = []
    measure = torch.nn.utils.get_total_norm

    def recording(*arguments, **keywords):
        norms.append(measure(*arguments, **keywords))
        return norms[-1]

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", recording)
    return norms


def test_the_clipping_does_not_measure_a_norm_again_that_the_guard_has_measured(
    tmp_path, loader, measured
):
    guarded = clipped(tmp_path, Seen(), loader, Scales(), DivergenceGuard())
    assert not measured
    alone = clipped(tmp_path, Seen(), loader, Scales())
    assert len(measured) == 3
    assert all(map(torch.equal, map(torch.as_tensor, guarded), map(torch.as_tensor, alone)))


@pytest.mark.parametrize(
    ("kind", "later"),
    [
        (Seen, [Scales()]),
        (Seen, [LambdaCallback(on_before_optimizer_step=Scales().on_before_optimizer_step)]),
        (ScalesItself, []),
        (ClipsItself, []),
    ],
)
def test_gradients_that_change_after_the_guard_are_measured_again(
    tmp_path, loader, measured, kind, later
):
    guarded = clipped(tmp_path, kind(), loader, DivergenceGuard(), *later)
    assert len(measured) == 3
    alone = clipped(tmp_path, kind(), loader, *later)
    assert all(map(torch.equal, map(torch.as_tensor, guarded), map(torch.as_tensor, alone)))


@pytest.mark.parametrize(
    ("kind", "precision"), [(StepsItself, "32-true"), (Seen, "64-true"), (Seen, "bf16-mixed")]
)
def test_the_guard_changes_no_weight(tmp_path, loader, kind, precision):
    guarded = clipped(tmp_path, kind(), loader, DivergenceGuard(), precision=precision)
    alone = clipped(tmp_path, kind(), loader, precision=precision)
    assert all(map(torch.equal, map(torch.as_tensor, guarded), map(torch.as_tensor, alone)))


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_of_16_bits_are_refused_before_training(tmp_path, loader, precision):
    module = Seen()
    with pytest.raises(ValueError, match="use --trainer.precision bf16-mixed or 16-mixed"):
        fit(tmp_path, module, loader, precision=precision)
    assert not module.losses


def test_float16_trains_and_its_overflows_are_no_divergence(tmp_path, loader):
    module = Seen()
    before = module.denoiser.net.out.weight.detach().clone()
    guard = DivergenceGuard()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    fit(tmp_path, module, loader, guard, EMA(0.5), steps=40, plugins=[plugin])
    norms = [step["grad_norm"] for step in guard.recent_steps]
    assert norms[0] == float("inf") or norms[0] != norms[0], "it overflowed at first"
    assert not torch.equal(module.denoiser.net.out.weight, before)
    assert all(p.isfinite().all() for p in module.parameters())
    losses = [step["loss"] for step in guard.recent_steps]
    assert losses == pytest.approx(module.losses, rel=1e-4)


@pytest.mark.parametrize("stage", [1, 2])
def test_no_step_of_the_module_reads_a_value_of_the_device(tmp_path, loader, monkeypatch, stage):
    experts = ExpertsConfig(str(publish_knee(tmp_path))) if stage == 2 else None
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__", "cpu", "numpy"):
        method = getattr(torch.Tensor, name)

        def read(tensor, *arguments, _name=name, _method=method, **keywords):
            # The ends of an expert's interval are computed on the host.
            host = _name == "item" and sys._getframe(1).f_code.co_filename.endswith("timesteps.py")
            reads.extend([] if host else [tensor])
            return _method(tensor, *arguments, **keywords)

        monkeypatch.setattr(torch.Tensor, name, read)
    counts = []

    class Counted(LinearSRModule):
        def __init__(self) -> None:
            optimizer = OptimizerConfig(lr=1e-3, warmup_steps=1)
            super().__init__(TINY if stage == 1 else SMALL, optimizer, experts=experts)

        def training_step(self, batch, batch_idx):
            before = len(reads)
            loss = super().training_step(batch, batch_idx)
            counts.append(len(reads) - before)
            return loss

        def configure_gradient_clipping(self, *arguments, **keywords):
            before = len(reads)
            super().configure_gradient_clipping(*arguments, **keywords)
            counts.append(len(reads) - before)

    fit(tmp_path, Counted(), loader, gradient_clip_val=1.0, log_every_n_steps=1000)
    assert counts == [0] * 6
