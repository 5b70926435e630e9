"""LastCheckpoint in a Trainer of somebody else's."""

import torch
from support.plain_module import Plain, fit

from callbacks import LastCheckpoint


def test_a_trial_run_writes_no_checkpoint(tmp_path):
    fit(tmp_path, Plain(), LastCheckpoint(str(tmp_path)), fast_dev_run=True)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_steps_after_the_last_validation_are_saved(tmp_path):
    fit(tmp_path, Plain(), LastCheckpoint(str(tmp_path)), steps=3)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
