import json
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.knee_folder import SMALL, publish_knee
from support.tiny import TINY

from callbacks.divergence_guard import DivergenceGuard
from lsr.experts.config import ExpertsConfig
from lsr.experts.turns import expert_of_step
from lsr.training.divergence import DivergenceError
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig


class Module(LinearSRModule):
    """Multiplies the loss at some steps."""

    def __init__(self, factors=None, lr=1e-3):
        torch.manual_seed(0)
        super().__init__(TINY, OptimizerConfig(lr=lr, warmup_steps=1))
        self.factors = factors or {}
        self.weights = []

    def training_step(self, batch, batch_idx):
        self.weights.append(self.denoiser.net.out.weight.detach().clone())
        return super().training_step(batch, batch_idx) * self.factors.get(self.global_step, 1.0)


def fit(folder, module, loader, guard, steps=8, **options):
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        callbacks=[
            guard,
            ModelCheckpoint(
                folder, filename="last", every_n_train_steps=1, enable_version_counter=False
            ),
        ],
        accelerator="cpu",
        logger=False,
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, loader)
    return trainer


def all_finite(weights):
    return all(torch.isfinite(weight).all() for weight in weights.values())


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_non_finite_loss_ends_the_run_before_the_step(tmp_path, loader, factor):
    module = Module({5: factor})
    with pytest.raises(DivergenceError, match="diverged at step 5"):
        fit(tmp_path, module, loader, DivergenceGuard())
    assert all_finite(module.state_dict())
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5 and all_finite(checkpoint["state_dict"])
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["step"] == 5 and len(report["recent"]) == 6 and report["non_finite_weights"] == []
    assert report["recent"][-1]["loss"] in ("nan", "inf") and report["recent"][-1]["batch"] == 1
    assert isinstance(report["recent"][0]["loss"], float)
    assert report["non_finite_gradients"][0] == "denoiser.stem.convolutions.0.weight"
    assert len(report["lr"]) == 2


def test_the_report_of_an_earlier_launch_is_not_left_behind(tmp_path, loader):
    with pytest.raises(DivergenceError):
        fit(tmp_path, Module({5: math.nan}), loader, DivergenceGuard())
    fit(tmp_path, Module(), loader, DivergenceGuard())
    assert not (tmp_path / "divergence.json").exists()


def test_a_learning_rate_of_a_million_is_named(tmp_path, loader):
    with pytest.raises(DivergenceError, match="diverged at step [1-9]"):
        fit(tmp_path, Module(lr=1e25), loader, DivergenceGuard(), steps=50)
    assert json.loads((tmp_path / "divergence.json").read_text())["lr"] == [1e25, 1e25]
    assert all_finite(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"])


def test_weights_that_are_not_finite_are_never_written(tmp_path, loader):
    class PoisonedGuard(DivergenceGuard):
        def on_train_batch_end(self, trainer, pl_module, *arguments):
            if trainer.global_step == 3:
                pl_module.denoiser.net.out.bias.data[0] = math.nan

    with pytest.raises(DivergenceError, match="the weights are not finite"):
        fit(tmp_path, Module(), loader, PoisonedGuard())
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2 and all_finite(checkpoint["state_dict"])
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["non_finite_weights"] == ["denoiser.net.out.bias"]


def test_the_report_names_no_batch_of_an_interrupted_run_before(tmp_path, loader):
    class Breaks(Module):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 1:
                raise OSError

    guard = DivergenceGuard()
    with pytest.raises(OSError):
        fit(tmp_path, Breaks(), loader, guard, accumulate_grad_batches=2)
    with pytest.raises(DivergenceError):
        fit(tmp_path, Module({0: math.nan}), loader, guard, accumulate_grad_batches=2)
    (rank,) = json.loads((tmp_path / "divergence.json").read_text())["samples"]
    assert rank["batches"] == [{"seed": [0, 1]}, {"seed": [2, 3]}]


class Experienced(DivergenceGuard):
    """Has seen a hundred ordinary steps when training begins."""

    def see(self):
        self._scores.norms[0].extend([0.0, 0.1, -0.1, 0.05, -0.05] * 20)

    def on_fit_start(self, trainer, pl_module):
        super().on_fit_start(trainer, pl_module)
        self.see()


def test_skip_drops_the_steps_of_a_spike_but_not_for_ever(tmp_path, loader):
    module = Module(dict.fromkeys(range(2, 20), 1e9))
    fit(tmp_path, module, loader, Experienced(action="skip", threshold=30, max_skips=3))
    same = [torch.equal(a, b) for a, b in zip(module.weights, module.weights[1:], strict=False)]
    assert same == [False, False, True, True, True, False, True]


def test_the_report_names_the_gradients_that_were_bad_and_no_others(tmp_path, loader):
    class OneBadGradient(Module):
        def on_after_backward(self):
            if self.global_step == 2:
                self.denoiser.net.out.bias.grad[0] = math.nan

    with pytest.raises(DivergenceError, match="diverged at step 2"):
        fit(tmp_path, OneBadGradient(), loader, DivergenceGuard())
    assert json.loads((tmp_path / "divergence.json").read_text())["non_finite_gradients"] == [
        "denoiser.net.out.bias"
    ]


def test_warn_only_warns_and_stop_ends_the_run(tmp_path, loader, caplog):
    module = Module({2: 1e9})
    fit(tmp_path, module, loader, Experienced(threshold=30))
    assert "gradient norm" in caplog.text and "above the recent ones" in caplog.text
    assert not any(
        torch.equal(a, b) for a, b in zip(module.weights, module.weights[1:], strict=False)
    )
    with pytest.raises(DivergenceError, match="robust standard deviations"):
        fit(tmp_path, Module({2: 1e9}), loader, Experienced(action="stop", threshold=30))


def test_a_resumed_guard_remembers():
    guard = Experienced()
    guard.see()
    other = DivergenceGuard()
    other.load_state_dict(guard.state_dict())
    assert other._scores.norms[0](math.e**3) == guard._scores.norms[0](math.e**3) > 10


class Experts(LinearSRModule):
    """The gradients of expert 3 are ordinarily a thousand times those of the others."""

    def __init__(self, knee, spike):
        super().__init__(SMALL, OptimizerConfig(lr=1e-9), experts=ExpertsConfig(str(knee)))
        self.spike = spike

    def training_step(self, batch, batch_idx):
        expert = self.expert_run.turns.expert(self.global_step)
        level = 1000 if expert == 3 or self.global_step == self.spike else 1
        return (
            level
            * (1 + self.global_step * 7 % 11 / 50)
            * sum(p.sum() for p in self.denoiser.expert(expert).parameters())
        )


@pytest.mark.parametrize("spike", [None, 235])
def test_what_is_usual_for_one_expert_is_a_spike_of_another(tmp_path, loader, caplog, spike):
    assert expert_of_step(235, 4) != 3
    fit(tmp_path, Experts(publish_knee(tmp_path), spike), loader, DivergenceGuard(), steps=236)
    warned = [
        record.args[0].split(":")[0]
        for record in caplog.records
        if "robust standard deviations" in record.getMessage()
    ]
    assert warned == ([] if spike is None else [f"step {spike}"])


@pytest.mark.parametrize("options", [{"action": "pray"}, {"threshold": 0}, {"max_skips": 0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError):
        DivergenceGuard(**options)
