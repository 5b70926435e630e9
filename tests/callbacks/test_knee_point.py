import json
import logging
import math
import re

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from support.scripted import METRICS, Scripted, curve, fit, loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import EMA, DivergenceGuard, KneePointCallback, LastCheckpoint
from lsr.knee import KneeDetector
from lsr.knee.folder import read_manifest
from lsr.models.checkpoint import load_denoiser
from lsr.training.divergence import DivergenceError


def verdicts(knee):
    """The history of a callback, judged again from its values."""
    detector = KneeDetector(METRICS)
    return [detector.update(v.step, v.values, v.loss) for v in knee.history]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An unbroken run to its knee."""
    folder = tmp_path_factory.mktemp("finished")
    module = Scripted()
    knee, trainer = fit(folder, module)
    return folder, module, knee, trainer


def test_training_stops_at_the_knee_and_the_seed_is_what_validation_judged(finished):
    folder, module, knee, trainer = finished
    assert knee.verdict.knee_step is not None and 8 <= knee.verdict.knee_step <= 18
    assert trainer.global_step == knee.verdict.confirmed_at_step < 60
    manifest = read_manifest(folder / "knee")
    assert (
        manifest["step"] == knee.verdict.knee_step
        and manifest["confirmed_at_step"] == trainer.global_step
    )
    assert manifest["metrics"] == pytest.approx(curve(manifest["step"]))
    assert (
        set(manifest["per_metric"]) == set(METRICS) and manifest["detector"]["metrics"] == METRICS
    )
    seed, shift = load_denoiser(folder / "knee" / "seed.safetensors")
    assert shift == module.shift
    assert torch.equal(seed.net.out.weight, module.judged[manifest["step"]])
    assert (folder / "knee" / "knee.png").stat().st_size > 5000


def test_the_sanity_check_is_not_a_validation(finished):
    _, _, knee, trainer = finished
    assert [v.step for v in knee.history] == list(range(1, trainer.global_step + 1))


def test_only_candidates_and_those_of_the_last_checkpoint_stay_on_disk(tmp_path, monkeypatch):
    kept, read = [], []
    patched = "callbacks.needs_of_checkpoints.read_callback_state"
    monkeypatch.setattr(patched, lambda *file: read.append(file))

    class Watched(KneePointCallback):
        def on_validation_end(self, trainer, pl_module):
            super().on_validation_end(trainer, pl_module)
            if self.verdict is not None:
                folder = tmp_path / "checkpoints" / "candidates"
                files = {int(path.stem.split("-")[1]) for path in folder.iterdir()}
                kept.append((files, set(self.verdict.candidates)))

    def callbacks(knee, checkpoint):
        return [EMA(0.5), knee, LastCheckpoint(f"{tmp_path}/checkpoints")]

    knee = Watched(METRICS, stop=False)
    fit(tmp_path, Scripted(), knee=knee, steps=45, callbacks=callbacks)
    assert len(kept) == 45
    previous = set()
    for files, candidates in kept:
        assert files == candidates | previous and len(candidates) <= 6
        previous = candidates
    assert kept[-1][0] == {knee.verdict.knee_step}
    assert read == [], "the needs of the checkpoints of this run are known"


@pytest.mark.parametrize("order", ["knee first", "knee last"])
def test_a_resumed_run_has_the_same_verdicts_and_the_same_knee(finished, tmp_path, order):
    folder, _, whole, _ = finished

    def callbacks(knee, checkpoint):
        return (
            [EMA(0.5), knee, checkpoint] if order == "knee first" else [EMA(0.5), checkpoint, knee]
        )

    for step in (1, 7, whole.verdict.knee_step, whole.verdict.confirmed_at_step - 1):
        part = tmp_path / str(step)
        fit(part, Scripted(), steps=step, callbacks=callbacks)
        knee, _ = fit(
            part, Scripted(), ckpt_path=part / "checkpoints" / f"{step}.ckpt", callbacks=callbacks
        )
        assert [v.step for v in knee.history] == [v.step for v in whole.history]
        assert verdicts(knee) == verdicts(whole)
        assert knee.verdict == whole.verdict
        assert read_manifest(part / "knee")["sha256"] == read_manifest(folder / "knee")["sha256"]


def test_a_confirmed_run_that_is_resumed_trains_no_further_and_publishes_what_is_missing(tmp_path):
    knee, trainer = fit(tmp_path, Scripted())
    (tmp_path / "knee").rename(tmp_path / "moved")
    checkpoint = tmp_path / "checkpoints" / f"{trainer.global_step}.ckpt"
    again, resumed = fit(tmp_path, Scripted(), ckpt_path=checkpoint)
    assert resumed.global_step == trainer.global_step and again.verdict == knee.verdict
    assert read_manifest(tmp_path / "knee")["sha256"] == read_manifest(tmp_path / "moved")["sha256"]


def test_without_stop_the_run_goes_on_and_the_knee_stays(finished, tmp_path):
    _, _, whole, _ = finished
    knee, trainer = fit(tmp_path, Scripted(), steps=45, knee=KneePointCallback(METRICS, stop=False))
    assert trainer.global_step == 45 and len(knee.history) == 45
    assert read_manifest(tmp_path / "knee")["step"] == whole.verdict.knee_step


def test_best_is_the_published_seed(finished):
    folder, module, knee, trainer = finished
    assert knee.best_model_path == str(folder / "knee" / "seed.safetensors")
    assert trainer.checkpoint_callback.best_model_path == knee.best_model_path
    other = Scripted()
    trainer.validate(other, loader(), ckpt_path="best", verbose=False)
    assert torch.equal(other.denoiser.net.out.weight, module.judged[knee.verdict.knee_step])


@pytest.mark.parametrize("sanity", [1, 0])
def test_a_metric_that_is_never_logged_is_named_before_training(tmp_path, sanity):
    module = Scripted()
    with pytest.raises(
        ValueError,
        match="the knee watches val/magic, but .* does not log it; it logs .*val/a, val/b",
    ):
        fit(
            tmp_path,
            module,
            knee=KneePointCallback({"val/a": "max", "val/magic": "max"}),
            num_sanity_val_steps=sanity,
        )
    assert module.global_step == 1 - sanity


def test_a_metric_that_goes_missing_is_tolerated(tmp_path):
    def gaps(step, rank):
        values = curve(step, rank)
        return values if step % 5 else {"val/a": values["val/a"], "val/b": math.nan}

    knee, _ = fit(tmp_path, Scripted(gaps))
    assert knee.verdict.knee_step is not None


def dies(step, rank):
    return curve(step, rank) if step < 6 else dict.fromkeys(METRICS, math.nan)


class LossIsNan(Scripted):
    """Logs NaN as `shown` from step 6 on, and trains on."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("shown", math.nan if self.global_step >= 5 else 1.0)
        return loss


