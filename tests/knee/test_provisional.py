"""The provisional knee: when it is told, moves or is withdrawn, and its file."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.folder import publish, read_manifest
from lsr.knee.provisional import (
    FILE,
    ProvisionalKnee,
    is_published,
    read_provisional,
    remove_provisional,
    revise,
    write_provisional,
)
from lsr.knee.scoring import draw_runs
from lsr.knee.verdict import in_percent


def verdicts() -> list[KneeVerdict]:
    """The verdicts on a run with its knee at step 600."""
    detector = KneeDetector({"psnr": "max", "niqe": "min"})
    found = []
    for step in range(50, 3001, 50):
        noise = np.random.default_rng(step).normal(0, 0.01, 2)
        height = -math.expm1(-step / 200)
        values = {"psnr": 20 + 5 * (height + noise[0]), "niqe": 9 - 2 * (height + noise[1])}
        found.append(detector.update(step, values))
    return found


HISTORY = verdicts()
LIKELY = next(verdict for verdict in HISTORY if verdict.provisional_step is not None)
FIRST, _ = revise(None, LIKELY)
assert FIRST is not None


def test_it_is_the_candidate_as_soon_as_it_is_likelier_than_not() -> None:
    for verdict in HISTORY[6:]:
        likely = verdict.knee_step is None and verdict.confidence > 0.5
        assert (verdict.provisional_step is not None) == likely
        assert verdict.provisional_step in (None, verdict.candidate_step)
    assert LIKELY.step < next(v.step for v in HISTORY if v.knee_step is not None)


def test_its_weights_are_always_kept_and_it_never_stands_next_to_creeping() -> None:
    seen = 0
    for run in draw_runs(77, 12, longest=100):
        detector = KneeDetector(run.metrics)
        for step, values in zip(run.steps, run.rows(), strict=True):
            verdict = detector.update(int(step), values)
            if verdict.provisional_step is not None:
                seen += 1
                assert verdict.provisional_step in verdict.candidates and not verdict.creeping
    assert seen > 20


def test_every_change_is_one_line_and_no_change_is_none() -> None:
    knee = None
    told = []
    for verdict in HISTORY:
        before = knee
        knee, line = revise(before, verdict)
        steps = [None if each is None else each.step for each in (before, knee)]
        assert bool(line) == (steps[0] != steps[1] and verdict.knee_step is None)
        assert "\n" not in line
        told += [line] if line else []
    assert knee is None, "the final knee replaces it"
    first = f"step {LIKELY.step}: provisional knee at step {LIKELY.provisional_step} ("
    assert told[0].startswith(first) and "% likely, 80 % interval of the knee: step" in told[0]
    assert "provisional knee moves from step" in told[1] and "puts the end of the rise" in told[1]


def test_a_move_names_the_metric_that_takes_part_now_or_no_longer() -> None:
    moved = dataclasses.replace(LIKELY, provisional_step=LIKELY.step + 50)
    fewer = dataclasses.replace(FIRST, informative=("psnr",))
    assert "niqe stands out of its noise now and takes part" in revise(fewer, moved)[1]
    more = dataclasses.replace(FIRST, informative=("psnr", "niqe", "ssim"))
    assert "ssim does not stand out of its noise any more" in revise(more, moved)[1]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"confidence": 0.4}, f"no step is likelier than not, the best is {LIKELY.step} with 40 %"),
        ({"creeping": "no plateau: 9 % of it", "confidence": 0.4}, "no plateau: 9 % of it"),
        ({"reason": "niqe has no finite value", "confidence": 0.9}, "niqe has no finite value"),
        ({"reason": "diverged: the loss", "diverged": True}, "diverged: the loss"),
        ({"reason": "no metric has risen", "candidate_step": None}, "no metric has risen"),
    ],
)
def test_it_is_withdrawn_with_the_reason(fields: dict, why: str) -> None:
    changes = {"provisional_step": None, "candidate_step": LIKELY.step} | fields
    verdict = dataclasses.replace(LIKELY, **changes)
    line = f"step {LIKELY.step}: provisional knee at step {FIRST.step} withdrawn: {why}"
    assert revise(FIRST, verdict) == (None, line)
    assert revise(None, verdict) == (None, "")


def test_a_validation_without_values_changes_nothing() -> None:
    detector = KneeDetector({"psnr": "max"})
    nothing = detector.update(5000, {"psnr": math.nan}, loss=1.0)
    assert revise(FIRST, nothing) == (FIRST, "")


def test_the_state_is_plain() -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(FIRST)))
    assert ProvisionalKnee.from_plain(plain) == FIRST


def test_the_file_is_no_knee_and_a_final_knee_takes_its_place(tmp_path) -> None:
    folder = tmp_path / "knee"
    assert read_provisional(folder) is None and not is_published(folder)
    write_provisional(folder, FIRST, {"psnr": 24.0}, "checkpoints/step-0000550.safetensors", "ab")
    found = read_provisional(folder)
    assert found is not None and found["step"] == FIRST.step and found["metrics"] == {"psnr": 24.0}
    assert found["status"].startswith("provisional: not confirmed") and not is_published(folder)
    likely = in_percent(FIRST.probability)
    with pytest.raises(
        ValueError, match=rf"holds only a provisional knee \(step {FIRST.step}, {likely} likely"
    ):
        read_manifest(folder)
    (tmp_path / "weights").write_bytes(b"weights")
    assert publish(folder, tmp_path / "weights", {"step": 600}, lambda path: path.write_bytes(b""))
    assert is_published(folder) and not (folder / FILE).exists()
    assert read_manifest(folder)["step"] == 600


def test_a_withdrawn_file_leaves_no_folder(tmp_path) -> None:
    write_provisional(tmp_path / "knee", FIRST, {}, "weights", "ab")
    remove_provisional(tmp_path / "knee")
    assert list(tmp_path.iterdir()) == []
    remove_provisional(tmp_path / "knee")
    (tmp_path / "knee").mkdir()
    (tmp_path / "knee" / FILE).write_text("[half")
    assert read_provisional(tmp_path / "knee") is None
