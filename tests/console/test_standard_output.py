"""What every verb does when standard output cannot be written."""

import os
import sys

import pytest
from support.run_folder import write_run

from lsr.cli import main
from lsr.console.standard_output import with_standard_output

COMMANDS = [
    ["completion", "bash"],  # more than a buffer holds: it fails while the verb runs
    ["knee", "run"],
    ["report", "run"],
    ["--help"],
    ["--version"],
    ["knee", "--help"],  # argparse leaves by `sys.exit`
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(command, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(command) == 2
    told = capsys.readouterr().err
    assert told == f"lsr {command[0]}: standard output: No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_away_is_no_message(command, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(command) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_that_is_closed_is_one_line(command, monkeypatch, capsys):
    """Python has None in the place of standard output after `lsr knee RUN >&-`."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(command) == 2
    assert capsys.readouterr().err == f"lsr {command[0]}: standard output is closed\n"


def test_a_full_disk_of_a_file_is_not_taken_for_that_of_standard_output(capsys):
    assert main(["report", "run", "--out", "/dev/full/report.html"]) == 2
    told = capsys.readouterr().err
    assert "/dev/full" in told and "standard output" not in told


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_of_the_verb_is_told_even_if_nobody_reads_its_output(failure, monkeypatch):
    """Ctrl-C ends `lsr tag photos | tee log` as interrupted, although it ends `tee` too."""
    reading, writing = os.pipe()
    os.close(reading)

    def work():
        sys.stdout.write("a line that is still in the buffer\n")
        raise failure("no such run")

    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(failure, match="no such run"):
            with_standard_output("lsr tag", work)
