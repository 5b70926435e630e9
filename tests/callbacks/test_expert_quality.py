import json
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image
from support.apple_gpu import apple_gpu, on_gpu
from support.knee_folder import SMALL, publish_experts, publish_knee, random_denoiser
from support.tiny import SyntheticPairs

from callbacks import EMA, ExpertQuality, expert_quality
from lsr.experts.config import ExpertsConfig
from lsr.experts.plot import draw_loss_by_time
from lsr.flow.noise import seeded_normal
from lsr.flow.timesteps import shift_timesteps
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig


class Remembers(ExpertQuality):
    """Keeps the sums it draws."""

    drawn = None

    def on_validation_epoch_end(self, trainer, pl_module):
        self.drawn = {
            name: self._mean(trainer, found) for name, found in self._sums.items()
        } or self.drawn
        super().on_validation_epoch_end(trainer, pl_module)


def fit(folder, knee, steps, lr, ckpt_path=None, logger=False):
    module = LinearSRModule(
        SMALL,
        OptimizerConfig(lr=lr, warmup_steps=1),
        6.0,
        experts=ExpertsConfig(str(knee)),
        val_metrics=("psnr_y",),
    )
    quality = Remembers(bins=6)
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        callbacks=[EMA(0.5), quality],
        accelerator="cpu",
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=4,
        limit_val_batches=2,
    )
    pairs = torch.utils.data.DataLoader(SyntheticPairs(), batch_size=2)
    trainer.fit(module, pairs, pairs, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "last.ckpt")
    return quality


def knee_losses():
    """The knee's, image by image and time by time."""
    model, pairs, found = random_denoiser(), SyntheticPairs(), []
    for i in range(4):
        batch = {key: torch.as_tensor(value)[None] for key, value in pairs[i].items()}
        condition = model.condition(batch["lr"])
        x_0 = model.encode(batch["hr"], condition)
        noise = seeded_normal(batch["seed"], tuple(x_0.shape[1:]), 1, torch.device("cpu"))
        times = shift_timesteps(torch.tensor([(k + 0.5) / 6 for k in range(6)]), 6.0)
        found.append([model.loss(x_0, noise, t[None], condition).item() for t in times])
    return np.mean(found, axis=0)


def test_experts_that_have_learnt_nothing_have_the_losses_of_the_knee(tmp_path):
    quality = fit(tmp_path, publish_knee(tmp_path), 4, lr=1e-30)
    np.testing.assert_allclose(quality.drawn["knee"], knee_losses(), rtol=1e-5)
    # Equal except for the last digit: on some CPUs it depends on memory addresses.
    np.testing.assert_allclose(quality.drawn["experts"], quality.drawn["knee"], rtol=1e-6)
    assert Image.open(tmp_path / "experts" / "step-0000004.png").size == (900, 600)
    numbers = json.loads((tmp_path / "experts" / "loss_by_time.json").read_text())
    assert numbers["step"] == 4 and numbers["times"] == quality.times
    assert numbers["losses"] == quality.drawn["experts"]
    assert numbers["knee_losses"] == quality.drawn["knee"]


def test_the_knee_is_remembered_and_the_experts_change(tmp_path):
    knee = publish_knee(tmp_path)
    first = fit(tmp_path, knee, 4, lr=1e-2)
    again = fit(
        tmp_path, tmp_path / "not looked at again", 8, lr=1e-2, ckpt_path=tmp_path / "last.ckpt"
    )
    assert (
        again.state_dict()
        == first.state_dict()
        == {"knee_losses": pytest.approx(knee_losses(), rel=1e-5)}
    )
    assert set(again.drawn) == {"experts"}
    assert all(a != b for a, b in zip(again.drawn["experts"], first.drawn["knee"], strict=True))


def test_fine_tuned_experts_are_compared_with_the_experts_of_their_knee(tmp_path):
    publish_experts(tmp_path, ExpertsConfig("").times())
    quality = fit(tmp_path, tmp_path / "knee", 4, lr=1e-30)
    np.testing.assert_allclose(quality.drawn["experts"], quality.drawn["knee"], rtol=1e-6)
    assert not np.allclose(quality.drawn["knee"], knee_losses(), rtol=1e-2)


def test_boundaries_stand_where_the_experts_meet():
    times = [(i + 0.5) / 24 for i in range(24)]
    losses = np.linspace(1.2, 1.5, 24)
    figure = draw_loss_by_time(400, times, losses * 0.98, losses, (0.223, 0.875, 0.939), 6.0)
    for axes in figure.axes:
        drawn = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
        np.testing.assert_allclose(drawn, [0.04564, 0.53846, 0.71954], atol=1e-4)
    change = figure.axes[1].lines[1].get_ydata()
    np.testing.assert_allclose(change, -2.0, atol=1e-9)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="bins must be at least 1"):
        ExpertQuality(bins=0)


class TakesPictures(DummyLogger):
    """A logger like that of W&B."""

    def __init__(self):
        super().__init__()
        self.pictures = []

    def log_image(self, key, images, step):
        self.pictures.append((key, step, images[0].dtype))

    def log_text(self, **_):
        pass


def test_every_logger_that_takes_pictures_shows_the_losses(tmp_path):
    logger = TakesPictures()
    fit(tmp_path, publish_knee(tmp_path), 4, lr=1e-3, logger=logger)
    assert logger.pictures == [("experts/loss_by_time", 4, np.uint8)]


def test_apple_gpus_get_no_float64(tmp_path, monkeypatch):
    module = LinearSRModule(SMALL, experts=ExpertsConfig(str(publish_knee(tmp_path))))
    state = SimpleNamespace(fn="fit")
    trainer = SimpleNamespace(state=state, sanity_checking=False, fast_dev_run=False)
    quality = ExpertQuality(bins=6)
    with apple_gpu() as mode:
        monkeypatch.setattr(expert_quality, "loss_at_times", lambda *_: on_gpu(mode, 2, 6))
        quality.on_validation_batch_end(trainer, module, None, {"hr": None}, 0)
    assert quality._sums["experts"].dtype == torch.float32
