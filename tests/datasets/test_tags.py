import json

import pytest

from lsr.datasets.tags import FolderTags, listed_tags, tidy_tags


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
        b'{"file": "\xff", "tags": []}',
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
