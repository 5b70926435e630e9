"""Stage 3: a run of the student and its discriminators, resumed, spoilt, exported and used."""

import csv
import json
import math
from dataclasses import replace

import lightning as L
import pytest
import torch
from support.knee_folder import SMALL, publish_knee
from support.small_stage3 import TINY_STAGE3
from support.student_run import BOTH, Stage3, train

from lsr.cli import main
from lsr.models.checkpoint import EMA_STATE, load_denoiser, model_config, save_denoiser
from lsr.student.config import LADDConfig, StudentConfig, UNetConfig
from lsr.student.start import start_file
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.divergence import DivergenceError
from lsr.training.optimizer import OptimizerConfig
from lsr.training.student import StudentModule

STEPS = 7


@pytest.fixture(scope="module")
def knee(tmp_path_factory):
    return str(publish_knee(tmp_path_factory.mktemp("stage1")))


@pytest.fixture(scope="module")
def unbroken(knee, tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("unbroken"), Stage3(knee)
    _, trainer = train(folder, module, STEPS)
    return folder, module, trainer


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_a_batch_is_one_step_and_trains_student_and_discriminators(unbroken, knee):
    _, module, trainer = unbroken
    assert trainer.global_step == STEPS
    start = load_denoiser(start_file(knee))[0].state_dict()
    assert all(not torch.equal(p, start[name]) for name, p in module.student.named_parameters())
    for optimizer in trainer.optimizers:
        assert {int(state["step"]) for state in optimizer.state.values()} == {STEPS}
    weights = sum(len(group["params"]) for group in trainer.optimizers[1].param_groups)
    assert weights == len(list(module.discriminators.parameters())) > 0
    assert all(p.requires_grad for p in module.parameters())


def test_every_term_is_logged_by_its_step(unbroken):
    folder, module, _ = unbroken
    trained = [row for row in rows(folder) if row["train/loss"]]
    assert [row["step"] for row in trained] == [str(step) for step in range(1, STEPS + 1)]
    for row in trained:
        terms = {name: float(row[f"train/loss_{name}"]) for name in ("l1", "ladd", "unet")}
        total = sum(module._loss.weights[name] * value for name, value in terms.items())
        assert float(row["train/loss"]) == pytest.approx(total, rel=1e-5)
        assert float(row["train/grad_norm"]) > 0 and float(row["train/discriminator_grad_norm"]) > 0
    for name in ("ladd", "unet"):
        assert 0 < float(rows(folder)[-1][f"train/discriminator_{name}"]) < 4


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(unbroken, knee, tmp_path):
    train(tmp_path, Stage3(knee), 4)
    resumed = Stage3(knee)
    path = tmp_path / "checkpoints" / "last.ckpt"
    train(tmp_path, resumed, STEPS, path, val_check_interval=STEPS)
    one, other = last(unbroken[0]), last(tmp_path)
    for key in ("state_dict", EMA_STATE):
        assert one[key].keys() == other[key].keys()
        kept = any(name.startswith("discriminators.") for name in one[key])
        assert kept == (key == "state_dict"), "the average is for evaluation, which has none"
        assert all(torch.equal(weight, other[key][name]) for name, weight in one[key].items())
    for mine, theirs in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        assert mine["state"].keys() == theirs["state"].keys() != set()
        for weight, moments in mine["state"].items():
            assert all(torch.equal(v, theirs["state"][weight][k]) for k, v in moments.items())
    assert one["lr_schedulers"] == other["lr_schedulers"]


def test_another_frozen_model_or_other_terms_are_refused(unbroken, knee, tmp_path):
    path = unbroken[0] / "checkpoints" / "last.ckpt"
    other = str(publish_knee(tmp_path, SMALL))  # the same weights, in another place
    train(tmp_path / "same", Stage3(other), STEPS + 1, path)
    model = load_denoiser(start_file(other))[0]
    model.net.out.bias += 1
    seed = tmp_path / "other.safetensors"
    save_denoiser(seed, model.state_dict(), model_config(model, 6.0))
    with pytest.raises(ValueError, match="frozen model of student.ladd.features is another file"):
        train(tmp_path / "other", Stage3(str(seed)), STEPS + 1, path)
    fewer = StudentConfig(lpips_weight=0.0, ladd=LADDConfig(channels=6))
    with pytest.raises(ValueError, match="trained with the terms l1, ladd, unet, not l1, ladd"):
        train(tmp_path / "fewer", Stage3(knee, fewer), STEPS + 1, path)


def test_without_discriminators_it_is_a_regression(tmp_path, knee):
    module = Stage3(knee, StudentConfig(lpips_weight=0.0, pixel_l1_weight=1.0))
    _, trainer = train(tmp_path, module, 2)
    assert len(trainer.optimizers) == 1 and trainer.global_step == 2
    row = rows(tmp_path)[0]
    # Without an autoencoder the two errors differ by the unit of the data alone.
    unit = SMALL.residual_std
    assert float(row["train/loss_pixel_l1"]) == pytest.approx(unit * float(row["train/loss_l1"]))


def test_discriminators_begin_at_their_step(tmp_path, knee):
    module = Stage3(knee, replace(BOTH, gan_start=2))
    _, trainer = train(tmp_path, module, 3)
    steps = {int(state["step"]) for state in trainer.optimizers[1].state.values()}
    assert steps == {1}
    assert [bool(row["train/loss_unet"]) for row in rows(tmp_path)[:3]] == [False, False, True]


def test_the_teacher_of_several_steps_is_learnt_from(tmp_path, knee):
    student = StudentConfig(
        l1_weight=0.0,
        teacher_l1_weight=1.0,
        teacher_steps=3,
        lpips_weight=0.0,
        real="teacher",
        unet=UNetConfig(channels=4),
    )
    train(tmp_path, Stage3(knee, student), 40, log_every_n_steps=1)
    losses = [float(row["train/loss_teacher_l1"]) for row in rows(tmp_path) if row["train/loss"]]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


class Taught(Stage3):
    """Has the photographs, darker, as a teacher's results."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch | {"teacher": batch["hr"] - 0.5}, batch_idx)


def test_the_recipe_of_the_embedded_model_ignores_noise_and_learns(tmp_path, knee, monkeypatch):
    student = StudentConfig(
        l1_weight=0.0,
        low_pass_l1_weight=1.5,
        teacher_l1_weight=0.5,
        gradient_l1_weight=0.5,
        lpips_weight=0.0,
        unet=UNetConfig(channels=4, feature_weight=1.0),
        real="both",
        noise=False,
    )
    monkeypatch.setattr("lsr.training.student.check_teacher", lambda trainer: None)
    module = Taught(knee, student)
    train(tmp_path, module, 40)
    trained = [row for row in rows(tmp_path) if row["train/loss"]]
    for name in ("low_pass_l1", "teacher_l1", "gradient_l1", "features", "unet"):
        assert float(trained[-1][f"train/loss_{name}"]) != 0
    losses = [float(row["train/loss_teacher_l1"]) for row in trained]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    reading = module.student.net.embed.weight[:, : module.student.space.channels]
    assert (reading == 0).all()


def test_a_teacher_that_the_data_do_not_have_is_told_before_training(tmp_path, knee):
    student = StudentConfig(teacher_l1_weight=1.0, lpips_weight=0.0)
    with pytest.raises(ValueError, match="need a teacher: set data.init_args.teacher"):
        train(tmp_path, Stage3(knee, student), 1)


class Spoilt(Stage3):
    """Has NaN in a gradient of the student or of the discriminators at step 2."""

    part = "student"

    def on_after_backward(self):
        if self.global_step == 2:
            weight = next(iter(getattr(self, self.part).parameters()))
            if weight.grad is not None:
                weight.grad[:] = math.nan


@pytest.mark.parametrize("part", ["student", "discriminators"])
def test_the_guard_ends_the_run_before_nan_reaches_either(tmp_path, knee, part):
    module = Spoilt(knee)
    module.part = part
    with pytest.raises(DivergenceError, match="diverged at step 2"):
        train(tmp_path, module, 5)
    assert all(torch.isfinite(weight).all() for weight in module.state_dict().values())
    report = json.loads((tmp_path / "divergence.json").read_text())
    prefix = "denoiser." if part == "student" else "discriminators."
    assert report["step"] == 2
    assert all(name.startswith(prefix) for name in report["non_finite_gradients"])


def test_a_discriminator_that_wins_is_warned_of_once(tmp_path, knee):
    student = StudentConfig(
        lpips_weight=0.0, unet=UNetConfig(weight=1e-9, channels=8), win_validations=2
    )
    module = Stage3(knee, student)
    # The student hardly learns, so that it stays easy to tell.
    module.optimizer_config = OptimizerConfig(lr=1e-9, warmup_steps=0)
    module.discriminator_optimizer = OptimizerConfig(lr=2e-2, warmup_steps=0)
    with pytest.warns(UserWarning, match="the discriminator unet wins") as warned:
        train(tmp_path, module, 120, val_check_interval=10)
    assert len([w for w in warned if "wins" in str(w.message)]) == 1


def test_its_checkpoint_is_a_model_of_one_step(unbroken):
    model, shift = load_denoiser(unbroken[0] / "checkpoints" / "last.ckpt")
    assert model.one_step and shift == 6.0


def test_validation_needs_no_discriminators(unbroken, knee):
    folder, _, _ = unbroken
    module = Stage3(None)
    trainer = L.Trainer(
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        plugins=[AtomicCheckpointIO()],
    )
    (found,) = trainer.validate(module, ckpt_path=folder / "checkpoints" / "last.ckpt")
    assert module.discriminators is None and found["val/psnr_y"] > 0


def test_a_student_of_several_steps_is_refused():
    with pytest.raises(ValueError, match="num_inference_steps must be 1"):
        StudentModule(num_inference_steps=4)


def test_a_result_that_noise_is_added_to_cannot_be_without_noise():
    velocity = replace(SMALL, prediction="velocity")
    with pytest.raises(ValueError, match="student.noise: false needs .* preconditioned"):
        StudentModule(StudentConfig(noise=False), denoiser=velocity)
    StudentModule(denoiser=velocity)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--trainer.gradient_clip_val", "1"), "set model.student.gradient_clip_val"),
        (("--trainer.accumulate_grad_batches", "2"), "stage 3 takes a step at every batch"),
        (("--model.init_from", "runs/none/knee"), "runs/none/knee: no such knee or model file"),
        (("--model.student.teacher_l1_weight", "1"), "need a teacher: set data.init_args.teacher"),
        (("--trainer.strategy", "sharded"), "stage 3 cannot shard weights"),
    ],
)
def test_what_stage_3_cannot_do_is_one_line_before_training(option, message, tmp_path, capsys):
    start = ["--model.init_from", str(publish_knee(tmp_path))]
    arguments = ["fit", "--config", str(TINY_STAGE3), *start, *option]
    assert main([*arguments, "--trainer.default_root_dir", str(tmp_path / "run")]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "lsr fit:" in each]
    assert message in line
