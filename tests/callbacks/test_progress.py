"""What a run says about the time that its validation takes."""

import time

import lightning as L
import pytest
from support.scripted import Scripted

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
