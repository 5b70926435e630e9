"""`lsr serve`: what is refused before it begins, and that it ends without leaving files."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from support.patience import PATIENCE_S

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from lsr.cli import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--host 0.0.0.0", "--auth USER:PASSWORD"),
        ("--host 192.168.0.1 --auth me:", "user and a password"),
        ("--auth :secret", "user and a password"),
        ("--max-files 0", "--max-files must be above 0"),
        ("--max-megapixels nan", "--max-megapixels must be above 0"),
        ("--max-minutes -1", "--max-minutes must be above 0"),
        ("--memory many", "--memory"),
        ("--port 99999", "cannot listen"),
        ("--model no/such/model.safetensors --port 0", "model.safetensors"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, options, words):
    assert main(["serve", *options.split()]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1 and len(told) < 220


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--model", "no/such/model"]) == 2
    told = capsys.readouterr().err
    assert str(port) in told and told.count("\n") == 1


def test_a_signal_ends_it_and_its_files_are_gone(model, tmp_path):
    command = [sys.executable, "-m", "lsr", "serve", "--port", "0", "--model", str(model)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        assert b"LinearSR" in urllib.request.urlopen(address).read()
        assert any(tmp_path.glob("lsr-serve-*"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
    assert not [path for path in tmp_path.iterdir() if path != model]
