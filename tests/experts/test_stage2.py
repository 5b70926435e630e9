"""Training of the experts: each step changes one expert and no other."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.knee_folder import publish_knee
from support.patience import PATIENCE_S
from support.processes import SUPPORT, environment
from support.stage2_run import Stage2, fit

from lsr.experts.turns import expert_of_step
from lsr.models.checkpoint import EMA_STATE, load_denoiser
from lsr.models.mixture import ExpertMixture
from lsr.training.module import LinearSRModule

STEPS = 11


@pytest.fixture(scope="module")
def knee(tmp_path_factory):
    return publish_knee(tmp_path_factory.mktemp("stage1"))


@pytest.fixture(scope="module")
def unbroken(knee, tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("unbroken"), Stage2(str(knee))
    ema, trainer = fit(folder, module, STEPS, val_check_interval=STEPS)
    return folder, module, ema, trainer


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def expert_in(name):
    return int(name.split(".")[2])


def assert_only_the_drawn_expert_moves(weights):
    for step, (before, after) in enumerate(zip(weights, weights[1:], strict=False)):
        moved = {expert_in(name) for name in before if not torch.equal(before[name], after[name])}
        assert moved == {expert_of_step(step, 4)}, step


def test_a_step_trains_the_expert_it_draws_and_leaves_the_others_bit_for_bit(unbroken):
    _, module, _, _ = unbroken
    assert len(module.weights) == STEPS + 1
    assert_only_the_drawn_expert_moves(module.weights)


def turns(steps):
    return [sum(expert_of_step(step, 4) == expert for step in range(steps)) for expert in range(4)]


def test_moments_and_averages_count_an_experts_own_steps(unbroken):
    folder, module, ema, trainer = unbroken
    assert set(turns(STEPS)) == {2, 3}, "the round is broken off"
    state = trainer.optimizers[0].state
    for name, parameter in module.named_parameters():
        assert state[parameter]["step"] == turns(STEPS)[expert_in(name)]
    assert ema.state_dict()["updates"] == {
        name: turns(STEPS)[expert_in(name)] for name in module.weights[0]
    }
    average = {name: weight.clone() for name, weight in module.weights[0].items()}
    for step, weights in enumerate(module.weights[1:]):
        n = turns(step)[expert_of_step(step, 4)]
        decay = min(0.9, (1 + n) / (10 + n))
        for name in average:
            if expert_in(name) == expert_of_step(step, 4):
                average[name] = decay * average[name] + (1 - decay) * weights[name]
    for name, weight in last(folder)[EMA_STATE].items():
        torch.testing.assert_close(weight, average[name], rtol=1e-6, atol=1e-6)


def test_every_expert_warms_up_by_its_own_steps(unbroken):
    folder, _, _, _ = unbroken
    rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["train/lr"]]
    rates = [float(row["train/lr"]) for row in rows]
    assert rates == pytest.approx(
        [1e-2 * min(1, (turns(step)[expert_of_step(step, 4)] + 1) / 3) for step in range(STEPS)]
    )


def test_loss_and_gradient_norm_of_every_expert_are_logged(unbroken):
    folder, _, _, _ = unbroken
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    trained = [row for row in rows if row["train/loss"]]
    for step, row in enumerate(trained):
        for name in ("loss", "grad_norm"):
            assert row[f"train/{name}_expert_{expert_of_step(step, 4)}"] == row[f"train/{name}"]
    assert len({rows[-1][f"train/grad_norm_expert_{i}"] for i in range(4)}) == 4
    for i in range(4):
        assert float(rows[-1][f"val/loss_expert_{i}"]) > 0


@pytest.mark.parametrize("broken_at", [6, 8])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(unbroken, knee, tmp_path, broken_at):
    fit(tmp_path, Stage2(str(knee)), broken_at)
    resumed = Stage2(str(tmp_path / "the knee is not looked at again"))
    ema, _ = fit(
        tmp_path,
        resumed,
        STEPS,
        ckpt_path=tmp_path / "checkpoints" / "last.ckpt",
        val_check_interval=STEPS,
    )
    one, other = last(unbroken[0]), last(tmp_path)
    for key in ("state_dict", EMA_STATE):
        assert one[key].keys() == other[key].keys()
        assert all(torch.equal(weight, other[key][name]) for name, weight in one[key].items())
    assert ema.state_dict() == unbroken[2].state_dict()


def test_batches_of_one_step_share_the_expert(knee, tmp_path):
    module = Stage2(str(knee), batches=2)
    fit(tmp_path, module, 3, accumulate_grad_batches=2)
    assert_only_the_drawn_expert_moves([module.weights[0], *module.weights[2::2]])


@pytest.fixture(scope="module")
def two_ranks(knee, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two ranks")
    command = [sys.executable, str(SUPPORT / "stage2_run.py"), str(folder), str(knee), "50"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return folder, *(torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(2))


def test_two_ranks_draw_the_same_expert_and_hold_the_same_weights(two_ranks):
    one, two = (rank["weights"] for rank in two_ranks[1:])
    assert len(one) == len(two) == 51
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(weight, b[name]) for name, weight in a.items())
    assert_only_the_drawn_expert_moves(one)


def test_the_logged_loss_is_the_mean_over_ranks(two_ranks):
    folder, one, two = two_ranks
    losses = np.mean([one["seen"]["losses"], two["seen"]["losses"]], axis=0)
    assert abs(losses - one["seen"]["losses"]).min() > 1e-3, "each rank has a loss of its own"
    rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["train/loss"]]
    steps = [int(row["step"]) for row in rows]
    assert steps == [*range(3, 51, 3)]
    assert [float(row["train/loss"]) for row in rows] == pytest.approx(
        [losses[step - 1] for step in steps], rel=1e-5
    )
    for row, step in zip(rows, steps, strict=True):
        for expert in range(4):
            newest = [k for k in range(step) if expert_of_step(k, 4) == expert]
            logged = row[f"train/loss_expert_{expert}"]
            assert not newest or float(logged) == pytest.approx(losses[newest[-1]], rel=1e-5)
    for rank in (one, two):
        assert rank["seen"]["validated"] == {
            step: pytest.approx(losses[step - 1], rel=1e-5) for step in (20, 40)
        }


def test_steps_that_do_not_log_have_only_the_collective_of_the_guard(two_ranks):
    counts = two_ranks[1]["seen"]["collectives"]
    quiet = [
        count
        for step, count in enumerate(counts, 1)
        if step % 3 and step % 20 and step != len(counts)
    ]
    assert len(counts) == 50 and set(quiet) == {1}, "the norm on all ranks"


def test_the_checkpoint_is_a_model_file_and_needs_no_knee(unbroken, knee, tmp_path):
    folder, module, _, _ = unbroken
    shutil.copy(folder / "checkpoints" / "last.ckpt", tmp_path / "last.ckpt")
    model, shift = load_denoiser(tmp_path / "last.ckpt")
    assert isinstance(model, ExpertMixture) and shift == 6.0
    average = last(folder)[EMA_STATE]
    assert all(
        torch.equal(weight, average[f"denoiser.{name}"])
        for name, weight in model.named_parameters()
    )


def test_a_checkpoint_of_other_boundaries_is_refused(unbroken, knee, tmp_path):
    module = Stage2(str(knee))
    assert isinstance(module.denoiser, ExpertMixture)
    module.denoiser.boundaries = (0.25, 0.5, 0.75)
    with pytest.raises(
        ValueError,
        match=r"experts that meet at \[0.223, 0.875, 0.939\], "
        r"but the model is of experts that meet at \[0.25",
    ):
        fit(tmp_path, module, STEPS, ckpt_path=unbroken[0] / "checkpoints" / "last.ckpt")


def test_experts_take_no_initial_weights_beside_the_knee(knee):
    with pytest.raises(ValueError, match="init_from"):
        Stage2(str(knee), init_from=str(knee / "seed.safetensors"))


def test_a_single_denoiser_logs_nothing_of_experts():
    assert not any("expert" in name for name in LinearSRModule().scores.means)
