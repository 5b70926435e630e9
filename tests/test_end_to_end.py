"""Real runs in real processes: kill and resume, several ranks, bad input, all verbs."""

import json
import signal
import subprocess
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.patience import PATIENCE_S, wait_until
from support.processes import TINY_STAGE1
from support.small_run import SMALL, finish, run

from lsr.cli import main
from lsr.models.checkpoint import load_denoiser, save_denoiser
from lsr.runs.launches import read_launches


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(4):
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def arguments(verb, folder, photographs, *extra, **options):
    settings = SMALL | {
        f"data.init_args.{split}": f"['{photographs}']" for split in ("train", "val", "test")
    }
    settings |= {"trainer.default_root_dir": folder} | options
    flat = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    return [verb, "--config", str(without_niqe(photographs)), *flat, *extra]


def without_niqe(photographs):
    """Write the experiment without NIQE, for which these photographs are too small."""
    config = yaml.safe_load(TINY_STAGE1.read_text())
    config["model"] |= {"val_metrics": ["psnr_y", "ssim_y"], "niqe_parameters": None}
    knee = next(
        callback
        for callback in config["trainer"]["callbacks"]
        if callback["class_path"].endswith("KneePointCallback")
    )
    knee["init_args"]["metrics"] = {"val/psnr_y": "max", "val/ssim_y": "max"}
    path = photographs.parent / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def last(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_weights(one, other):
    for key in ("state_dict", "ema_state_dict"):
        assert one[key].keys() == other[key].keys() and len(one[key]) > 20
        for name, weight in one[key].items():
            assert torch.equal(weight, other[key][name]), (key, name)


def kill_after_checkpoint(command, checkpoint):
    process = run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(checkpoint.is_file, process)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def unbroken(photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    finish(arguments("fit", folder, photographs, **{"trainer.max_steps": 12}))
    return folder


def test_a_run_folder_holds_what_others_rely_on(unbroken):
    names = {str(path.relative_to(unbroken)) for path in unbroken.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "images/step-0000012.png",
        "launches.json",
        "report.html",
    } <= names
    assert any("tfevents" in name for name in names)
    header = (unbroken / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {
        "step",
        "train/loss",
        "train/grad_norm",
        "train/lr",
        "val/loss",
        "val/psnr_y",
        "val/ssim_y",
        "val/psnr_y_bicubic",
    } <= set(header)
    assert last(unbroken)["global_step"] == 12
    (launch,) = read_launches(unbroken)
    assert launch.command.startswith("lsr fit --config ") and launch.hardware["processes"] == 1
    assert (launch.first_step, launch.step, launch.ended) == (0, 12, "finished")
    assert launch.seconds > 0 and launch.versions["torch"] == version("torch")
    report = (unbroken / "report.html").read_text()
    assert "No knee confirmed" in report and escape(launch.command) in report


def test_a_killed_run_continues_to_the_same_weights(unbroken, photographs, tmp_path):
    """A run killed after its first checkpoint and resumed has the weights of an unbroken run."""
    # It is asked for more steps than it will live to do.
    kill_after_checkpoint(
        arguments("fit", tmp_path, photographs, **{"trainer.max_steps": 10_000}),
        tmp_path / "checkpoints" / "last.ckpt",
    )
    killed_at = last(tmp_path)["global_step"]
    assert killed_at % 3 == 0
    target = max(12, killed_at + 3)
    finish(
        arguments(
            "fit", tmp_path, photographs, "--ckpt_path", "last", **{"trainer.max_steps": target}
        )
    )
    if target == 12:
        reference = unbroken
    else:
        reference = tmp_path / "reference"
        finish(arguments("fit", reference, photographs, **{"trainer.max_steps": target}))
    assert_same_weights(last(tmp_path), last(reference))
    steps = [line.split(",")[0] for line in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [str(step) for step in range(1, target + 1)]
    assert (tmp_path / "config-1.yaml").is_file() and (tmp_path / "config.yaml").is_file()
    killed, resumed = read_launches(tmp_path)
    assert killed.ended == "" and resumed.ended == "finished"
    assert (resumed.first_step, resumed.step) == (killed_at, target)


def test_the_steps_after_the_last_validation_are_kept(photographs, tmp_path):
    assert main(arguments("fit", tmp_path, photographs, **{"trainer.max_steps": 4})) == 0
    assert last(tmp_path)["global_step"] == 4


def test_two_ranks_train_like_one(unbroken, photographs, tmp_path):
    """Two processes with half the batch each get the same weights, up to the order of sums."""
    half = {
        "trainer.max_steps": 12,
        "data.init_args.batch_size": 1,
        "trainer.devices": 2,
        "trainer.strategy": "ddp",
    }
    finish(arguments("fit", tmp_path, photographs, **half))
    one, two = last(unbroken)["state_dict"], last(tmp_path)["state_dict"]
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=2e-4)


def test_evaluation_leaves_the_logs_of_the_run_alone(unbroken, photographs):
    before = {path: path.read_bytes() for path in unbroken.iterdir() if path.is_file()}
    assert main(arguments("validate", unbroken, photographs, "--ckpt_path", "last")) == 0
    assert {path: path.read_bytes() for path in unbroken.iterdir() if path.is_file()} == before


def test_an_evaluation_needs_no_training_photographs(unbroken, photographs):
    without = {"data.init_args.train": "['nowhere']"}
    assert main(arguments("validate", unbroken, photographs, "--ckpt_path", "last", **without)) == 0


def test_the_other_verbs_use_a_checkpoint(unbroken, photographs, tmp_path, capsys):
    checkpoint = str(unbroken / "checkpoints" / "last.ckpt")
    for verb, metric in (("validate", "val/psnr_y"), ("test", "test/psnr_y"), ("predict", "")):
        assert main(arguments(verb, tmp_path, photographs, "--ckpt_path", checkpoint)) == 0
        assert metric in capsys.readouterr().out
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 4
    denoiser, shift = load_denoiser(Path(checkpoint))
    save_denoiser(
        tmp_path / "knee" / "seed.safetensors",
        denoiser.state_dict(),
        asdict(denoiser.config) | {"shift": shift},
    )
    assert main(arguments("test", tmp_path, photographs, "--ckpt_path", checkpoint)) == 0
    scores = capsys.readouterr().out
    assert main(arguments("test", tmp_path, photographs, "--ckpt_path", "best")) == 0
    assert capsys.readouterr().out == scores, (
        "the knee holds the averaged weights, and so are those of a checkpoint judged"
    )
    command = ["upscale", str(photographs), "--model", checkpoint, "--out", str(tmp_path / "up")]
    assert main(command) == 0
    assert Image.open(tmp_path / "up" / "0.png").size == (256, 192)


def test_a_learning_rate_of_a_million_exits_with_3_and_a_report(photographs, tmp_path, capsys):
    command = arguments(
        "fit",
        tmp_path,
        photographs,
        **{"model.optimizer.lr": 1e6, "model.optimizer.warmup_steps": 1},
    )
    assert main(command) == 3
    assert "diverged at step" in capsys.readouterr().err
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert (
        report["lr"] == [1e6, 1e6]
        and report["non_finite_weights"] == []
        and report["non_finite_gradients"]
    )
    assert f"Diverged at step {report['step']:,}" in (tmp_path / "report.html").read_text()
    assert read_launches(tmp_path)[-1].ended == "diverged"
    for path in tmp_path.rglob("*.ckpt"):
        assert all(
            weight.isfinite().all()
            for weight in torch.load(path, weights_only=True)["state_dict"].values()
        )


def bad_commands(folder, photographs, unbroken):
    empty = folder / "empty"
    empty.mkdir()
    text = folder / "text.ckpt"
    text.write_text("no checkpoint")
    yield (
        "an empty folder",
        arguments("fit", folder / "r", photographs, **{"data.init_args.train": f"['{empty}']"}),
        "no readable photograph",
    )
    yield (
        "an unknown key",
        arguments("fit", folder / "r", photographs, **{"model.wdith": 3}),
        "wdith",
    )
    yield (
        "a wrong type",
        arguments("fit", folder / "r", photographs, **{"model.optimizer.lr": "abc"}),
        "lr",
    )
    yield (
        "an unknown key of the data",
        arguments("fit", folder / "r", photographs, **{"data.init_args.trian": 3}),
        ("datamodules.RealESRGANDataModule: Option 'trian' is not accepted"),
    )
    yield (
        "an impossible size",
        arguments("fit", folder / "r", photographs, **{"model.denoiser.width": 33}),
        "width 33 is not a multiple",
    )
    yield (
        "a missing checkpoint",
        arguments("fit", folder / "r", photographs, "--ckpt_path", str(folder / "no.ckpt")),
        "no.ckpt",
    )
    yield (
        "a broken checkpoint",
        arguments("fit", folder / "r", photographs, "--ckpt_path", str(text)),
        "text.ckpt",
    )
    yield "a missing file", ["fit", "--config", str(folder / "no.yaml")], "no.yaml"
    yield "no experiment", ["fit"], "name an experiment with --config FILE"
    evaluate = arguments("test", folder / "typo", photographs)
    yield "a test without a checkpoint", evaluate, "needs a checkpoint"
    yield (
        "a test of a run that is not there",
        [*evaluate, "--ckpt_path", "last"],
        "last.ckpt: no such checkpoint",
    )
    yield (
        "a test of a knee that is not there",
        [*evaluate, "--ckpt_path", "best"],
        "knee/seed.safetensors: no such checkpoint: lsr knee ",
    )
    yield (
        "training on from a seed",
        arguments("fit", folder / "r", photographs, "--ckpt_path", "best"),
        "has weights but no state of the optimiser",
    )
    other = arguments(
        "fit", unbroken, photographs, "--ckpt_path", "last", **{"model.denoiser.width": 64}
    )
    yield "a checkpoint of another model", other, "another configuration"
    yield (
        "a second run in the folder of the first",
        arguments("fit", unbroken, photographs),
        "already holds a run",
    )


def test_every_mistake_is_one_clear_line(photographs, unbroken, tmp_path, capsys):
    for what, command, expected in bad_commands(tmp_path, photographs, unbroken):
        assert main(command) == 2, what
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lsr ")]
        assert len(lines) == 1 and expected in lines[0], (what, lines)


def test_an_interrupted_run_says_how_it_continues(photographs, tmp_path):
    process = run(
        arguments("fit", tmp_path, photographs, **{"trainer.max_steps": 100000}),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # shells let background jobs, this test for one, ignore it
    )
    wait_until((tmp_path / "checkpoints" / "last.ckpt").is_file, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    # A data worker that is interrupted too may write its own traceback after the message.
    told = [line for line in err.splitlines() if line.startswith("lsr fit: interrupted")]
    assert len(told) == 1 and "--ckpt_path last" in told[0], err
