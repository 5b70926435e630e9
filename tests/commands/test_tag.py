import json
import os

import pytest
from PIL import Image
from support.published_ram import save_ram

from lsr.cli import main
from lsr.commands.tag import continue_list
from lsr.datasets.tags import FolderTags


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "ä.jpg", "deep/c.png")):
        Image.fromarray(photo[:, i * 9 :]).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def ram(tmp_path):
    return str(save_ram(tmp_path / "ram", plus=True, threshold=0.0))


def lines(folder):
    return [json.loads(line) for line in (folder / "tags.jsonl").read_text("utf-8").splitlines()]


def test_every_photograph_gets_a_line_that_training_reads(folder, ram, capsys):
    assert main(["tag", str(folder), "--weights", ram]) == 0
    assert [entry["file"] for entry in lines(folder)] == ["a.png", "deep/c.png", "ä.jpg"]
    assert all(
        len(entry["tags"]) == 5 and entry["tag_source"] == "ram++" for entry in lines(folder)
    )
    assert FolderTags(folder)(folder / "ä.jpg") == tuple(lines(folder)[2]["tags"])
    assert "3 photographs tagged" in capsys.readouterr().out


def test_a_stopped_run_continues_and_leaves_what_is_there(folder, ram, capsys):
    assert main(["tag", str(folder), "--weights", ram]) == 0
    whole = (folder / "tags.jsonl").read_bytes()
    by_hand = json.dumps({"file": "a.png", "tags": ["by hand"]}).encode() + b"\n"
    rest = whole.split(b"\n", 1)[1]
    for kept in (b"", by_hand, by_hand[:-1], by_hand + rest[:20], by_hand + rest):
        (folder / "tags.jsonl").write_bytes(kept)
        assert main(["tag", str(folder), "--weights", ram]) == 0
        assert (folder / "tags.jsonl").read_bytes() == (by_hand + rest if kept else whole)
    assert "0 photographs tagged" in capsys.readouterr().out, "the weights are not even loaded"


def test_unreadable_photographs_are_named_and_tried_again(folder, ram, capsys):
    (folder / "b.png").write_bytes(b"nonsense")
    for expected in (3, 0):
        assert main(["tag", str(folder), "--weights", ram]) == 1
        told = capsys.readouterr()
        assert "b.png" in told.err and f"{expected} photographs tagged" in told.out
    assert len(lines(folder)) == 3


def test_a_damaged_list_is_an_error_but_for_its_last_line(tmp_path):
    path = tmp_path / "tags.jsonl"
    path.write_bytes(b'{"file": "a.png", "tags": []}\n{"file": "b.p')
    assert continue_list(path) == {"a.png"}
    path.write_bytes(b'{"file": "a.p\n{"file": "b.png", "tags": []}\n')
    with pytest.raises(ValueError, match="line 1"):
        continue_list(path)


def test_bad_usage_is_one_line(tmp_path, folder, capsys):
    for arguments, message in (
        ([str(tmp_path / "none"), "--weights", "x"], "no such folder"),
        ([str(folder), "--weights", "x.pth"], "--weights"),
        (
            [str(folder), "--tagger", "clip", "--weights", "openai/clip-vit-base-patch32"],
            "--tags-list",
        ),
    ):
        assert main(["tag", *arguments]) == 2
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1
    assert not (folder / "tags.jsonl").exists(), "nothing is begun"


def test_names_that_are_not_unicode_are_tagged_too(folder, ram):
    name = os.fsdecode(b"\xff.png")
    (folder / "a.png").rename(folder / name)
    assert main(["tag", str(folder), "--weights", ram]) == 0
    assert len(FolderTags(folder)(folder / name)) == 5
    assert main(["tag", str(folder), "--weights", ram]) == 0, "and not again"
