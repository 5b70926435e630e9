"""What `--ckpt_path last` finds, what may differ from the run that is continued, and other ends."""

import errno
import json
import signal

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from support.processes import TINY_STAGE1
from support.small_run import SMALL
from support.tiny import TINY

from lsr.cli import main
from lsr.errors import INTERRUPTED, interrupt
from lsr.runs.csv_logger import MetricsCSVLogger
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.module import LinearSRModule
from lsr.training.same_run import SameRun

SETTINGS = SMALL | {
    "data.init_args.num_workers": 0,
    "model.val_metrics": "[psnr_y]",
    "model.niqe_parameters": "null",
    "trainer.callbacks.KneePointCallback.metrics": "{val/psnr_y: max}",
    "trainer.max_steps": 3,
    "trainer.num_sanity_val_steps": 0,
}


@pytest.fixture
def photographs(tmp_path):
    return photographs_in(tmp_path / "photographs")


def photographs_in(folder):
    folder.mkdir(exist_ok=True)
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three steps, and its photographs. Tests that go on with it copy its checkpoint."""
    root = tmp_path_factory.mktemp("finished")
    photographs = photographs_in(root / "photographs")
    assert main(fit(root / "run", photographs)) == 0
    return root / "run" / "checkpoints" / "last.ckpt", photographs


def fit(folder, photographs, checkpoint="last", *extra, **options):
    settings = SETTINGS | {
        f"data.init_args.{split}": f"['{photographs}']" for split in ("train", "val", "test")
    }
    settings |= {"trainer.default_root_dir": folder} | options
    flat = [f"--{key}={value}" for key, value in settings.items()]
    return ["fit", "--config", str(TINY_STAGE1), f"--ckpt_path={checkpoint}", *flat, *extra]


def lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("lsr ")]


def test_an_empty_folder_begins_at_step_0_and_says_so(photographs, tmp_path, capsys):
    assert main(fit(tmp_path / "typo", photographs, **{"trainer.max_steps": 1})) == 0
    expected = f"lsr fit: no checkpoint in {tmp_path / 'typo'}: training begins at step 0"
    assert lines(capsys) == [expected]


def test_checkpoints_of_other_names_are_not_passed_over(photographs, tmp_path, capsys):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "epoch=0-step=3.ckpt").write_bytes(b"")
    assert main(fit(folder, photographs)) == 2
    (line,) = lines(capsys)
    assert "epoch=0-step=3.ckpt" in line and "--ckpt_path FILE" in line


def test_last_is_found_by_a_run_without_the_callback_that_wrote_it(finished, tmp_path, capsys):
    checkpoint, photographs = finished
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(checkpoint.read_bytes())
    command = fit(folder, photographs)
    command = [each for each in command if "callbacks" not in each]
    assert main([*command, "--trainer.callbacks=[]", "--trainer.max_steps=4"]) == 0
    (line,) = lines(capsys)
    assert "is continued with" in line and "(step 3)" in line


@pytest.mark.parametrize(
    ("changed", "name", "remedy"),
    [
        ({"data.init_args.batch_size": 4}, "global_batch", "--data.init_args.batch_size 2"),
        ({"trainer.accumulate_grad_batches": 3}, "global_batch", "accumulate_grad_batches 1"),
        ({"data.init_args.seed": 1}, "data.init_args.seed", "(was 0)"),
        ({"seed_everything": 1}, "seed_everything", "(was 0)"),
        ({"data.init_args.degradation": "realesrgan"}, "data.init_args.degradation", "was pasd"),
        ({"data.init_args.train": "['bundled:train']"}, "data.init_args.train", "bundled:train"),
    ],
)
def test_other_samples_are_refused(finished, tmp_path, capsys, changed, name, remedy):
    checkpoint, photographs = finished
    assert main(fit(tmp_path / "run", photographs, checkpoint, **changed)) == 2
    (line,) = lines(capsys)
    assert f"{name} " in line and remedy in line and f"--may_differ '[{name}]'" in line


def test_what_is_allowed_by_name_is_told_in_one_line(finished, tmp_path, capsys):
    checkpoint, photographs = finished
    changed = {"data.init_args.batch_size": 4, "data.init_args.seed": 1, "trainer.max_steps": 4}
    allowed = "--may_differ=[global_batch, data]"
    assert main(fit(tmp_path / "run", photographs, checkpoint, allowed, **changed)) == 0
    (line,) = lines(capsys)
    for what in ("global_batch 4 (was 2", "data.init_args.seed 1 (was 0)", "trainer.max_steps 4"):
        assert what in line
    assert "RUN" not in line, "another run folder is no difference"
    record = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["run_record"]
    assert record["batch_size"] == 4


def test_other_photographs_in_the_same_folder_are_refused(finished, tmp_path, capsys):
    checkpoint, photographs = finished
    more = photographs / "more.png"
    more.write_bytes((photographs / "0.png").read_bytes())
    try:
        assert main(fit(tmp_path / "run", photographs, checkpoint)) == 2
    finally:
        more.unlink()
    (line,) = lines(capsys)
    assert "photographs [3] (was [2])" in line and "--may_differ '[photographs]'" in line


def test_the_same_settings_are_continued_without_a_word(finished, tmp_path, capsys):
    checkpoint, photographs = finished
    options = {"data.init_args.num_workers": 0}
    assert main(fit(tmp_path / "elsewhere", photographs, checkpoint, **options)) == 0
    assert lines(capsys) == []


def test_a_checkpoint_of_an_older_version_is_continued(finished, tmp_path, capsys):
    checkpoint, photographs = finished
    content = torch.load(checkpoint, weights_only=True)
    del content["run_record"]
    torch.save(content, tmp_path / "old.ckpt")
    assert main(fit(tmp_path / "run", photographs, tmp_path / "old.ckpt")) == 0
    assert "does not record its settings" in lines(capsys)[0]


def test_half_a_checkpoint_of_a_killed_run_is_removed_whatever_callback_wrote_it(
    photographs, tmp_path
):
    half = tmp_path / "own" / ".0123456789abcdef.tmp"
    half.parent.mkdir()
    half.write_bytes(b"half")
    saver = "lightning.pytorch.callbacks.ModelCheckpoint"
    settings = {"dirpath": str(half.parent), "every_n_train_steps": 1}
    callbacks = [{"class_path": saver, "init_args": settings}]
    command = [each for each in fit(tmp_path / "run", photographs) if "callbacks" not in each]
    command += [f"--trainer.callbacks={json.dumps(callbacks)}", "--trainer.max_steps=1"]
    assert main(command) == 0
    assert not half.exists() and list(half.parent.glob("*.ckpt"))


@pytest.mark.parametrize(("every", "choices"), [(6, "4 or 8"), (3, "4"), ("00:00:15:00", "count")])
def test_validations_between_optimiser_steps_are_refused(
    photographs, tmp_path, capsys, every, choices
):
    options = {"trainer.accumulate_grad_batches": 4, "trainer.val_check_interval": every}
    assert main(fit(tmp_path / "run", photographs, **options)) == 2
    (line,) = lines(capsys)
    assert "between optimiser steps of 4 batches" in line and choices in line
    assert not (tmp_path / "run").exists()


def test_resuming_between_windows_is_exact(photographs, tmp_path):
    options = {"trainer.accumulate_grad_batches": 2, "trainer.val_check_interval": 2}
    for folder, stops in (("whole", [4]), ("broken", [2, 4])):
        for stop in stops:
            settings = options | {"trainer.max_steps": stop}
            assert main(fit(tmp_path / folder, photographs, **settings)) == 0
    whole, broken = (
        torch.load(tmp_path / folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in ("whole", "broken")
    )
    assert all(
        torch.equal(weight, broken["state_dict"][name])
        for name, weight in whole["state_dict"].items()
    )
    assert json.loads(json.dumps(whole["run_record"])) == whole["run_record"]


class SavesAfterTwoBatches(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            trainer.save_checkpoint("inside.ckpt")


@pytest.mark.parametrize(("accumulated", "warned"), [(4, True), (2, False)])
def test_a_checkpoint_inside_a_window_is_a_warning(
    tmp_path, monkeypatch, loader, recwarn, accumulated, warned
):
    """Such as one that is written at an exception or at a signal of SLURM."""
    monkeypatch.chdir(tmp_path)
    settings = dict.fromkeys(("seed_everything", "model", "data"))
    chosen = {"default_root_dir": None, "accumulate_grad_batches": accumulated}
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=1,
        accumulate_grad_batches=accumulated,
        callbacks=[SameRun(settings | {"trainer": chosen}, []), SavesAfterTwoBatches()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LinearSRModule(TINY), loader)
    found = [str(each.message) for each in recwarn if "accumulation window" in str(each.message)]
    assert len(found) == warned and all("the gradients of 2 batches" in line for line in found)


@pytest.fixture
def as_program():
    """The answer of the program `lsr` to SIGTERM."""
    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_run_that_gets_sigterm_is_interrupted_and_not_done(
    as_program, photographs, tmp_path, capsys
):
    more = "--trainer.callbacks+=support.terminated.Terminated"
    folder = tmp_path / "run"
    assert main(fit(folder, photographs, "last", more, **{"trainer.max_steps": 9})) == INTERRUPTED
    out, err = capsys.readouterr()
    assert "the step goes on" in out and err.count("lsr fit: interrupted") == 1
    assert signal.getsignal(signal.SIGTERM) == interrupt
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3 and not (folder / "run.lock").exists()


def test_a_trial_run_leaves_nothing_in_the_folder(photographs, tmp_path):
    folder = tmp_path / "run"
    pixels = np.random.default_rng(2).integers(0, 256, (960, 960, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photographs / "large.png")  # for the fit of NIQE
    settings = {
        "trainer.fast_dev_run": "true",
        "model.val_metrics": "[psnr_y, niqe]",
        "model.niqe_parameters": "fit",
        "data.init_args.val_crop_size": 96,
    }
    assert main(fit(folder, photographs, **settings)) == 0
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_what_broke_first_is_told_although_the_loggers_break_as_well(
    photographs, tmp_path, capsys, monkeypatch
):
    def breaks(where):
        def call(*_, **options):
            raise OSError(errno.ENOSPC, "No space left on device", where)

        return call

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", breaks("last.ckpt"))
    monkeypatch.setattr(MetricsCSVLogger, "finalize", breaks(None))
    assert main(fit(tmp_path / "run", photographs)) == 2
    assert lines(capsys)[-1].endswith("No space left on device: 'last.ckpt'")
