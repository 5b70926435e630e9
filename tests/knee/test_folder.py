"""Publishing a knee, also by a process that is killed between any two operations on files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsr.knee.folder import MANIFEST, PICTURE, SEED, publish, read_manifest
from lsr.knee.provisional import FILE, is_published

# A process that publishes a knee and kills itself before its n-th operation on files.
KILLED = """
import os, signal, sys
from pathlib import Path
folder, weights, fatal = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
count = 0
WATCHED = {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir"}
WATCHED |= {"shutil.copyfile", "os.listdir", "os.scandir"}
from lsr.knee.folder import publish

def watch(event, arguments):
    global count
    if event in WATCHED and any(str(folder.parent) in str(argument) for argument in arguments):
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
publish(folder, weights, {"step": 300}, lambda path: path.write_bytes(b"picture"))
"""


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "candidate.safetensors"
    path.write_bytes(os.urandom(10_000))
    return path


def draw(path: Path) -> None:
    path.write_bytes(b"picture")


def test_everything_is_there_read_only_and_verified(tmp_path, weights):
    folder = tmp_path / "run" / "knee"
    (tmp_path / "run").mkdir()
    assert publish(folder, weights, {"step": 300}, draw)
    assert {path.name for path in folder.iterdir()} == {SEED, PICTURE, MANIFEST}
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.iterdir())
    assert (
        read_manifest(folder)["step"] == 300
        and (folder / SEED).read_bytes() == weights.read_bytes()
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["knee"]


def test_a_published_knee_is_frozen(tmp_path, weights):
    publish(tmp_path / "knee", weights, {"step": 300}, draw)
    before = {path.name: path.read_bytes() for path in (tmp_path / "knee").iterdir()}
    assert not publish(tmp_path / "knee", weights, {"step": 300}, draw)
    weights.write_bytes(b"of another run, at the same step")
    with pytest.raises(ValueError, match="holds a knee of step 300 that this run has not publish"):
        publish(tmp_path / "knee", weights, {"step": 300}, draw)
    assert {path.name: path.read_bytes() for path in (tmp_path / "knee").iterdir()} == before


def test_a_changed_or_missing_seed_is_told(tmp_path, weights):
    folder = tmp_path / "knee"
    with pytest.raises(ValueError, match="not the folder of a knee"):
        read_manifest(folder)
    publish(folder, weights, {"step": 300}, draw)
    (folder / SEED).chmod(0o644)
    (folder / SEED).write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the seed that was published"):
        read_manifest(folder)
    (folder / SEED).unlink()
    with pytest.raises(ValueError, match="not the folder of a knee"):
        read_manifest(folder)


def test_the_run_folder_in_place_of_its_knee_folder_is_told(tmp_path, weights):
    publish(tmp_path / "run" / "knee", weights, {"step": 300}, draw)
    with pytest.raises(ValueError, match="run: a run folder; name the folder of its knee, .*/knee"):
        read_manifest(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: not the folder of a knee"):
        read_manifest(tmp_path / "empty")


def test_a_kill_at_any_point_leaves_all_or_nothing_and_the_next_run_publishes(tmp_path, weights):
    (tmp_path / "run").mkdir()
    kills = 0
    for fatal in range(1, 100):
        folder = tmp_path / "run" / f"knee{fatal}"
        folder.mkdir()
        (folder / FILE).write_text("{}")
        command = [sys.executable, "-c", KILLED, str(folder), str(weights), str(fatal)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        if is_published(folder):
            assert read_manifest(folder)["step"] == 300 and (folder / PICTURE).is_file()
        publish(folder, weights, {"step": 300}, draw)
        assert (
            json.loads((folder / MANIFEST).read_text())["step"]
            == 300
            == read_manifest(folder)["step"]
        )
        assert not list(folder.parent.glob(f".{folder.name}-*")), "a killed attempt is cleaned away"
    assert kills >= 12
