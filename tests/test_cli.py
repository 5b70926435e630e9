import os
import pty
import signal
import subprocess
import sys
import termios
import types

import pytest
from support.patience import PATIENCE_S

from lsr.cli import VERBS, main


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lsr.cli import main; assert main(['--help']) == 0; "
        "heavy = {'torch', 'lightning', 'pyiqa', 'numpy', 'triton', 'PIL'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


def test_the_help_is_readable_at_100_columns(capsys):
    assert main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_every_command_tells_its_options_without_heavy_imports():
    modules = sorted({module for module, _ in VERBS.values()})
    code = (
        "import importlib, sys; "
        f"[importlib.import_module(name).parser().format_help() for name in {modules}]; "
        "heavy = {'torch', 'lightning', 'numpy', 'PIL', 'cv2', 'matplotlib', 'rich'}; "
        "heavy &= set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_to_do_and_unknown_verbs_are_bad_usage(capsys):
    assert main([]) == 2
    assert main(["fly"]) == 2
    out = capsys.readouterr()
    assert "unknown verb 'fly'" in out.err and "fit" in out.out


def test_a_user_mistake_is_one_line_unless_debugging(capsys, tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes(b"")
    command = [
        "upscale",
        str(tmp_path / "photo.png"),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(tmp_path / "none.ckpt"),
    ]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("LSR_DEBUG", "1")
    with pytest.raises(ValueError, match="no such model file"):
        main(command)


@pytest.mark.parametrize(
    "verb", [verb for verb, (home, _) in VERBS.items() if home != "lsr.commands.fit"]
)
def test_a_mistake_in_the_options_is_one_line(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--no-such-option"])
    [line] = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(line) <= 200
    assert line.startswith(f"lsr {verb}: ") and line.endswith("--help explains the options")


def test_a_second_interruption_ends_the_program_without_a_traceback():
    code = (
        "import atexit, os, signal, sys, time, types, lsr.cli\n"
        "def main(arguments):\n    raise KeyboardInterrupt\n"
        "sys.modules['slow'] = types.SimpleNamespace(main=main)\n"
        "lsr.cli.VERBS['slow'] = ('slow', '')\n"
        "def again():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(3600)\n"
        "atexit.register(again)\n"
        "sys.exit(lsr.cli.main())\n"
    )
    command = [sys.executable, "-c", code, "slow"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.startswith("lsr slow: interrupted") and done.stderr.count("\n") == 1


WRITER = """
import pathlib, sys, time, types, lsr.cli
from lsr.files import atomic_path
def main(arguments):
    with atomic_path(pathlib.Path(arguments[1])) as temporary:
        temporary.touch()
        try:
            print("begun", flush=True)
            time.sleep(3600)
        finally:
            print("ending", flush=True)
            sys.stdin.readline()
            print("ended")
sys.modules["slow"] = types.SimpleNamespace(main=main)
lsr.cli.VERBS["slow"] = ("slow", "")
sys.exit(lsr.cli.main())
"""
"""A command that takes an hour to write a file, and to end waits for a line."""


def test_sigterm_interrupts_a_command_which_leaves_no_unfinished_file(tmp_path):
    command = [sys.executable, "-c", WRITER, "slow", str(tmp_path / "result")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        for line in ("begun\n", "ending\n"):  # the second time as `timeout` does
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate("\n", timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "ended\n"), err
    assert err.startswith("lsr slow: interrupted") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("fit", "to continue, run the same command with --ckpt_path last"),
        ("upscale", "run the same command again: it continues, or begins again"),
    ],
)
def test_an_interruption_tells_how_to_continue(verb, expected, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, verb, ("interrupted", ""))
    monkeypatch.setitem(sys.modules, "interrupted", types.SimpleNamespace(main=interrupted))
    assert main([verb]) == 130
    assert capsys.readouterr().err == f"lsr {verb}: interrupted; {expected}\n"


LIBRARY = (
    "import sys; from lsr.cli import main; main(['completion', 'bash']); "
    "from tqdm.auto import tqdm; list(tqdm([1], desc='Loading weights'))"
)
"""A command, and then the progress bar of another library."""


def test_bars_of_other_libraries_are_for_terminals_only():
    command = [sys.executable, "-c", LIBRARY]
    without = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(command, capture_output=True, text=True, env=without)
    assert (done.returncode, done.stderr) == (0, "")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=follower, check=True, env=without)
    os.close(follower)
    assert b"Loading weights" in os.read(leader, 65536)
    os.close(leader)


def test_a_command_whose_reader_has_gone_away_is_quiet():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lsr", "completion", "fish"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
