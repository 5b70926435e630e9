"""Resuming a run whose folder holds a knee of another run, or lacks candidates."""

import csv
import re
import shutil
import subprocess
import sys

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from support.patience import PATIENCE_S
from support.processes import ROOT, SUPPORT, environment
from support.scripted import Scripted, curve, fit

from callbacks import EMA, ExpertQuality, ImageGrid, LastCheckpoint, PredictionWriter
from lsr.knee.folder import read_manifest
from lsr.runs.csv_logger import MetricsCSVLogger

KILLS = 2
"""Number of kills in the test suite; fifty were tried by hand."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    knee, trainer = fit(folder, Scripted())
    return folder, knee, trainer


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, without its knee."""
    copy = tmp_path / "run"
    shutil.copytree(finished[0], copy, ignore=shutil.ignore_patterns("knee"))
    return copy


def candidates(run):
    return run / "checkpoints" / "candidates"


def with_other_weights(step, rank=0):
    """The curves of the finished run. The weights differ because the module below trains faster."""
    return curve(step, rank)


class Other(Scripted):
    def training_step(self, batch, batch_idx):
        return 3 * super().training_step(batch, batch_idx)


def test_a_new_run_refuses_the_knee_of_another_before_training(finished, tmp_path):
    shutil.copytree(finished[0] / "knee", tmp_path / "knee")
    module = Other(with_other_weights)
    with pytest.raises(ValueError, match=r"knee holds a knee of step \d+ that this run has not"):
        fit(tmp_path, module)
    assert module.global_step == 0


@pytest.mark.parametrize(("steps", "lost"), [(5, False), (60, False), (60, True)])
def test_a_resumed_run_refuses_a_stale_knee_of_the_same_step(finished, tmp_path, steps, lost):
    _, trainer = fit(tmp_path, Other(with_other_weights), steps=steps)
    if lost:
        shutil.rmtree(candidates(tmp_path))
    shutil.rmtree(tmp_path / "knee", ignore_errors=True)
    shutil.copytree(finished[0] / "knee", tmp_path / "knee")
    module = Other(with_other_weights)
    checkpoint = tmp_path / "checkpoints" / f"{trainer.global_step}.ckpt"
    with pytest.raises(ValueError, match="that this run has not published"):
        fit(tmp_path, module, ckpt_path=checkpoint)
    assert module.global_step == trainer.global_step


def test_a_checkpoint_without_digests_knows_its_own_knee(finished, run):
    shutil.copytree(finished[0] / "knee", run / "knee")
    path = run / "checkpoints" / f"{finished[2].global_step}.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for name in ("digests", "root"):
        del checkpoint["callbacks"]["KneePointCallback"][name]
    torch.save(checkpoint, path)
    fit(run, Scripted(), ckpt_path=path)


def test_a_run_resumes_from_any_checkpoint_in_its_folder(finished, run, caplog):
    seed = read_manifest(finished[0] / "knee")["sha256"]
    confirmed = finished[1].verdict.confirmed_at_step
    for step in (confirmed, confirmed - 1, confirmed - 4, 3):
        fit(run, Scripted(), ckpt_path=run / "checkpoints" / f"{step}.ckpt")
        assert read_manifest(run / "knee")["sha256"] == seed
        shutil.rmtree(run / "knee")
    assert "missing" not in caplog.text


@pytest.mark.parametrize("before", [1, 4])
def test_a_resumed_run_knows_the_knee_that_it_published_after_the_checkpoint(
    finished, tmp_path, before
):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    step = finished[1].verdict.confirmed_at_step - before
    knee, _ = fit(run, Scripted(), ckpt_path=run / "checkpoints" / f"{step}.ckpt")
    assert knee.verdict == finished[1].verdict
    assert read_manifest(run / "knee") == read_manifest(finished[0] / "knee")


def test_the_published_knee_stays_if_the_resumed_run_takes_another_course(
    finished, tmp_path, caplog
):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    fit(run, Other(with_other_weights), ckpt_path=run / "checkpoints" / "3.ckpt")
    assert "which this run published before it was resumed" in caplog.text
    assert read_manifest(run / "knee") == read_manifest(finished[0] / "knee")


@pytest.mark.parametrize("before", [0, 1])
def test_a_run_resumes_into_another_folder_with_its_candidates(finished, run, tmp_path, before):
    confirmed = finished[1].verdict.confirmed_at_step
    checkpoint = finished[0] / "checkpoints" / f"{confirmed - before}.ckpt"
    fit(tmp_path / "new", Scripted(), ckpt_path=checkpoint)
    seed = read_manifest(tmp_path / "new" / "knee")["sha256"]
    assert seed == read_manifest(finished[0] / "knee")["sha256"]


@pytest.mark.parametrize("loss", ["missing", "changed"])
def test_lost_candidates_are_named_and_given_up(finished, run, caplog, loss):
    step = finished[1].verdict.confirmed_at_step - 1
    checkpoint = run / "checkpoints" / f"{step}.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    state["callbacks"]["KneePointCallback"]["root"] = str(run)
    torch.save(state, checkpoint)
    file = candidates(run) / f"step-{finished[1].verdict.knee_step:07d}.safetensors"
    file.unlink() if loss == "missing" else file.write_bytes(b"of another course of this run")
    knee, trainer = fit(run, Scripted(), ckpt_path=checkpoint)
    assert f"weights of steps {finished[1].verdict.knee_step} are missing or changed" in caplog.text
    assert knee.verdict.knee_step not in (None, finished[1].verdict.knee_step)
    assert read_manifest(run / "knee")["step"] == knee.verdict.knee_step


