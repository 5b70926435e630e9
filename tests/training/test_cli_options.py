"""Options of the command line: members of lists by their class, and classes of the user's own."""

import os
import subprocess
import sys

import pytest
import yaml
from support.processes import ROOT, TINY_STAGE1

from lsr.cli import main
from lsr.training.cli import LinearSRCLI


def trainer(*options):
    cli = LinearSRCLI(["--config", str(TINY_STAGE1), *options], run=False)
    return cli.trainer


def by_class(members):
    return {type(member).__name__: member for member in members}


def test_a_callback_and_a_logger_are_addressed_by_their_class(tmp_path):
    changed = trainer(
        "--trainer.callbacks.KneePointCallback.stop",
        "false",
        "--trainer.callbacks.EMA.init_args.decay=0.5",
        "--trainer.logger.TensorBoardLogger.version",
        "second",
        "--trainer.default_root_dir",
        str(tmp_path),
    )
    callbacks = by_class(changed.callbacks)
    assert callbacks["KneePointCallback"].stop is False
    assert str(callbacks["LastCheckpoint"].dirpath) == str(tmp_path / "checkpoints")
    loggers = by_class(changed.loggers)
    assert loggers["TensorBoardLogger"].version == "second"
    assert loggers["MetricsCSVLogger"].save_dir == str(tmp_path)
    assert set(callbacks) >= set(by_class(trainer().callbacks)) - {"SaveConfigPerLaunch"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trainer.callbacks.Knee.stop=false", "exactly one Knee in the list, which has EMA, Im"),
        ("--trainer.callbacks.KneePointCallback.halt=1", "Option 'halt' is not accepted"),
        ("--trainer.callbacks.EMA.decay=fast", "callbacks.EMA"),
        ("--trainer.callbacks.EMA.decay", "needs a value"),
    ],
)
def test_a_mistake_in_such_an_option_is_one_line(option, message, tmp_path, capsys):
    command = ["fit", "--config", str(TINY_STAGE1), f"--trainer.default_root_dir={tmp_path}"]
    assert main([*command, option]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("lsr ")]
    assert len(lines) == 1 and message in lines[0]


def test_the_printed_settings_have_the_change(capsys):
    command = ["fit", "--config", str(TINY_STAGE1), "--print_config"]
    with pytest.raises(SystemExit):
        main([*command, "--trainer.callbacks.KneePointCallback.stop", "false"])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    knee = next(each for each in callbacks if each["class_path"].endswith("KneePointCallback"))
    assert knee["init_args"]["stop"] is False


def test_a_second_file_adds_to_the_lists(tmp_path):
    more = tmp_path / "more.yaml"
    timer = {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(tmp_path)},
    }
    more.write_text(yaml.safe_dump({"trainer": {"callbacks+": [timer], "logger+": [logger]}}))
    before, after = trainer(), trainer("--config", str(more))
    assert len(after.callbacks) == len(before.callbacks) + 1
    assert set(by_class(after.callbacks)) - set(by_class(before.callbacks)) == {
        "LearningRateMonitor"
    }
    assert [type(each).__name__ for each in after.loggers] == [
        *(type(each).__name__ for each in before.loggers),
        "CSVLogger",
    ]


def test_a_class_in_the_working_folder_is_found(tmp_path):
    """The installed command, whose first place to look for modules is the folder of commands."""
    (tmp_path / "mycb.py").write_text("import lightning\nclass Mine(lightning.Callback): ...\n")
    (tmp_path / "lightning.py").write_text("raise SystemExit('hides the installed module')")
    script = "import sys; sys.path.remove(''); from lsr.cli import main; sys.exit(main())"
    command = ["fit", "--config", str(TINY_STAGE1), "--print_config"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--trainer.callbacks+=mycb.Mine"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "class_path: mycb.Mine" in done.stdout


@pytest.mark.parametrize(("verb", "takes_best"), [("fit", False), ("validate", True)])
def test_the_help_names_the_checkpoints_that_a_verb_accepts(verb, takes_best, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--config", str(TINY_STAGE1), "--help"])
    told = " ".join(capsys.readouterr().out.split()).split("--ckpt_path CKPT_PATH ")[-1]
    told = told.split(" --")[0]
    assert "last" in told and ("best" in told) == takes_best
