"""The provisional knee of a run: its file and its lines in the log, also after a resume."""

import json
import logging

import pytest
from support.scripted import METRICS, Scripted, curve, fit

from callbacks import KneePointCallback
from lsr.files import sha256_of
from lsr.knee.provisional import read_provisional


class Watched(KneePointCallback):
    """Remembers the file after every validation."""

    def __init__(self, folder, **settings):
        super().__init__(METRICS, **settings)
        self.folder = folder
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        super().on_validation_end(trainer, pl_module)
        found = read_provisional(self.folder / "knee")
        if found is not None:
            assert sha256_of(self.folder / found["weights"]) == found["sha256"]
        self.seen.append(found)


def rises_again(step, rank=0):
    """The curves of a plateau that a far longer rise follows."""
    first = curve(min(step, 24), rank)
    more = 2.0 * max(0, step - 24)
    return {"val/a": first["val/a"] + more, "val/b": first["val/b"] - more}


def told(caplog):
    """Return the lines about changes of the provisional knee."""
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if "provisional knee" in line and "no knee by" not in line]


@pytest.fixture
def log(caplog):
    """The log, down to the level of the messages of a run."""
    caplog.set_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero")
    return caplog


def test_it_is_published_revised_and_gives_way_to_the_final_knee(tmp_path, log):
    knee = Watched(tmp_path)
    fit(tmp_path, Scripted(), knee=knee)
    steps = [None if found is None else found["step"] for found in knee.seen]
    first = next(i for i, step in enumerate(steps) if step is not None)
    assert first > 6 and knee.verdict.knee_step is not None
    changes = sum(one != two for one, two in zip(steps[first:-1], steps[first + 1 :], strict=True))
    lines = told(log)
    assert len(lines) == 1 + changes and "likelier than not" in lines[0]
    found = knee.seen[first]
    assert found["metrics"] == pytest.approx(curve(found["step"])) and found["probability"] > 0.5
    assert found["judged_at_step"] == knee.history[first - len(knee.seen)].step
    assert {path.name for path in (tmp_path / "knee").iterdir()} == {
        "knee.json",
        "knee.png",
        "seed.safetensors",
    }


def test_it_is_withdrawn_when_the_curves_rise_again(tmp_path, log):
    knee = Watched(tmp_path, min_step=1000)
    fit(tmp_path, Scripted(rises_again), knee=knee, steps=34)
    assert knee.seen[23] is not None and knee.seen[-1] is None
    assert "withdrawn: " in told(log)[-1] and not (tmp_path / "knee").exists()


def test_a_resumed_run_neither_repeats_nor_loses_a_line(tmp_path, log):
    fit(tmp_path / "whole", Scripted())
    whole = told(log)
    states = {}
    for name, stop in (("two", 13), ("three", 16)):
        log.clear()
        fit(tmp_path / name, Scripted(), steps=stop)
        states[name] = (tmp_path / name / "knee" / "provisional.json").read_text()
        checkpoint = tmp_path / name / "checkpoints" / f"{stop}.ckpt"
        fit(tmp_path / name, Scripted(), ckpt_path=checkpoint)
        assert told(log) == whole
    assert len(set(states.values())) == 2


def test_the_file_goes_back_with_the_checkpoint(tmp_path, log):
    fit(tmp_path, Scripted(), steps=15)
    checkpoints = tmp_path / "checkpoints"
    later = json.loads((tmp_path / "knee" / "provisional.json").read_text())
    log.clear()
    fit(tmp_path, Scripted(), steps=14, ckpt_path=checkpoints / "13.ckpt")
    found = read_provisional(tmp_path / "knee")
    assert later["judged_at_step"] == 15 and found["judged_at_step"] == 14
    (line,) = [r.getMessage() for r in log.records if "later than the check" in r.getMessage()]
    assert f"(step {later['step']}) is later than" in line and "it is replaced by step 13" in line


def test_a_new_run_removes_the_file_of_another(tmp_path, log):
    fit(tmp_path, Scripted(), steps=12)
    assert (tmp_path / "knee").exists()
    log.clear()
    fit(tmp_path, Scripted(), steps=2)
    assert not (tmp_path / "knee").exists()
    assert any("it is removed" in record.getMessage() for record in log.records)


@pytest.mark.parametrize(
    ("script", "steps", "reason"),
    [
        (curve, 5, "only 5 validations so far: a knee needs at least 7"),
        (lambda step, rank: {"val/a": 1.0, "val/b": 2.0}, 20, "no metric has changed in 20"),
        (
            lambda step, rank: curve(step) if step < 8 else {"val/a": curve(step)["val/a"]},
            40,
            "val/b has no finite value since step 7: nothing is confirmed",
        ),
    ],
    ids=["few", "constant", "gone"],
)
def test_bad_input_is_told_and_publishes_nothing(tmp_path, script, steps, reason):
    knee, trainer = fit(tmp_path, Scripted(script), steps=steps)
    assert trainer.global_step == steps and knee.verdict.reason.startswith(reason)
    assert not (tmp_path / "knee").exists()