def test_a_confirmed_knee_whose_weights_are_lost_is_refused_in_one_line(finished, run):
    checkpoint = run / "checkpoints" / f"{finished[2].global_step}.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    state["callbacks"]["KneePointCallback"]["root"] = str(run)
    torch.save(state, checkpoint)
    shutil.rmtree(candidates(run))
    with pytest.raises(ValueError, match="the weights of the confirmed knee are missing"):
        fit(run, Scripted(), ckpt_path=checkpoint)


class KilledError(Exception):
    pass


class DiesBeforeTheCheckpoint(LastCheckpoint):
    """Ends the run between the knee's work after a validation and the next `last.ckpt`."""

    def __init__(self, dirpath, step):
        super().__init__(dirpath)
        self.step = step

    def on_validation_end(self, trainer, pl_module):
        if trainer.global_step == self.step and not trainer.sanity_checking:
            raise KilledError
        super().on_validation_end(trainer, pl_module)


def test_a_kill_between_validation_and_checkpoint_loses_no_candidate(finished, tmp_path, caplog):
    for step in range(6, finished[1].verdict.confirmed_at_step + 1):
        folder = tmp_path / str(step)

        def dying(knee, checkpoint, folder=folder, step=step):
            return [EMA(0.5), knee, DiesBeforeTheCheckpoint(folder / "checkpoints", step)]

        with pytest.raises(KilledError):
            fit(folder, Scripted(), callbacks=dying)
        assert not (folder / "knee" / "knee.json").exists()
        fit(
            folder,
            Scripted(),
            callbacks=lambda knee, checkpoint: [
                EMA(0.5),
                knee,
                LastCheckpoint(f"{folder}/checkpoints"),  # noqa: B023
            ],
            ckpt_path=folder / "checkpoints" / "last.ckpt",
        )
        seed = read_manifest(folder / "knee")["sha256"]
        assert seed == read_manifest(finished[0] / "knee")["sha256"]
    assert "missing" not in caplog.text


def test_leftovers_of_a_killed_launch_are_removed_at_the_next_start(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    leftovers = [
        folder / f".{'0123456789abcdef'}.tmp"
        for folder in (tmp_path, checkpoints, checkpoints / "candidates")
    ]
    other = checkpoints / ".of-somebody-else.tmp"
    for path in (*leftovers, other):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"half")
    unfinished = tmp_path / f".knee-{'0123456789abcdef'}"
    unfinished.mkdir()
    fit(tmp_path, Scripted(), steps=1)
    assert not any(path.exists() for path in (*leftovers, unfinished)) and other.exists()
    for path in leftovers[:2]:
        path.write_bytes(b"half")
    fit(
        tmp_path / "second",
        Scripted(),
        steps=1,
        callbacks=lambda knee, checkpoint: [LastCheckpoint(str(checkpoints))],
    )
    assert not leftovers[1].exists()


def test_a_run_killed_while_it_writes_or_deletes_a_file_ends_like_an_unbroken_one(tmp_path):
    command = [sys.executable, str(SUPPORT / "killed_writing.py"), str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("callback", "folder", "stage"),
    [
        (ImageGrid, "images", "fit"),
        (ExpertQuality, "experts", "fit"),
        (PredictionWriter, "predictions", "predict"),
    ],
)
def test_callbacks_that_write_pictures_remove_their_leftovers(tmp_path, callback, folder, stage):
    leftover = tmp_path / folder / f".{'0123456789abcdef'}.tmp"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    trainer = L.Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    callback().setup(trainer, Scripted(), "validate")
    assert leftover.exists()
    callback().setup(trainer, Scripted(), stage)
    assert not leftover.exists()


def test_the_rows_of_the_knee_are_written_before_the_checkpoint_of_their_step(tmp_path):
    written = []

    class Reads(TorchCheckpointIO):
        def save_checkpoint(self, *arguments, **keywords):
            with (tmp_path / "metrics.csv").open(newline="") as file:
                row = list(csv.DictReader(file))[-1]
            written.append((int(row["step"]), row["knee/probability"] != ""))
            super().save_checkpoint(*arguments, **keywords)

    fit(
        tmp_path,
        Scripted(),
        steps=3,
        callbacks=lambda knee, checkpoint: [knee, LastCheckpoint(f"{tmp_path}/checkpoints")],
        logger=MetricsCSVLogger(str(tmp_path)),
        plugins=[Reads()],
    )
    assert written == [(1, True), (2, True), (3, True)]


def test_a_script_that_is_killed_at_random_moments_ends_like_an_unbroken_run(tmp_path):
    page = (ROOT / "docs" / "knee.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (example,) = [block for block in blocks if "KneePointCallback" in block]
    script = tmp_path / "example.py"
    script.write_text(example)
    command = [sys.executable, str(SUPPORT / "killed_runs.py"), str(script), str(tmp_path)]
    done = subprocess.run(
        [*command, "--random", str(KILLS)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "all ended alike" in done.stdout
