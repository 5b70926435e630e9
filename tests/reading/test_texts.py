"""Texts in any encoding with a byte order mark, and files of lines that a crash has torn."""

import codecs
import json

import pytest
from PIL import Image

from lsr.cli import main
from lsr.commands.tag import continue_list
from lsr.degradations.export_folder import PARAMETERS_FILE, recover
from lsr.evaluation.per_image import merge
from lsr.reading.texts import decode_text, is_json, mend_lines, read_text

LINES = '{"file": "a.png", "tags": ["sea"]}\n{"file": "ä.png", "tags": ["pier"]}\n'


@pytest.mark.parametrize(
    "data",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + LINES.encode("utf-32-le"),
    ],
    ids=["UTF-8", "UTF-8 with a mark", "UTF-16 LE", "UTF-16 BE", "UTF-32"],
)
def test_the_byte_order_mark_decides_and_is_no_text(tmp_path, data):
    (tmp_path / "a.jsonl").write_bytes(data)
    assert read_text(tmp_path / "a.jsonl", is_json) == LINES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("cat\ncafé\n".encode("latin-1"), r"a\.txt: not a text file in UTF-8 \(line 2\); save it"),
        ("cat".encode("utf-16-le"), r"a\.txt: holds NUL in line 1: damaged, or UTF-16 without"),
        (codecs.BOM_UTF16_LE + b"c\0a", r"a\.txt: damaged UTF-16 text"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, data, message):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "a.txt")


def test_names_of_files_may_hold_any_bytes():
    assert decode_text(b"\xff.png\n", "list.txt", any_bytes=True) == "\udcff.png\n"


@pytest.mark.parametrize("fill", [b"", b"\0"], ids=["cut", "zeros"])
def test_wherever_a_crash_tears_the_last_line_the_lines_before_it_stay(tmp_path, caplog, fill):
    path = tmp_path / "lines.jsonl"
    whole = LINES.encode()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end] + fill * (len(whole) - end))
        caplog.clear()
        read = read_text(path, is_json)
        mend_lines(path, is_json)
        told = [record for record in caplog.records if "torn its last line" in record.message]
        mended = path.read_text()
        # The closing brace alone is a whole line, whatever became of the line feed behind it.
        assert mended in (LINES[: LINES.index("\n") + 1], LINES), end
        assert (mended == LINES) == (end == len(whole) - 1), end
        assert [json.loads(line) for line in read.splitlines()] == [
            json.loads(line) for line in mended.splitlines()
        ]
        assert len(told) == (0 if end == start and not fill or not fill and mended == LINES else 2)
        mend_lines(path, is_json)
        assert path.read_text() == mended and len(caplog.records) == len(told), "mended once"


def torn_export(folder):
    line = {"source": "a.png", "epoch": 0, "file": "a.png", "source_bytes": 1}
    (folder / "a.png").touch()
    (folder / PARAMETERS_FILE).write_bytes(json.dumps(line).encode() + b'\n{"sou\0\0')
    assert list(recover(folder)) == [("a.png", 0)]
    return PARAMETERS_FILE


def torn_tags(folder):
    (folder / "tags.jsonl").write_bytes(b'{"file": "a.png", "tags": []}\n{"fi\0\0')
    assert continue_list(folder / "tags.jsonl") == {"a.png"}
    return "tags.jsonl"


def torn_evaluation(folder):
    (folder / "rows-0.jsonl").write_bytes(b'{"name": "a"}\n{"na\0\0')
    merge(folder)
    assert (folder / "rows.jsonl").read_text() == '{"name": "a"}\n'
    return "rows-0.jsonl"


@pytest.mark.parametrize("tear", [torn_export, torn_tags, torn_evaluation])
def test_every_file_that_grows_is_mended_with_one_line(tmp_path, caplog, tear):
    name = tear(tmp_path)
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{tmp_path / name}: a crash has torn its last line, which is left out"]


def test_the_record_of_upscaling_is_mended_and_the_lost_result_is_made_again(
    tmp_path, photo, model, capsys, caplog
):
    for name in ("a.png", "b.png"):
        Image.fromarray(photo[:8, :8]).save(tmp_path / name)
    command = ["upscale", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--model", str(model)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    record = tmp_path / "out" / "upscaled.jsonl"
    whole = record.read_bytes()
    record.write_bytes(whole[:-20] + bytes(20))
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "1 of them by an earlier run" in capsys.readouterr().out
    assert caplog.text.count("upscaled.jsonl: a crash has torn its last line") == 1
    assert sorted(record.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_missing_file_stays_missing(tmp_path):
    mend_lines(tmp_path / "a.jsonl", is_json)
    assert not list(tmp_path.iterdir())
