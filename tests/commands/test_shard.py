"""`lsr shard`: every photograph comes back, killed or not; what does not fit is refused."""

import json
import os
import re
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from support.killed import killed_before
from support.shard_files import SMALL, contents, encoded, photographs, put, shard, tar

from lsr.datasets.shards.index import INDEX, PLAN, ShardIndex
from lsr.files import locked
from lsr.images import find_images, read_rgb8

__all__ = ["photographs"]  # a fixture


def test_every_byte_size_and_tag_comes_back(photographs, tmp_path, capsys):
    assert shard(photographs, tmp_path / "out", *SMALL) == 0
    index = ShardIndex.open(tmp_path / "out")
    paths = find_images(photographs)
    count = len(list((tmp_path / "out").glob("*.tar")))
    assert (
        3 <= count <= 7 and f"12 photographs, 0.1 MiB in {count} shards" in capsys.readouterr().out
    )
    assert sorted(contents(tmp_path / "out")) == sorted(
        [INDEX, PLAN, *(f"shard-{n:06}.tar" for n in range(count))]
    )
    assert len(index) == len(paths)
    for i, path in enumerate(paths):
        assert index.read(i) == path.read_bytes()
        assert tuple(index.sides[i]) == read_rgb8(path).shape[:2]
        assert index.tags(i) == (("sea", f"number {path.stem}") if path.parent.name == "a" else ())
        assert re.fullmatch(rf"shard-\d{{6}}\.tar:\d+_{path.stem}\.png", index.name(i))
    for outside in (-1, len(index)):
        with pytest.raises(IndexError):
            index.read(outside)


def test_what_any_webdataset_reader_relies_on_holds(photographs, tmp_path):
    """Members with a key are neighbours, no key has a dot, and the suffix is the type of a file."""
    shard(photographs, tmp_path / "out", *SMALL)
    order: list[str] = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for image, description in zip(members[::2], members[1::2], strict=True):
                key, suffix = image.name.split(".")
                assert (suffix, description.name) == ("png", f"{key}.json")
                told = json.load(archive.extractfile(description))
                pixels = np.asarray(Image.open(archive.extractfile(image)))
                assert np.array_equal(pixels, read_rgb8(photographs / told["file"]))
                assert pixels.shape == (told["height"], told["width"], 3)
                assert (told["tags"] != []) == told["file"].startswith("a/")
                order.append(key)
    assert len(set(order)) == 12 and order == sorted(order)


def test_the_same_photographs_make_the_same_bytes_wherever_and_whenever(photographs, tmp_path):
    copy = shutil.copytree(photographs, tmp_path / "elsewhere")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    shard(photographs, tmp_path / "one", *SMALL)
    shard(copy, tmp_path / "two", *SMALL)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == [PLAN], (
        "only the plan knows the times"
    )


def test_a_photograph_larger_than_a_shard_has_one_of_its_own(photographs, tmp_path):
    assert shard(photographs, tmp_path / "out", "--max-mib", "0.001") == 0
    assert (
        len(list((tmp_path / "out").glob("*.tar"))) == len(ShardIndex.open(tmp_path / "out")) == 12
    )


def test_a_killed_run_continues_and_ends_as_if_unbroken(photographs, tmp_path):
    out, options = tmp_path / "out", ("--max-mib", "0.001")  # one photograph each
    shard(photographs, tmp_path / "unbroken", *options)
    killed_before(3, ".npz", lambda: shard(photographs, out, *options))
    assert len(list(out.glob("*.tar"))) == 3 and not (out / INDEX).exists()
    assert list(out.glob(".*.tmp")), "half a table"
    with pytest.raises(ValueError, match="has not finished"):
        ShardIndex.open(out)
    before = {
        path.name: path.stat().st_ino
        for path in out.glob("*.tar")
        if path.with_suffix(".npz").exists()
    }
    assert len(before) == 2
    assert shard(photographs, out, *options) == 0
    assert contents(out) == contents(tmp_path / "unbroken")
    assert {name: (out / name).stat().st_ino for name in before} == before, (
        "whole shards are not written again"
    )


def test_a_finished_run_again_mends_what_is_missing_and_touches_nothing_else(
    photographs, tmp_path, capsys
):
    out = tmp_path / "out"
    shard(photographs, out, *SMALL)
    told, whole = capsys.readouterr().out, contents(out)
    kept = (out / "shard-000000.tar").stat().st_ino
    (out / "shard-000001.tar").unlink()
    (out / "shard-000002.tar").write_bytes(whole["shard-000002.tar"][:1000])
    assert shard(photographs, out, *SMALL) == 0
    assert capsys.readouterr().out == told
    assert contents(out) == whole and (out / "shard-000000.tar").stat().st_ino == kept


@pytest.mark.parametrize("change", ["added", "removed", "changed", "tags", "setting", "foreign"])
def test_a_folder_begun_for_something_else_is_refused(photographs, tmp_path, capsys, change):
    out, options = tmp_path / "out", SMALL
    if change == "foreign":
        tar(out / "other.tar", [])
    else:
        shard(photographs, out, *SMALL)
    before = contents(out)
    if change == "added":
        put(photographs, {"new.png": encoded("PNG")})
    elif change == "removed":
        (photographs / "b" / "5.png").unlink()
    elif change == "changed":
        os.utime(photographs / "b" / "5.png", (1, 1))
    elif change == "tags":
        put(photographs, {"b/5.txt": "pier"})
    elif change == "setting":
        options = ("--max-mib", "1")
    capsys.readouterr()
    assert shard(photographs, out, *options) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and str(out) in told and "--out" in told
    assert ("--max-mib 0.012" in told) == (change == "setting")
    assert contents(out) == before


