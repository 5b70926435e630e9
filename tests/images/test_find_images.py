"""Finding image files in folders."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from lsr.cli import main
from lsr.degradations.export_folder import SETTINGS_FILE
from lsr.evaluation.per_image import SETTINGS
from lsr.images import find_images, probe
from lsr.images.finding import RESULT_FILES
from lsr.inference.record import RECORD_FILE


def test_find_images(tmp_path: Path) -> None:
    wanted = ["b.JPG", "c.tiff", "sub/a.png", "sub/deep/d.WebP"]
    for name in [*wanted, "note.txt", ".hidden.png", ".git/e.png", "sub/._a.png", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.png").symlink_to("itself.png")
    assert find_images(tmp_path) == [tmp_path / name for name in wanted]
    assert find_images(tmp_path, recursive=False) == [tmp_path / name for name in wanted[:2]]
    with pytest.raises(ValueError, match="absent: no such folder"):
        find_images(tmp_path / "absent")
    with pytest.raises(ValueError, match="note.txt: not a folder"):
        find_images(tmp_path / "note.txt")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_links_to_folders_are_followed_and_every_folder_is_searched_once(tmp_path, caplog):
    touch(tmp_path, "photos/a.png", "photos/deep/b.png", "disk/c.png", "disk/more/d.png")
    photos = tmp_path / "photos"
    (photos / "linked").symlink_to(tmp_path / "disk")
    (photos / "again").symlink_to(photos / "deep")
    (tmp_path / "disk" / "loop").symlink_to(photos)
    (tmp_path / "disk" / "more" / "loop").symlink_to(tmp_path / "disk")
    names = [path.relative_to(photos).as_posix() for path in find_images(photos)]
    assert names == ["a.png", "deep/b.png", "linked/c.png", "linked/more/d.png"]
    assert "links to folders that are searched already: 3 left out" in caplog.text
    assert len(find_images(photos, recursive=False)) == 1


def test_what_is_left_out_is_counted_and_named_once(tmp_path, caplog):
    touch(tmp_path, "a.png", "b.psd", "c.exr", "deep/d.PSD", "notes.txt", "deep/tags.jsonl")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with caplog.at_level(logging.WARNING):
        assert find_images(tmp_path) == find_images(tmp_path) == [tmp_path / "a.png"]
    told = [record.getMessage().removeprefix(f"{tmp_path}: ") for record in caplog.records]
    assert sorted(told) == [
        f"images of formats that are not read: 3 left out, such as {tmp_path / 'b.psd'}",
        f"links whose target is missing: 1 left out, such as {tmp_path / 'gone.png'}",
    ]


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JIF", ".jpeg", ".apng"])
def test_all_names_of_a_format_that_is_read_are_found(tmp_path, suffix):
    kind = "PNG" if suffix == ".apng" else "JPEG"
    Image.new("RGB", (5, 4)).save(tmp_path / f"a{suffix}", kind)
    (path,) = find_images(tmp_path)
    assert probe(path) == (5, 4)


def test_folders_of_our_own_results_are_no_photographs_unless_named(tmp_path, caplog):
    assert {RECORD_FILE, SETTINGS, SETTINGS_FILE} == RESULT_FILES
    touch(tmp_path, "a.png", *(f"{name}-out/deep/b.png" for name in RESULT_FILES))
    touch(tmp_path, *(f"{name}-out/{name}" for name in RESULT_FILES))
    assert find_images(tmp_path) == [tmp_path / "a.png"]
    assert "folders of our own results (name such a folder to use it): 3 left out" in caplog.text
    assert len(find_images(tmp_path / f"{RECORD_FILE}-out")) == 1


def test_results_are_not_upscaled_again(tmp_path, photo, model, capsys):
    photos = tmp_path / "p"
    photos.mkdir()
    Image.fromarray(photo[:16, :16]).save(photos / "a.png")
    for out in (photos / "up", photos / "up2"):
        assert main(["upscale", str(photos), "--model", str(model), "--out", str(out)]) == 0
        assert "1 of 1 images" in capsys.readouterr().out
    assert probe(photos / "up2" / "a.png") == (64, 64)
    assert sorted(path.name for path in (photos / "up2").rglob("*.png")) == ["a.png"]
