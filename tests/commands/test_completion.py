"""Completion in real shells: keys are typed into bash and zsh, and fish is asked."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from support.patience import PATIENCE_S

from lsr.cli import VERBS, main

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
SETTING_UP = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D; "}


def needs(shell):
    missing = shutil.which(shell) is None
    return pytest.param(shell, marks=pytest.mark.skipif(missing, reason=f"no {shell} here"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder: a folder with one photograph."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def read_until(terminal, wanted):
    """Return what a terminal shows up to a text; fail if it does not come."""
    shown = ""
    end = time.monotonic() + PATIENCE_S
    while wanted not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    assert wanted in shown, shown
    return shown


def typed(shell, source, keys):
    """Return the arguments that `lsr` gets when keys are typed into a shell."""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "PS1": "$ ", "HOME": os.getcwd()}
    running = subprocess.Popen(
        START[shell],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        start_new_session=True,
    )
    os.close(follower)
    try:
        show = "lsr() { echo \"<$*\"'>'; }; echo rea''dy"
        os.write(leader, f"{SETTING_UP[shell]}source ./{source}; {show}\n".encode())
        read_until(leader, "ready")
        os.write(leader, f"lsr {keys}\n".encode())
        return read_until(leader, ">").rpartition("<")[2].partition(">")[0]
    finally:
        running.kill()
        running.wait()
        os.close(leader)


@pytest.mark.parametrize("shell", [needs("bash"), needs("zsh")])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("upsc\t--form\tti\tpho\t\t", "upscale --format tiff photos/one.jpg"),
        ("deg\texp\t--per\t", "degrade export --per-image"),
        ("comp\tfi\t", "completion fish"),
        ("fi\t--ckpt\tla\t", "fit --ckpt_path last"),
    ],
)
def test_a_shell_completes_what_is_typed(shell, keys, expected, place, capsys):
    (place / "script").write_text(script(shell, capsys))
    assert typed(shell, "script", keys).split() == expected.split()


@pytest.mark.parametrize("shell", [needs("fish")])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lsr upsc", {"upscale"}),
        ("lsr upscale --form", {"--format"}),
        ("lsr upscale --format ", {"png", "jpeg", "webp", "tiff", "same"}),
        ("lsr upscale photos/", {"photos/one.jpg"}),
        ("lsr degrade ", {"preview", "export", "photos/", "script"}),
        ("lsr degrade export --per", {"--per-image"}),
        ("lsr completion f", {"fish"}),
    ],
)
def test_fish_completes_what_is_typed(shell, line, expected, place, capsys):
    (place / "script").write_text(script(shell, capsys))
    command = [shell, "--no-config", "-c", f"source ./script; complete -C '{line}'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert {each.split("\t")[0] for each in done.stdout.splitlines()} == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_its_options_are_in_the_script(shell, capsys):
    text = script(shell, capsys)
    dashes = "-l " if shell == "fish" else "--"
    assert all(verb in text for verb in VERBS)
    for option in ("json", "no-recursive", "per-image", "ckpt_path", "save-compare"):
        assert f"{dashes}{option}" in text
    assert f"{dashes}tile" not in text, "an option that is only answered"
