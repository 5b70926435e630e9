"""`lsr degrade export` continues an earlier export, whatever happened to its folder."""

import fcntl
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from support.degraded_folder import content, export, lines
from support.killed import killed_before

from lsr.degradations import DegradationConfig
from lsr.degradations.export_folder import (
    PARAMETERS_FILE,
    SETTINGS_FILE,
    ExportSettings,
    claimed,
)


def test_photographs_that_come_later_leave_what_is_there_alone(photos, photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    before, times = content(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    # With a.jpg from the beginning, a.png would have been named a.png.png.
    Image.fromarray(photo[:16, :16]).save(photos / "a.jpg")
    Image.fromarray(photo[:16, :16]).save(photos / "0.png")
    assert export(photos, out) == 0
    assert "2 LR images written" in capsys.readouterr().out
    after = content(out)
    assert set(after) - set(before) == {"0.png", "a.jpg.png"}
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    assert after[PARAMETERS_FILE].startswith(before[PARAMETERS_FILE])


def test_a_second_draw_can_be_added(photos, tmp_path):
    out = tmp_path / "out"
    assert export(photos, out, "--per-image", 2) == 0
    assert export(photos, out, "--per-image", 3) == 0
    assert export(photos, tmp_path / "at_once", "--per-image", 3) == 0
    assert sorted(map(str, lines(out))) == sorted(map(str, lines(tmp_path / "at_once")))
    assert {name for name in content(out) if name.startswith("a_")} == {
        "a__0.png",
        "a__1.png",
        "a__2.png",
    }
    assert len({content(out)[f"a__{k}.png"] for k in range(3)}) == 3


def test_a_killed_export_continues_as_if_nothing_had_been(photos, tmp_path):
    options = ["--per-image", "2", "--seed", "9"]
    assert export(photos, tmp_path / "unbroken", *options) == 0
    out = tmp_path / "killed"
    killed_before(4, ".png", lambda: export(photos, out, *options))
    assert len(lines(out)) == 3 and list(out.rglob(".*.tmp"))
    assert export(photos, out, *options) == 0
    assert content(out) == content(tmp_path / "unbroken")


def break_by_half_a_line(out):
    parameters = out / PARAMETERS_FILE
    parameters.write_bytes(parameters.read_bytes()[:-40])


def break_by_a_missing_line_end(out):
    parameters = out / PARAMETERS_FILE
    parameters.write_bytes(parameters.read_bytes()[:-1])


def break_by_a_file_without_its_line(out):
    parameters = out / PARAMETERS_FILE
    parameters.write_bytes(b"".join(parameters.read_bytes().splitlines(keepends=True)[:-1]))


def break_by_a_line_without_its_file(out):
    (out / "b.jpg.png").unlink()


def break_by_a_line_that_came_twice(out):
    parameters = out / PARAMETERS_FILE
    parameters.write_bytes(
        parameters.read_bytes() + parameters.read_bytes().splitlines(keepends=True)[1]
    )


def break_by_a_temporary_file(out):
    (out / "deeper" / ".0123456789abcdef.tmp").write_bytes(b"half a picture")


def break_before_the_first_line(out):
    for path in out.rglob("*.png"):
        path.unlink()
    (out / PARAMETERS_FILE).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        break_by_half_a_line,
        break_by_a_missing_line_end,
        break_by_a_file_without_its_line,
        break_by_a_line_without_its_file,
        break_by_a_line_that_came_twice,
        break_by_a_temporary_file,
        break_before_the_first_line,
    ],
)
def test_files_and_lines_are_one_to_one_again_after(damage, photos, tmp_path):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    whole = content(out)
    damage(out)
    assert content(out) != whole
    assert export(photos, out) == 0
    mended = content(out)
    mended_lines = mended.pop(PARAMETERS_FILE).splitlines(keepends=True)
    whole_lines = whole.pop(PARAMETERS_FILE).splitlines(keepends=True)
    assert sorted(mended_lines) == sorted(whole_lines)
    assert mended == whole


@pytest.mark.parametrize(
    "other", [["--seed", 1], ["--preset", "stablesr"], ["--scale", 2], ["--set", "usm_lr=false"]]
)
def test_other_settings_in_the_same_folder_are_refused(photos, tmp_path, capsys, other):
    out = tmp_path / "out"
    assert export(photos, out) == 0
    before = content(out)
    assert export(photos, out, *other) == 2
    error = capsys.readouterr().err
    assert "choose another folder" in error and error.count("\n") == 1 and content(out) == before


def test_a_folder_of_other_things_is_refused(photos, tmp_path, capsys):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "a.png").write_bytes((photos / "a.png").read_bytes())
    before = content(tmp_path / "album")
    assert export(photos, tmp_path / "album") == 2
    assert "holds files that lsr degrade did not write" in capsys.readouterr().err
    assert content(tmp_path / "album") == before


def test_another_photograph_of_the_same_name_is_not_taken_for_the_first(
    photos, photo, tmp_path, capsys
):
    assert export(photos / "a.png", tmp_path / "out") == 0
    other = tmp_path / "others" / "a.png"
    other.parent.mkdir()
    Image.fromarray(photo[8:72]).save(other)
    assert export(other, tmp_path / "out") == 2
    assert "was made from another photograph named a.png" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense"])
def test_settings_of_another_program_are_refused(photos, tmp_path, capsys, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SETTINGS_FILE).write_text(text)
    assert export(photos, tmp_path / "out") == 2
    assert "not written by this command, or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0, 30])
def test_settings_that_a_power_cut_has_torn_are_written_again(photos, tmp_path, kept):
    assert export(photos, tmp_path / "whole") == 0
    whole = (tmp_path / "whole" / SETTINGS_FILE).read_text()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SETTINGS_FILE).write_text(whole[:kept])
    assert export(photos, tmp_path / "out") == 0
    assert (tmp_path / "out" / SETTINGS_FILE).read_text() == whole


def test_two_exports_do_not_write_to_one_folder_at_a_time(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(photos / "a.png", out) == 0
    with (out / SETTINGS_FILE).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert export(photos, out) == 2
    assert "another export is writing there" in capsys.readouterr().err
    assert export(photos, out) == 0


def test_of_two_exports_that_begin_at_the_same_moment_one_is_refused(tmp_path, monkeypatch):
    out, make = tmp_path / "out", Path.mkdir
    settings = ExportSettings("pasd", DegradationConfig.preset("pasd"), 0)
    with ExitStack() as first:

        def mkdir(path, *arguments, **options):
            make(path, *arguments, **options)
            monkeypatch.setattr(Path, "mkdir", make)
            first.enter_context(claimed(out, settings))

        monkeypatch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(ValueError, match="another export is writing there"):
            with claimed(out, settings):
                pass
    with claimed(out, settings):
        assert json.loads((out / SETTINGS_FILE).read_text())["preset"] == "pasd"


def test_what_cannot_be_written_ends_the_export_in_one_line_and_loses_nothing(
    photos, tmp_path, capsys
):
    assert export(photos / "a.png", tmp_path / "out") == 0
    (tmp_path / "out" / "deeper").write_text("a file where a folder must be made")
    assert export(photos, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "deeper: File exists" in error and error.count("\n") == 1
    assert {line["file"] for line in lines(tmp_path / "out")} == {
        name for name in content(tmp_path / "out") if name.endswith(".png")
    }
