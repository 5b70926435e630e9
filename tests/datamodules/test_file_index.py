import logging
import os

import pytest
from PIL import Image

import datamodules.file_index as file_index
from datamodules.file_index import FileIndex


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for i, name in enumerate(["a.png", "b c.png", "deep/ä.jpg"]):
        Image.fromarray(photo[i:]).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def probed(monkeypatch):
    """The names of the files whose headers are read."""
    names = []
    probe = file_index.probe
    monkeypatch.setattr(file_index, "probe", lambda path: names.append(path.name) or probe(path))
    return names


def sides(index):
    return {
        os.path.basename(index.name(i)): tuple(index.sides[i].tolist()) for i in range(len(index))
    }


def test_headers_are_read_once_and_again_where_a_file_has_changed(folder, tmp_path, photo, probed):
    expected = {"a.png": (96, 128), "b c.png": (95, 128), "ä.jpg": (94, 128)}
    assert sides(FileIndex(str(folder), tmp_path / "cache")) == expected and len(probed) == 3
    assert sides(FileIndex(str(folder), tmp_path / "cache")) == expected and len(probed) == 3
    Image.fromarray(photo[:50]).save(folder / "a.png")
    Image.fromarray(photo[:40]).save(folder / "new.png")
    (folder / "b c.png").unlink()
    assert sides(FileIndex(str(folder), tmp_path / "cache")) == {
        "a.png": (50, 128),
        "new.png": (40, 128),
        "ä.jpg": (94, 128),
    }
    assert sorted(probed[3:]) == ["a.png", "new.png"]


def test_a_file_that_cannot_be_read_is_named_every_time(folder, tmp_path, caplog):
    (folder / "bad.png").write_text("text")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert sides(FileIndex(str(folder), tmp_path / "cache"))["bad.png"] == (0, 0)
        assert caplog.text.count("bad.png") == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nonsense", None])
def test_a_damaged_cache_file_is_made_again(folder, tmp_path, probed, damage):
    FileIndex(str(folder), tmp_path / "cache")
    (cache_file,) = (tmp_path / "cache").iterdir()
    cache_file.write_bytes(cache_file.read_bytes()[:-100] if damage is None else damage)
    FileIndex(str(folder), tmp_path / "cache")
    assert len(probed) == 6
    FileIndex(str(folder), tmp_path / "cache")
    assert len(probed) == 6


def test_a_cache_file_that_cannot_be_written_costs_only_time(folder, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(FileIndex(str(folder), tmp_path / "cache")) == 3
    assert "cannot be written" in caplog.text


def test_a_manifest_names_its_files(folder, tmp_path):
    manifest = folder / "list.txt"
    manifest.write_text(f"deep/ä.jpg\n# a remark\n\n{folder / 'a.png'}\n")
    index = FileIndex(str(manifest), tmp_path / "cache")
    assert [index.name(i) for i in range(len(index))] == [
        str(folder / "deep" / "ä.jpg"),
        str(folder / "a.png"),
    ]
    assert index.read(1) == (folder / "a.png").read_bytes()
    manifest.write_bytes("\ufeffa.png\r\nb c.png\r\n".encode())
    assert len(FileIndex(str(manifest), tmp_path / "cache")) == 2
    manifest.write_text("gone.png\n")
    with pytest.raises(
        ValueError, match="gone.png: No such file or directory, though .*list.txt lists it"
    ):
        FileIndex(str(manifest), tmp_path / "cache")


def test_names_may_be_relative_or_absolute_in_either_place(folder, tmp_path, monkeypatch, probed):
    (folder / "tags.jsonl").write_text('{"file": "a.png", "tags": ["sea"]}\n')
    (folder / "list.txt").write_text(f"{folder / 'a.png'}\n")
    monkeypatch.chdir(folder.parent)
    for entry in ("photos", str(folder), "photos/list.txt", str(folder / "list.txt")):
        assert FileIndex(entry, tmp_path / "cache").tags(0) == ("sea",), entry
    assert len(probed) == 4, (
        "a folder and a manifest, each with one cache file for all of its names"
    )


def test_a_damaged_list_of_tags_is_an_error(folder, tmp_path):
    (folder / "tags.jsonl").write_text('{"file": "a.png", "tags": ["x"]}\nnonsense\n')
    with pytest.raises(ValueError, match="tags.jsonl, line 2"):
        FileIndex(str(folder), tmp_path / "cache")


def test_files_that_are_listed_but_not_there_are_counted(folder, tmp_path, caplog):
    (folder / "tags.jsonl").write_text(
        '{"file": "a.png", "tags": ["sea"]}\n{"file": "gone.png", "tags": []}\n'
    )
    FileIndex(str(folder), tmp_path / "cache")
    assert "1 of its 2 files do not exist, such as gone.png" in caplog.text
    caplog.clear()
    FileIndex(str(folder / "a.png"), tmp_path / "cache")
    assert "do not exist" not in caplog.text, "one file of a folder is not the folder"


def test_another_list_holds_captions(folder, tmp_path):
    (folder / "captions.jsonl").write_text('{"file": "a.png", "tags": "a pier, old, at the sea"}\n')
    index = FileIndex(str(folder / "a.png"), tmp_path / "cache", "captions.jsonl")
    assert ", ".join(index.tags(0)) == "a pier, old, at the sea"


def test_bundled_photographs_have_tags_and_captions(tmp_path):
    for split in ("train", "val", "test"):
        tags, captions = (
            FileIndex(f"bundled:{split}", tmp_path / "cache", name)
            for name in ("tags.jsonl", "captions.jsonl")
        )
        for i in range(len(tags)):
            assert (
                len(tags.tags(i)) >= 3 and len(captions.tags(i)) == 1 and " " in captions.tags(i)[0]
            )
