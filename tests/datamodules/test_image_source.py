import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.bundled_photographs import SPLITS, bundled_photographs
from datamodules.image_source import ImageSource
from lsr.cli import main


@pytest.fixture
def folder(tmp_path, photo):
    """A folder with good, odd and bad files, some of them in a folder inside it."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo).save(tmp_path / "deep" / "er" / "b.JPG", quality=95)
    Image.fromarray(photo).convert("L").save(tmp_path / "grey.png")
    Image.fromarray(photo).save(tmp_path / "c.webp", lossless=True)
    Image.fromarray(photo[:10]).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("I am not a picture")
    (tmp_path / "notes.txt").write_text("nor am I")
    data = (tmp_path / "deep" / "er" / "b.JPG").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(data[: len(data) // 2])
    return tmp_path


@pytest.mark.parametrize("cache_gib", [0.0, 1.0])
def test_bad_files_are_named_once_and_the_good_ones_are_used(folder, photo, caplog, cache_gib):
    with caplog.at_level(logging.WARNING):
        source = ImageSource([str(folder)], 32, cache_gib)
        images = [source[i][0] for i in range(len(source)) for _ in range(2)]
    assert [Path(source.name(i)).name for i in range(len(source))] == [
        "a.png",
        "c.webp",
        "b.JPG",
        "grey.png",
        "torn.jpg",
    ]
    for name in ("text.png", "small.png", "torn.jpg"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1, name
    assert all(image.shape == photo.shape and image.dtype == np.uint8 for image in images)
    assert np.array_equal(images[0], photo) and np.array_equal(images[2], photo)
    assert np.array_equal(images[-1], images[0]), (
        "the torn file is replaced by its next neighbour, around the end"
    )


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "text.png").write_text("I am not a picture")
    with pytest.raises(ValueError, match="no readable photograph"):
        ImageSource([str(tmp_path)], 32)
    with pytest.raises(ValueError, match="no such folder, image or list"):
        ImageSource([str(tmp_path / "nowhere")], 32)
    with pytest.raises(ValueError, match="no readable photograph"):
        ImageSource([], 32)


@pytest.mark.parametrize("cache_gib", [0.0, 1.0])
def test_only_damaged_files_are_an_error(folder, tmp_path, cache_gib):
    with pytest.raises(ValueError):
        ImageSource([str(folder / "torn.jpg")], 32, cache_gib)[0][0]


def test_the_bundled_photographs_are_there_and_their_splits_are_apart():
    names = [name for split in SPLITS.values() for name in split]
    assert len(set(names)) == len(names)
    for split in SPLITS:
        source = ImageSource([f"bundled:{split}"], 256)
        assert len(source) == len(SPLITS[split])
        assert source[0][0].std() > 10
    with pytest.raises(ValueError, match="unknown split 'x'"):
        bundled_photographs("x")


def test_folders_manifests_and_shards_are_one_list(folder, tmp_path, photo):
    (tmp_path / "list.txt").write_text("# two of them\na.png\n\ndeep/er/b.JPG\n")
    assert main(["shard", str(folder / "deep"), "--out", str(tmp_path / "shards")]) == 0
    source = ImageSource(
        [str(folder / "c.webp"), str(tmp_path / "list.txt"), str(tmp_path / "shards")], 32
    )
    assert source.lengths == [1, 2, 1] and len(source) == 4
    assert [source.name(i).split("/")[-1] for i in range(3)] == [
        "c.webp",
        "a.png",
        "b.JPG",
    ] and "shard-000000.tar" in source.name(3)
    assert np.array_equal(source[1][0], photo) and np.array_equal(source[3][0], source[2][0])


def test_a_shard_that_was_truncated_since_costs_its_photographs_alone(folder, tmp_path, photo):
    assert main(["shard", str(folder / "deep"), "--out", str(tmp_path / "shards")]) == 0
    source = ImageSource([str(tmp_path / "shards"), str(folder / "a.png")], 32, cache_gib=0)
    shard = tmp_path / "shards" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert np.array_equal(source[0][0], photo)


def test_a_folder_of_both_shards_and_photographs_is_refused(folder):
    (folder / "._hidden.tar").write_bytes(b"")
    ImageSource([str(folder)], 32)
    (folder / "photos.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="holds both shards"):
        ImageSource([str(folder)], 32)


def test_tags_come_along_from_either_place(folder):
    lines = [
        {"file": "a.png", "tags": ["sea", " old  pier "]},
        {"file": "deep/er/b.JPG", "tags": []},
    ]
    (folder / "tags.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "a.txt").write_text("the list comes first")
    (folder / "c.txt").write_text("castle, , tower")
    source = ImageSource([str(folder)], 32)
    tags = {Path(source.name(i)).name: source[i][1] for i in range(len(source))}
    assert tags["a.png"] == ("sea", "old pier") and tags["c.webp"] == ("castle", "tower")
    assert tags["b.JPG"] == tags["grey.png"] == ()
    assert tags["torn.jpg"] == tags["a.png"], (
        "the tags are those of the photograph that takes its place"
    )


def test_a_sidecar_that_is_no_text_stops_the_start_of_a_guided_run_but_no_step(folder):
    (folder / "a.txt").write_text("Küste", "latin-1")
    source = ImageSource([str(folder)], 32)
    with pytest.raises(ValueError, match=r"a\.txt: not a text file in UTF-8"):
        list(source.texts())
    assert source[0][1] == ()


def test_tags_above_an_entry_are_found(folder):
    (folder / "tags.jsonl").write_text('{"file": "deep/er/b.JPG", "tags": ["sea"]}\n')
    for entry in (folder, folder / "deep", folder / "deep" / "er" / "b.JPG"):
        source = ImageSource([str(entry)], 32)
        tags = {Path(source.name(i)).name: source[i][1] for i in range(len(source))}
        assert tags["b.JPG"] == ("sea",), entry
