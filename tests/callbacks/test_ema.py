"""Where the averaged weights are, at every place that looks at weights."""

import os
import signal

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from support.hidden_gradients import StepsCopies
from torch import nn

from callbacks import EMA
from lsr.models.checkpoint import EMA_STATE


class Net(L.LightningModule):
    """One trainable weight that grows by 1 per step, one frozen weight; records what hooks see."""

    def __init__(self, warm_start: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.full((1000,), 7.0), requires_grad=False)
        self.warm_start = warm_start
        self.seen: dict[str, list[float]] = {}

    def configure_model(self):
        if self.warm_start is not None:
            self.weight.data.fill_(self.warm_start)

    def see(self, place):
        self.seen.setdefault(place, []).append(self.weight.item())

    def training_step(self, batch, batch_idx):
        return -self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.see("validation_step")

    def test_step(self, batch, batch_idx):
        self.see("test_step")

    def on_validation_epoch_end(self):
        self.see("after")

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=1.0)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(4, 1))

    val_dataloader = test_dataloader = train_dataloader


class SeeInCallback(L.Callback):
    def on_validation_batch_end(self, trainer, module, *args):
        module.see("callback batch end")

    def on_validation_end(self, trainer, module):
        module.see("callback validation end")


def fit(folder, module, steps, ckpt_path=None, decay=0.5, more=(), **options):
    ema = EMA(decay)
    checkpoint = ModelCheckpoint(
        folder,
        filename="last",
        every_n_epochs=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    trainer = L.Trainer(
        **{"max_steps": steps, "val_check_interval": 2, "num_sanity_val_steps": 1} | options,
        callbacks=[ema, SeeInCallback(), checkpoint, *more],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=ckpt_path)
    return ema, trainer


def averages(steps, decay=0.5, start=0.0):
    """The average after each step of a weight that is start + n after n steps."""
    values, average = [], start
    for n in range(steps):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * (start + n + 1)
        values.append(average)
    return values


def test_validation_judges_the_average_and_everything_else_sees_raw_weights(tmp_path):
    module = Net()
    fit(tmp_path, module, 4)
    expected = averages(4)
    # First the sanity check with the initial weights; then validations after steps 2 and 4.
    assert module.seen["validation_step"][1:] == pytest.approx(
        [expected[1]] * 4 + [expected[3]] * 4
    )
    assert module.seen["validation_step"][0] == 0
    assert module.seen["callback batch end"] == module.seen["validation_step"]
    assert module.seen["callback validation end"] == [0, 2, 4]
    assert module.weight.item() == 4


def test_the_checkpoint_holds_both_and_only_what_is_trained(tmp_path):
    fit(tmp_path, Net(), 4)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["weight"].item() == 4
    assert set(checkpoint[EMA_STATE]) == {"weight"}
    assert checkpoint[EMA_STATE]["weight"].item() == pytest.approx(averages(4)[3])


def test_a_resumed_average_equals_an_unbroken_one(tmp_path):
    whole = fit(tmp_path / "a", Net(), 4)[0]
    fit(tmp_path / "b", Net(), 2)
    resumed = fit(tmp_path / "b", Net(), 4, ckpt_path=tmp_path / "b" / "last.ckpt")[0]
    assert resumed._average["weight"].item() == whole._average["weight"].item()
    assert resumed.state_dict() == whole.state_dict() == {"updates": 4}


def test_a_warm_start_is_where_the_average_begins(tmp_path):
    module = Net(warm_start=100.0)
    fit(tmp_path, module, 2)
    assert module.seen["validation_step"][0] == 100
    assert module.seen["validation_step"][-1] == pytest.approx(averages(2, start=100.0)[-1])


def test_accumulated_batches_are_averaged_once(tmp_path):
    ema, _ = fit(tmp_path, Net(), 2, accumulate_grad_batches=2, val_check_interval=4)
    assert ema.state_dict() == {"updates": 2}


def test_testing_a_checkpoint_judges_its_average(tmp_path):
    _, trainer = fit(tmp_path, Net(), 4)
    module = Net()
    trainer.test(module, ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert module.seen["test_step"] == pytest.approx([averages(4)[3]] * 4)
    assert module.weight.item() == 4


def test_a_decay_of_one_is_refused():
    with pytest.raises(ValueError, match="decay"):
        EMA(1.0)


class Turns(Net):
    """Two weights that are trained in turn, two steps of the first to one of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return -(self.other if self.global_step % 3 == 2 else self.weight).sum()

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight, self.other], lr=1.0)


def test_a_weight_without_a_gradient_is_left_alone_and_each_counts_its_own_updates(tmp_path):
    module = Turns()
    ema, _ = fit(tmp_path, module, 4)
    assert module.weight.item() == 3 and module.other.item() == 1
    assert ema.state_dict() == {"updates": {"weight": 3, "other": 1}}
    assert ema._average["weight"].item() == pytest.approx(averages(3)[-1]) and ema._average[
        "other"
    ].item() == pytest.approx(averages(1)[-1])


def test_unequal_counts_are_resumed(tmp_path):
    whole = fit(tmp_path / "a", Turns(), 4)[0]
    fit(tmp_path / "b", Turns(), 2)
    resumed = fit(tmp_path / "b", Turns(), 4, ckpt_path=tmp_path / "b" / "last.ckpt")[0]
    assert resumed.state_dict() == whole.state_dict()
    assert all(
        torch.equal(average, whole._average[name]) for name, average in resumed._average.items()
    )


class FailsInValidation(Net):
    """Raises an exception in the validation after step 4."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if self.global_step == 4 and batch_idx == 1:
            raise RuntimeError("the disk of the validation images is gone")


def test_an_exception_in_validation_is_kept_and_a_checkpoint_with_raw_weights_is_written(tmp_path):
    module = FailsInValidation()
    with pytest.raises(RuntimeError, match="the disk of the validation images is gone"):
        fit(tmp_path, module, 6, more=[OnExceptionCheckpoint(tmp_path)])
    checkpoint = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["weight"].item() == module.weight.item() == 4
    assert checkpoint[EMA_STATE]["weight"].item() == pytest.approx(averages(4)[3])
    resumed = fit(tmp_path, Net(), 6, ckpt_path=tmp_path / "on_exception.ckpt")[0]
    assert resumed._average["weight"].item() == pytest.approx(averages(6)[5])


class SavesInValidation(L.Callback):
    """Writes a checkpoint in the middle of a validation, as Lightning does at a signal of SLURM."""

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 4 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_in_validation_saves_raw_weights_and_the_validation_goes_on(tmp_path, monkeypatch):
    module = Net()
    saved = tmp_path / "hpc.ckpt"

    class Handler(L.Callback):
        def on_train_start(self, trainer, pl_module):
            signal.signal(signal.SIGUSR1, lambda *_: trainer.save_checkpoint(saved))

    before = signal.getsignal(signal.SIGUSR1)
    try:
        fit(tmp_path, module, 4, more=[Handler(), SavesInValidation()])
    finally:
        signal.signal(signal.SIGUSR1, before)
    checkpoint = torch.load(saved, weights_only=True)
    assert checkpoint["state_dict"]["weight"].item() == 4
    assert checkpoint[EMA_STATE]["weight"].item() == pytest.approx(averages(4)[3])
    assert module.seen["validation_step"][-4:] == pytest.approx([averages(4)[3]] * 4)
    assert module.weight.item() == 4


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_an_average_of_weights_with_16_bits_is_refused(tmp_path, precision):
    with pytest.raises(ValueError, match="loses small updates: use --trainer.precision"):
        fit(tmp_path, Net(), 2, precision=precision)


class TakesWeightsApart(SingleDeviceStrategy):
    def setup(self, trainer):
        super().setup(trainer)
        self.lightning_module.weight.data = torch.zeros(0)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (TakesWeightsApart, "TakesWeightsApart takes weights apart"),
        (StepsCopies, "StepsCopies hides the gradients"),
    ],
)
def test_a_strategy_that_hides_weights_or_gradients_is_refused(tmp_path, strategy, message):
    module = Net()
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module, 2, strategy=strategy(device=torch.device("cpu")))
    assert "validation_step" not in module.seen, "not even the sanity check has run"


class HiddenGradients(Net):
    def backward(self, loss):
        super().backward(loss)
        self.weight.grad = None


def test_gradients_that_are_not_where_they_are_looked_for_end_the_first_step(tmp_path):
    module = HiddenGradients()
    with pytest.raises(ValueError, match="hides the gradients"):
        fit(tmp_path, module, 2)
    assert module.global_step == 0
