"""Finding image files in folders."""

from pathlib import Path

import pytest

from lsr.images import find_images


def test_find_images(tmp_path: Path) -> None:
    wanted = ["b.JPG", "c.tiff", "sub/a.png", "sub/deep/d.WebP"]
    for name in [*wanted, "note.txt", ".hidden.png", ".git/e.png", "sub/._a.png", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == [tmp_path / name for name in wanted]
    assert find_images(tmp_path, recursive=False) == [tmp_path / name for name in wanted[:2]]
    with pytest.raises(ValueError, match="absent: no such folder"):
        find_images(tmp_path / "absent")