def test_metrics_that_turn_nan_end_the_run_as_diverged(tmp_path):
    with pytest.raises(DivergenceError, match="diverged at step [67]"):
        fit(tmp_path, LossIsNan(dies), knee=KneePointCallback(METRICS, loss="shown"))
    assert json.loads((tmp_path / "divergence.json").read_text())["reason"].startswith(
        "validation:"
    )
    assert not (tmp_path / "knee").exists()


class NanLoss(Scripted):
    """The loss of one step is NaN, and so are the weights after it."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (math.nan if self.global_step == 4 else 1)


def test_without_the_guard_nan_weights_end_the_run_at_the_next_validation(tmp_path):
    with pytest.raises(DivergenceError, match="diverged at step 5: the weights are not finite"):
        fit(tmp_path, NanLoss())
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["step"] == 5 and report["non_finite_weights"] and report["recent"] == []
    assert not (tmp_path / "knee").exists()


def test_with_the_guard_the_step_is_not_taken_and_the_report_lists_the_recent_ones(tmp_path):
    def callbacks(knee, checkpoint):
        return [EMA(0.5), DivergenceGuard(), knee, checkpoint]

    with pytest.raises(DivergenceError, match="diverged at step 4: the gradient norm is nan"):
        fit(tmp_path, NanLoss(), callbacks=callbacks)
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["non_finite_weights"] == [] and len(report["recent"]) == 5


def test_the_report_of_a_diverged_validation_lists_the_steps_that_the_guard_remembers(tmp_path):
    with pytest.raises(DivergenceError, match="diverged at step [67]: validation"):
        fit(
            tmp_path,
            LossIsNan(dies),
            knee=KneePointCallback(METRICS, loss="shown"),
            callbacks=lambda knee, checkpoint: [EMA(0.5), DivergenceGuard(), knee, checkpoint],
        )
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert [step["step"] for step in report["recent"]] == list(range(report["step"]))


def test_a_knee_without_the_guard_deletes_the_report_of_an_earlier_launch(tmp_path):
    (tmp_path / "divergence.json").write_text("{}")
    fit(tmp_path, Scripted(), steps=2)
    assert not (tmp_path / "divergence.json").exists()


def test_a_checkpoint_of_an_older_run_is_resumed_whose_knee_had_the_guards_state(tmp_path):
    fit(tmp_path, Scripted(), steps=5)
    path = tmp_path / "checkpoints" / "5.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    guard = {"norms": {0: [0.1, 0.2]}, "losses": {0: [0.1, 0.2]}, "skipped": 0}
    checkpoint["callbacks"]["KneePointCallback"]["guard"] = guard
    torch.save(checkpoint, path)
    knee, trainer = fit(
        tmp_path,
        Scripted(),
        steps=7,
        ckpt_path=path,
        callbacks=lambda knee, checkpoint: [EMA(0.5), DivergenceGuard(), knee, checkpoint],
    )
    assert trainer.global_step == 7 and [v.step for v in knee.history] == list(range(1, 8))


def test_still_rising_publishes_nothing_and_says_why(tmp_path, caplog, monkeypatch):
    printed = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    monkeypatch.setattr(printed, "handlers", [caplog.handler])
    knee, trainer = fit(
        tmp_path,
        Scripted(lambda step, rank: {"val/a": float(step), "val/b": -float(step)}),
        steps=30,
    )
    assert (
        trainer.global_step == 30
        and knee.verdict.knee_step is None
        and not (tmp_path / "knee").exists()
    )
    (line,) = {each for each in caplog.messages if each.startswith("no knee")}
    assert line.startswith("no knee by step 30") and "\n" not in line
    assert f": {knee.verdict.reason}; train longer" in line


def test_tensorboard_shows_the_knee(tmp_path):
    knee, _ = fit(tmp_path, Scripted(), logger=TensorBoardLogger(tmp_path, name="", version=""))
    everything = {"images": 0, "scalars": 0, "tensors": 0}
    board = EventAccumulator(str(tmp_path), size_guidance=everything)
    board.Reload()
    scalars = set(board.Tags()["scalars"])
    assert {"knee/a/smoothed", "knee/b/smoothed", "knee/consensus", "knee/candidate_step"} < scalars
    # The knee is one point: a curve that goes from 0 to 1 reads 0.4 when TensorBoard smooths it.
    (point,) = board.Scalars("knee/knee_step")
    assert (point.step, point.value) == (knee.verdict.confirmed_at_step, knee.verdict.knee_step)
    assert "knee/confirmed" not in scalars
    assert board.Images("knee/figure")[-1].step == knee.verdict.confirmed_at_step
    (text,) = board.Tensors("knee/verdict/text_summary")[-1].tensor_proto.string_val
    words = text.decode()
    assert words.startswith(f"**knee at step {knee.verdict.knee_step}, confirmed at step")
    assert "80 % interval of the knee" in words and "improvement still to come" in words


def test_a_chart_of_tensorboard_has_the_curves_of_its_metric_only(tmp_path):
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    fit(tmp_path, Scripted(), steps=1, logger=TensorBoardLogger(tmp_path, name="", version=""))
    board = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    board.Reload()
    (event,) = board.Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    charts = {
        category.title: {chart.title: list(chart.multiline.tag) for chart in category.chart}
        for category in layout.category
    }
    tags = ["val/a", "val/a_bicubic", "knee/a/smoothed", "knee/consensus"]
    shown = [tag for tag in tags if any(re.match(name, tag) for name in charts["validation"]["a"])]
    assert shown == ["val/a", "knee/a/smoothed"]
    for names in charts["knee"].values():
        assert not any(re.match(name, metric) for name in names for metric in METRICS)


def test_nothing_is_judged_outside_of_training(finished, tmp_path):
    folder, _, _, trainer = finished
    knee = KneePointCallback(METRICS)
    fit(tmp_path, Scripted(), knee=knee, fast_dev_run=True)
    assert knee.history == [] and not (tmp_path / "checkpoints").exists()
    before = len(trainer.callbacks)
    trainer.validate(Scripted(), loader(), verbose=False)
    assert len(trainer.callbacks) == before
