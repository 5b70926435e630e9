"""What `lsr fit` says about a setting that it refuses, and what such a run leaves behind."""

from pathlib import Path

import lightning as L
import pytest
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from support.processes import TINY_STAGE1

from lsr.cli import main
from lsr.training import launcher
from lsr.training.option_errors import shortened
from lsr.training.refused_run import left_as_found


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function that fits the experiment with an option, and returns the message."""

    def fit(*options):
        command = ["fit", "--config", str(TINY_STAGE1), "--trainer.max_steps", "1"]
        folder = ["--trainer.default_root_dir", str(tmp_path / "run")]
        assert main([*command, *folder, *options]) == 2
        said = capsys.readouterr().err.splitlines()
        lines = [line for line in said if line.startswith("lsr ")]
        assert len(lines) == 1 and len(lines[0]) <= 200, lines
        return lines[0].removeprefix("lsr fit: ")

    return fit


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.init_args.crop_size=50", "crop_size must be a positive multiple of scale 4"),
        ("--trainer.devices=x", "trainer: `devices` selected with"),
        ("--trainer.callbacks.EMA.decay=99", "EMA decay must be at least 0 and below 1, not 99"),
        ("--trainer.callbacks.EMA.decay=fast", "callbacks.EMA: decay: must be a number, not fast"),
        (
            "--trainer.callbacks.KneePointCallback.metrics={val/psnr_y: maximum}",
            "direction of metric 'val/psnr_y' must be 'max' or 'min', not 'maximum'",
        ),
        ("--data.init_args.degradation=mud", "unknown degradation preset 'mud'; known: realesrgan"),
        ("--trainer.precision=8", "trainer.precision: must be 64, 32, 16, transformer-engine"),
        ("--trainer.max_steps=many", "trainer.max_steps: must be a whole number, not many"),
        (
            "--trainer.callbacks+=callbacks.Ema",
            "callbacks.Ema: module 'callbacks' has no attribute",
        ),
    ],
)
def test_the_reason_comes_first_and_in_one_short_line(refused, option, message):
    assert refused(option).startswith(message)


def test_far_more_processes_than_cores_are_refused(refused, monkeypatch):
    monkeypatch.setattr(launcher, "_RANKS_PER_CORE", 0)  # one process harms nobody if it starts
    message = refused("--trainer.devices=1", "--trainer.accelerator=cpu")
    assert message.startswith("--trainer.devices 1 starts that many processes on the")


def test_a_logger_that_is_not_installed_is_named_with_the_command_that_installs_it(refused):
    message = refused("--trainer.logger+=lightning.pytorch.loggers.CometLogger")
    assert message.startswith("lightning.pytorch.loggers.CometLogger: comet-ml")
    assert " is not installed: pip install 'comet-ml" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_clip_val", -1),
        ("gradient_clip_val", ".nan"),
        ("val_check_interval", 0),
        ("accumulate_grad_batches", 0),
        ("accumulate_grad_batches", -2),
    ],
)
def test_a_number_of_the_trainer_below_its_range_is_named(refused, name, value):
    message = refused(f"--trainer.{name}={value}")
    assert message.startswith(f"trainer.{name} must be a") and str(value).strip(".") in message


def test_a_run_folder_that_cannot_be_created_is_named_with_the_reason(refused):
    message = refused("--trainer.default_root_dir=/proc/absent/run")
    assert message.endswith("'/proc/absent'"), "what could not be created, not the folder in it"


def test_a_callback_that_is_listed_twice_is_one_line(refused):
    message = refused("--trainer.callbacks+=callbacks.DivergenceGuard")
    assert message.startswith("trainer: Found more than one stateful callback of type `Div")


def test_a_key_that_stands_twice_in_a_yaml_file_is_refused(refused, tmp_path):
    twice = tmp_path / "twice.yaml"
    twice.write_text("model:\n  optimizer:\n    lr: 1.0\n\n    lr: 2.0\n")
    assert yaml.safe_load(twice.read_text())["model"]["optimizer"]["lr"] == 2
    expected = f"{twice}: lines 3 and 5 both set lr: remove one of them"
    assert refused("--config", str(twice)) == expected
    assert refused(f"--config={twice}") == expected


def test_the_same_key_in_two_members_of_a_list_is_no_repetition(tmp_path, capsys):
    command = ["fit", "--config", str(TINY_STAGE1), "--print_config"]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code in (0, None)


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_run_leaves_its_folder_as_it_was(refused, tmp_path, there):
    run = tmp_path / "run"
    if there:
        run.mkdir()
        (run / "events.out.tfevents.1").write_bytes(b"of an earlier run")
        (run / "config.yaml").write_text("of: an earlier run")
    assert refused("--data.init_args.batch_size=-1").startswith("batch_size must be at least 1")
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == ({"run", "events.out.tfevents.1", "config.yaml"} if there else set())


def test_a_refused_run_in_the_working_folder_does_not_search_it(tmp_path, monkeypatch):
    """Without `default_root_dir` this is the folder where the command is started."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "hparams.yaml").write_text("")
    searched = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: searched.append(path) or iterdir(path))
    logger = TensorBoardLogger(tmp_path)
    trainer = L.Trainer(default_root_dir=tmp_path, logger=logger, accelerator="cpu")
    with pytest.raises(KeyError), left_as_found(trainer, lambda: False):
        logger.log_metrics({"loss": 1.0}, 0)
        logger.save()
        assert (tmp_path / "lightning_logs" / "version_0" / "hparams.yaml").is_file()
        (tmp_path / "deep" / "niqe.mat").write_text("of somebody else")
        raise KeyError
    assert not (tmp_path / "lightning_logs").exists()
    assert {path.name for path in (tmp_path / "deep").glob("*")} == {
        "deeper",
        "hparams.yaml",
        "niqe.mat",
    }
    assert tmp_path / "deep" not in searched


def test_a_long_message_keeps_the_beginning_of_a_long_path():
    assert shortened(f"no such file:\n/{'a' * 90}", 40) == f"no such file: /{'a' * 21} ..."
    assert shortened("no such\nfile", 12) == "no such file"
