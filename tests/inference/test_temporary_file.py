"""Arrays in temporary files."""

import numpy as np
import pytest

from lsr.inference.temporary_file import BlockFile


def test_arrays_are_read_as_they_were_written_and_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocks = [np.arange(24, dtype=np.uint16).reshape(3, 2, 4).transpose(1, 2, 0), np.ones((1, 3))]
    blocks.insert(1, np.ones((3, 0, 4)))  # rows of padding alone leave such a block
    file = BlockFile(np.uint16)
    for block in blocks:
        file.write(block)
    assert list(tmp_path.iterdir()) == []
    for read, block in zip(file.read(), blocks, strict=True):
        assert read.dtype == np.uint16 and np.array_equal(read, block)
    file.close()


def test_a_full_disk_is_named_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    full = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115 (BlockFile closes it)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    file = BlockFile(np.float32)
    with pytest.raises(OSError, match=f"{tmp_path} has no space for a temporary file .* TMPDIR"):
        file.write(np.ones(9))
    file.close()