def test_unreadable_photographs_are_named_and_left_out(photographs, tmp_path, capsys):
    put(
        photographs,
        {
            "a/text.jpg": "I am not a picture",
            "empty.png": b"",
            "cut.webp": encoded("WEBP")[:10],
            "cut.jpg": encoded("JPEG")[:-100],
        },
    )
    assert shard(photographs, tmp_path / "out") == 1
    told = capsys.readouterr()
    named = [line for line in told.err.splitlines() if line.startswith("failed: ")]
    names = ("a/text.jpg", "empty.png", "cut.webp", "cut.jpg")
    assert [sum(name in line for line in named) for name in names] == [1, 1, 1, 1]
    assert "12 photographs" in told.out and "cannot be read: 4" in told.out
    assert len(ShardIndex.open(tmp_path / "out")) == 12


def test_nothing_to_do_is_one_clear_line(tmp_path, capsys):
    put(
        tmp_path,
        {
            "empty/notes.txt": "",
            "bad/a.png": "no picture",
            "good/a.png": encoded("PNG"),
            "file": "",
        },
    )
    for source, out, words in [
        ("empty", "out", "no images"),
        ("bad", "out", "none of its 1 images"),
        ("absent", "out", "no such folder"),
        ("good", "file", "not a folder"),
    ]:
        assert shard(tmp_path / source, tmp_path / out) == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
        assert not (tmp_path / "out").exists()
    for size in ("0", "-1", "nan"):
        assert shard(tmp_path / "good", tmp_path / "out", "--max-mib", size) == 2
        assert "--max-mib must be above 0" in capsys.readouterr().err


def test_names_with_dots_blanks_other_scripts_and_twins_in_other_folders(tmp_path):
    names = [
        "a/x.png",
        "b/x.png",
        "b/x.JPG",
        "b/x.y.z.jpeg",
        "c d/ two  words .webp",
        "東京/夜景.png",
        "ü" * 60 + ".tif",
        "-.png",
        "l" * 150 + ".bmp",
    ]
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF"}
    source = tmp_path / "in"
    for name in names:
        suffix = name.rpartition(".")[2].lower()
        put(source, {name: encoded(kinds.get(suffix, suffix))})
    source.joinpath(os.fsdecode(b"not utf-8 \xff.png")).write_bytes(encoded("PNG"))
    assert shard(source, tmp_path / "out") == 0
    index = ShardIndex.open(tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        members = archive.getnames()
        told = [json.load(archive.extractfile(name))["file"] for name in members[1::2]]
    assert len(set(members)) == 2 * len(index) == 2 * (len(names) + 1)
    assert all(
        re.fullmatch(r"[A-Za-z0-9_-]{1,70}\.(png|jpe?g|webp|tif|bmp|json)", name)
        for name in members
    )
    for i, path in enumerate(find_images(source)):
        assert told[i] == path.relative_to(source).as_posix()
        assert index.read(i) == path.read_bytes()
        assert index.name(i) == f"shard-000000.tar:{members[2 * i]}"


def test_tags_come_from_the_list_else_from_the_text_beside(tmp_path, capsys):
    lines = [
        {"file": "both.png", "tags": ["  old   town ", "", "rain"], "tag_source": "hand"},
        {"file": "none.png", "tags": []},
        {"file": "sub/gone.png", "tags": ["x"]},
        {"file": "line break.png", "tags": ["ж"]},
    ]
    files: dict[str, bytes | str] = {
        f"{name}.png": encoded("PNG") for name in ("bare", "both", "line break", "none", "sub/text")
    }
    files |= {
        "both.txt": "ignored",
        "none.txt": "ignored",
        "sub/text.txt": "pier, ,  blue\nsky ,\n",
    }
    files["tags.jsonl"] = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert shard(put(tmp_path / "in", files), tmp_path / "out") == 0
    index = ShardIndex.open(tmp_path / "out")
    assert [index.tags(i) for i in range(len(index))] == [
        (),
        ("old town", "rain"),
        ("ж",),
        (),
        ("pier", "blue sky"),
    ]
    assert "1 of its 4 files do not exist, such as sub/gone.png" in capsys.readouterr().err


def test_a_bad_line_of_tags_is_named(tmp_path, capsys):
    source = put(
        tmp_path / "in",
        {"a.png": encoded("PNG"), "tags.jsonl": '{"file": "b.png", "tags": []}\n{\n'},
    )
    assert shard(source, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "tags.jsonl, line 2: " in told


def test_two_runs_do_not_write_to_one_folder_at_a_time(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with locked(out / PLAN, "busy"):
        assert shard(photographs, out, *SMALL) == 2
        assert "another lsr shard is writing there" in capsys.readouterr().err
        assert list(contents(out)) == [PLAN]
    assert shard(photographs, out, *SMALL) == 0


def test_a_plan_that_a_power_cut_has_torn_is_written_again(photographs, tmp_path):
    shard(photographs, tmp_path / "whole", *SMALL)
    plan = (tmp_path / "whole" / PLAN).read_text()
    for kept in (0, 20):
        put(tmp_path / str(kept), {PLAN: plan[:kept]})
        assert shard(photographs, tmp_path / str(kept), *SMALL) == 0
        assert contents(tmp_path / str(kept)) == contents(tmp_path / "whole")
