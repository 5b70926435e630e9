"""What a run says about the time that its validation takes."""

import io
import sys
import time

import lightning as L
import pytest
from support.scripted import Scripted

import lsr.console.progress_bar
from callbacks import TrainingProgress


class Clock:
    """A clock that advances only by the seconds that training and validation shall take."""

    def __init__(self, monkeypatch, training, validation):
        self.now, self.training, self.validation = 0.0, training, validation
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Pace(L.Callback):
    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_start(self, *_):
        self.clock.now += self.clock.training

    def on_validation_batch_start(self, *_):
        self.clock.now += self.clock.validation


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        (10, 10, 1),
        (10, 9, 0),
        (10, 100, 1),
        (0.1, 1, 0),  # a matter of seconds
    ],
)
def test_validation_that_takes_more_than_its_share_is_told_once(
    monkeypatch, tmp_path, capsys, loader, training, validation, said
):
    clock = Clock(monkeypatch, training, validation)
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_epochs=4,
        limit_val_batches=4,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[Pace(clock), TrainingProgress(validation_share=0.49)],
    )
    trainer.fit(Scripted(), loader, loader)
    assert (
        capsys.readouterr().err.count("of the time so far: fewer images (data.max_images)") == said
    )


def test_the_rate_is_known_although_validations_come_faster_than_updates(
    monkeypatch, tmp_path, capsys, loader
):
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=8,
        limit_val_batches=1,
        val_check_interval=2,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[Pace(Clock(monkeypatch, 0.25, 10)), TrainingProgress(refresh_s=60)],
    )
    trainer.fit(Scripted(), loader, loader)
    said = capsys.readouterr().err
    assert [f"step {step} of 8, 8 images/s" in said for step in (2, 4, 6, 8)] == [True] * 4


class Slow(Scripted):
    """Waits in every batch until a line about it has been printed."""

    def __init__(self, stderr):
        super().__init__()
        self.stderr = stderr

    def wait_for(self, text):
        while text not in self.stderr.getvalue():
            time.sleep(0.01)

    def training_step(self, batch, index):
        if index == 1:
            self.wait_for("step 1 of 2")
        return super().training_step(batch, index)

    def validation_step(self, batch, index):
        if index == 1:
            self.wait_for("validating, batch 1")
        return super().validation_step(batch, index)


def test_without_a_terminal_every_long_work_prints_a_line_a_minute(monkeypatch, tmp_path, loader):
    monkeypatch.setattr(lsr.console.progress_bar, "LINE_EVERY_S", 0.02)
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=2,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[TrainingProgress()],
    )
    model = Slow(stderr)
    trainer.fit(model, loader)
    lines = stderr.getvalue().splitlines()
    assert any(line.endswith("less than a minute left") for line in lines if "step 1 of 2" in line)
    assert not any("left" in line for line in lines if "step 2 of 2" in line)
    trainer.validate(model, loader)
    count = len(stderr.getvalue())
    time.sleep(0.1)
    assert len(stderr.getvalue()) == count, "the lines end with the work"
