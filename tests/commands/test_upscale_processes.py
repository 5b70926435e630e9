"""Several processes of `lsr upscale` share photographs, and work together on a large one."""

import json
import multiprocessing
from functools import partial

import numpy as np
import pytest
from PIL import Image
from support.forked import forked
from support.killed import process_1_killed_before

from lsr.cli import main
from lsr.commands.start_processes import in_one_or_several
from lsr.inference.upscaler import Upscaler


@pytest.fixture
def inbox(tmp_path, photo):
    """A folder with a tall photograph, four small ones and a file that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.tile(photo[:, :8], (32, 1, 1))).save(folder / "tall.png")
    for side in (8, 12, 20, 24):
        Image.fromarray(photo[:side, :side]).save(folder / f"{side}.png")
    (folder / "text.png").write_text("I am not a picture")
    return folder


def test_each_photograph_is_upscaled_once_and_the_tall_one_by_all(
    model, inbox, tmp_path, monkeypatch, capfd
):
    def upscale(out):
        command = ["upscale", str(inbox), "--out", str(tmp_path / out), "--model", str(model)]
        return main([*command, "--memory", "2.4MB"])

    def work():
        calls = []
        process = Upscaler.process

        def spy(upscaler, photograph, scale, consume, watch, tags, processes):
            calls.append((len(photograph.pixels), processes.size))
            return process(upscaler, photograph, scale, consume, watch, tags, processes)

        monkeypatch.setattr(Upscaler, "process", spy)
        return upscale("several"), calls

    assert upscale("one") == 1
    capfd.readouterr()
    ranks = forked(3, work, tmp_path)
    assert [code for code, _ in ranks] == [1, 0, 0]
    assert all(calls[0] == (3072, 3) for _, calls in ranks)
    alone = [call for _, calls in ranks for call in calls[1:]]
    assert sorted(alone) == [(8, 1), (12, 1), (20, 1), (24, 1)]
    said = capfd.readouterr()
    assert said.out == f"5 of 6 images are in {tmp_path / 'several'}; 1 failed\n"
    assert said.err.count("failed:") == said.err.count("text.png") == 1
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "several" / path.name).read_bytes()
    assert upscale("several") == 1, "one process continues what three have begun"
    assert "5 of them by an earlier run" in capfd.readouterr().out


def test_bad_usage_is_told_once(model, inbox, tmp_path, capfd):
    command = ["upscale", str(inbox), "--out", str(tmp_path / "out"), "--model", str(inbox)]
    assert forked(2, lambda: main(command), tmp_path) == [2, 2]
    assert capfd.readouterr().err.count("should hold one model file") == 1
    assert main([*command, "--devices", "0"]) == 2
    assert "--devices must be at least 1, not 0" in capfd.readouterr().err


def test_a_killed_process_ends_the_others_and_the_next_run_continues(
    model, photo, tmp_path, monkeypatch, capfd
):
    (tmp_path / "in").mkdir()
    for number in range(8):
        Image.fromarray(np.roll(photo, number, axis=0)).save(tmp_path / "in" / f"{number}.png")
    out = tmp_path / "out"
    command = ["upscale", str(tmp_path / "in"), "--out", str(out), "--model", str(model)]

    def killed(verb, work, argument, devices):
        fatal = partial(process_1_killed_before, 2, ".png", work)
        return in_one_or_several(verb, fatal, argument, devices)

    with monkeypatch.context() as patch:
        patch.setattr("lsr.commands.upscale.in_one_or_several", killed)
        assert main([*command, "--devices", "2"]) == 1
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("lsr upscale: process 1 of 2 was ended by SIGKILL; run the same")
    assert not multiprocessing.active_children(), "a process has outlived the command"
    record = (out / "upscaled.jsonl").read_text()
    done = {json.loads(line)["file"] for line in record.splitlines()}
    times = {name: (out / name).stat().st_mtime_ns for name in done}
    assert 1 <= len(done) <= 5, "process 1 made one of its four"
    assert main(command) == 0
    assert f"8 of 8 images are in {out}, {len(done)} of them" in capfd.readouterr().out
    assert times == {name: (out / name).stat().st_mtime_ns for name in done}
