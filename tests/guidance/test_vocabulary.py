import json
import logging

import pytest
import torch

from lsr.guidance.vocabulary import VocabularyIndices, read_vocabulary, split_text
from lsr.models.initialisation import difference

LR = torch.zeros(1, 3, 4, 4)


def indices(encoder, *texts):
    return [row.tolist() for row in encoder(texts, LR)]


def test_tags_are_split_at_commas_and_words_at_blanks():
    assert split_text(" Old  pier, SEA,, x", words=False) == ["old pier", "sea", "x"]
    assert split_text("A half-timbered house, at sea.", words=True) == [
        "a",
        "half-timbered",
        "house",
        "at",
        "sea",
    ]


def test_a_vocabulary_has_every_tag_of_a_list_once_in_order(tmp_path):
    lines = [{"file": "a.png", "tags": ["Sea", "old pier"]}, {"file": "b.png", "tags": "sea, boat"}]
    (tmp_path / "tags.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_vocabulary(tmp_path / "tags.jsonl", words=False) == ("boat", "old pier", "sea")
    assert read_vocabulary(tmp_path / "tags.jsonl", words=True) == ("boat", "old", "pier", "sea")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "mine.txt").write_text("pier\n\nsea\npier\n", encoding)
        assert read_vocabulary(tmp_path / "mine.txt", words=False) == ("pier", "sea")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tags.jsonl", b'{"file": "a.png", "tags": []}\n', "no tags for a vocabulary"),
        (
            "tags.jsonl",
            b'{"file": "a.png", "tags": ["\xff"]}\n',
            "not a text file in UTF-8 .line 1",
        ),
        ("mine.txt", b"caf\xe9\n", "not a text file in UTF-8"),
        ("other.txt", None, "no such file"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_an_error(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_vocabulary(tmp_path / name, words=False)


def test_unknown_tags_are_dropped_and_counted(caplog):
    encoder = VocabularyIndices(("boat", "sea"), words=False, max_tokens=9)
    assert indices(encoder, "Sea, motocross, boat", "", "motocross") == [[1, 0], [], []]
    with caplog.at_level(logging.WARNING):
        encoder.prepare_texts(["sea, castle, castle", "boat"])
    assert "2 of 4 tags" in caplog.text and "such as 'castle'" in caplog.text


def test_ten_thousand_tags_on_one_image_are_cut_and_counted(caplog):
    vocabulary = [f"tag {i}" for i in range(10_000)]
    encoder = VocabularyIndices(vocabulary, words=False, max_tokens=300)
    with caplog.at_level(logging.WARNING):
        encoder.prepare_texts([", ".join(vocabulary), "tag 1"])
    assert "1 photographs have more than 300 tags" in caplog.text
    assert indices(encoder, ", ".join(vocabulary)) == [list(range(300))]


def test_without_a_vocabulary_there_is_no_guidance_by_tags():
    with pytest.raises(ValueError, match="needs a vocabulary"):
        VocabularyIndices((), words=False, max_tokens=9)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (("a", "b"), None),
        (["a", "b"], None),
        (("b", "a"), "the order differs"),
        (("a",), "(1 tags, the model has 2; 'b' is only in the model)"),
        ((), "0 tags"),
    ],
)
def test_a_difference_of_vocabularies_is_told_in_words(found, text):
    told = difference(found, ("a", "b"))
    assert told is None if text is None else text in told
