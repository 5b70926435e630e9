import json
from pathlib import Path

import pytest

from lsr.datasets.tags import FolderTags, listed_tags, sidecar_tags, tidy_tags


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("sea,  old   pier ,, x", ("sea", "old pier", "x")),
        (["sea", " a  b ", "", 3], ("sea", "a b")),
        (["pier, old", "\ud83d", "a\0b"], ("pier", "old", "?", "a b")),
        ("", ()),
        (None, ()),
        ({"a": 1}, ()),
    ],
)
def test_tags_are_tidied(value, tags):
    assert tidy_tags(value) == tags


def test_the_list_comes_before_the_file_beside(tmp_path):
    lines = [
        {"file": "sea/a.png", "tags": ["line\u2028separator", "ä"]},
        {"file": "b.png", "tags": []},
    ]
    (tmp_path / "tags.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8"
    )
    (tmp_path / "sea").mkdir()
    for name in ("sea/a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("from the file")
    tags = FolderTags(tmp_path)
    assert tags(tmp_path / "sea" / "a.png") == ("line separator", "ä")
    assert tags(tmp_path / "b.png") == ()
    assert tags(tmp_path / "c.jpg") == ("from the file",)
    assert tags(tmp_path / "d.jpg") == ()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"file": "a.png"}',
        b'{"file": "a.png", "tags": 3}',
        b"[]",
    ],
)
def test_a_damaged_list_is_named_with_its_line(tmp_path, line):
    (tmp_path / "tags.jsonl").write_bytes(b'{"file": "x.png", "tags": ["y"]}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match="tags.jsonl, line 3: must have the form"):
        listed_tags(tmp_path)


def test_a_photograph_that_is_listed_twice_is_an_error(tmp_path):
    (tmp_path / "tags.jsonl").write_text('{"file": "a.png", "tags": []}\n' * 2)
    with pytest.raises(ValueError, match="line 2: a.png is listed for the second time"):
        listed_tags(tmp_path)


def write_list(folder, **tags):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"file": name, "tags": [tag]}) for name, tag in tags.items()]
    (folder / "tags.jsonl").write_text("\n".join(lines) + "\n")


def test_the_nearest_list_that_names_a_photograph_counts(tmp_path, monkeypatch):
    user = tmp_path / "user"
    write_list(user / "sub0", **{"x.jpg": "near"})
    write_list(user, **{"sub0/x.jpg": "far", "sub0/y.jpg": "above", "sub1/z.jpg": "other"})
    for folder in (user, user / "sub0", user / "sub1"):
        tags = FolderTags(folder)
        assert tags(user / "sub0" / "x.jpg") == ("near",)
        assert tags(user / "sub0" / "y.jpg") == ("above",)
        assert tags(user / "sub1" / "z.jpg") == ("other",)
        assert tags.from_list(user / "sub1" / "w.jpg") is None
    monkeypatch.chdir(user / "sub0")
    assert FolderTags(Path())(Path("y.jpg")) == ("above",)


def test_a_caption_file_has_tags_too(tmp_path):
    (tmp_path / "a.caption").write_text("sea, pier")
    assert sidecar_tags(tmp_path / "a.jpg") == ("sea", "pier")
    (tmp_path / "a.txt").write_text("cat")
    assert sidecar_tags(tmp_path / "a.jpg") == ("cat",)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16"], ids=["UTF-8", "UTF-8 with a mark", "UTF-16"]
)
def test_tags_may_have_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("cat, Küste", encoding)
    assert sidecar_tags(tmp_path / "a.jpg") == ("cat", "Küste")
    (tmp_path / "tags.jsonl").write_text('{"file": "a.jpg", "tags": ["Küste"]}\r\n', encoding)
    assert listed_tags(tmp_path) == {"a.jpg": ("Küste",)}


def test_tags_in_another_encoding_are_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_text("Küste", "latin-1")
    with pytest.raises(ValueError, match=r"a\.txt: not a text file in UTF-8 \(line 1\); save it"):
        FolderTags(tmp_path)(tmp_path / "a.jpg")


def test_a_list_whose_last_line_is_torn_is_read_without_it(tmp_path, caplog):
    (tmp_path / "tags.jsonl").write_text('{"file": "a.png", "tags": ["x"]}\n{"file": "b.p')
    assert listed_tags(tmp_path) == {"a.png": ("x",)}
    assert "tags.jsonl: a crash has torn its last line" in caplog.text
