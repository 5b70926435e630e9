"""Files are written with the permissions of the umask, whatever library writes them."""

import json
import math
import os
import stat

import pytest
import torch

from lsr.cli import main
from lsr.files import atomic_path, nan_as_text, write_json
from lsr.knee.folder import publish
from lsr.models.checkpoint import save_denoiser
from lsr.training.run_lock import LOCK, locked


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def readable_by(request):
    """Set the umask; the value is the permissions of a new file."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_model_file_has_the_permissions_of_the_umask(tmp_path, readable_by):
    save_denoiser(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
    assert permissions(tmp_path / "a.safetensors") == readable_by


def test_an_exported_model_can_be_read_by_whom_the_umask_allows(tmp_path, model, readable_by):
    out = tmp_path / "exported.safetensors"
    assert main(["export", str(model), "--out", str(out)]) == 0
    assert permissions(out) == readable_by


def test_a_replaced_file_has_them_too(tmp_path, readable_by):
    (tmp_path / "a").touch(0o600)
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert permissions(tmp_path / "a") == readable_by
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_lock_of_a_run_can_be_taken_over_by_whom_the_umask_allows(tmp_path, readable_by):
    with locked(tmp_path):
        assert permissions(tmp_path / LOCK) == readable_by


def test_a_published_knee_is_read_only_for_whom_the_umask_allows(tmp_path, readable_by):
    save_denoiser(tmp_path / "weights.safetensors", {"a": torch.zeros(2)}, {})
    publish(
        tmp_path / "knee",
        tmp_path / "weights.safetensors",
        {"step": 3},
        lambda path: path.touch(),
    )
    for path in (tmp_path / "knee").iterdir():
        assert permissions(path) == readable_by & 0o444, path.name


def test_numbers_that_json_does_not_know_are_written_as_text(tmp_path):
    numbers = {"loss": [1.0, math.nan], "deep": {"norm": -math.inf}}
    write_json(tmp_path / "numbers.json", nan_as_text(numbers))
    assert json.loads((tmp_path / "numbers.json").read_text()) == {
        "loss": [1.0, "nan"],
        "deep": {"norm": "-inf"},
    }
