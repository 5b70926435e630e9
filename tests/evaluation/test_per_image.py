import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from lsr.evaluation.data import Item
from lsr.evaluation.per_image import (
    FAILED,
    Journal,
    claimed,
    merge,
    read_failures,
    read_rows,
    write_csv,
)

ROW = {"name": "a", "width": 8, "height": 4, "psnr_y": 20.5, "inputs": "1"}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def items(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    return [
        Item(name, tmp_path / f"{name}.png", None, tmp_path / f"{name}.png", "1") for name in "abc"
    ]


def append(out, rank, *rows):
    journal = Journal(out, rank)
    for row in rows:
        journal.append(row)
    journal.close()


def test_rows_of_all_processes_come_together_and_half_a_line_is_left_out(out, items):
    with claimed(out, {"model": 1}, False):
        append(out, 0, ROW, ROW | {"name": "b", "psnr_y": float("nan")})
        append(out, 1, ROW | {"name": "c"})
    with (out / "rows-1.jsonl").open("a") as file:
        file.write('{"name": "a", "width": 8, "hei')
    with claimed(out, {"model": 1}, False):
        rows = read_rows(out, items)
    assert sorted(rows) == ["a", "b", "c"] and rows["a"] == ROW
    assert [path.name for path in out.glob("rows*")] == ["rows.jsonl"]


def test_a_row_counts_only_for_the_files_it_was_made_from(out, items, tmp_path):
    with claimed(out, {}, False):
        append(
            out,
            0,
            ROW,
            ROW | {"name": "b"},
            ROW | {"name": "c", "inputs": "2"},
            ROW | {"name": "gone"},
        )
        merge(out)
        (tmp_path / "b.png").unlink()
        assert list(read_rows(out, items)) == ["a"]


def test_an_image_that_fails_first_and_succeeds_later_has_a_row(out, items):
    with claimed(out, {}, False):
        append(out, 0, {"name": "a", FAILED: "torn"}, {"name": "b", FAILED: "empty"})
        merge(out)
        assert read_failures(out) == {"a": "torn", "b": "empty"} and not read_rows(out, items)
        append(out, 0, ROW)
        merge(out)
        assert read_failures(out) == {"b": "empty"} and list(read_rows(out, items)) == ["a"]


def test_other_settings_are_refused_by_name_and_leave_the_rows(out, items):
    with claimed(out, {"model": 1, "steps": 1}, False):
        append(out, 0, ROW)
    with (
        pytest.raises(
            ValueError, match="differs in model .*: choose another folder, or use --overwrite"
        ),
        claimed(out, {"model": 2, "steps": 1}, False),
    ):
        pass
    with claimed(out, {"model": 1, "steps": 1}, False):
        assert read_rows(out, items)


def test_overwriting_drops_what_was_there_and_only_that(out, items):
    with claimed(out, {"model": 100}, False):
        append(out, 0, ROW)
        write_csv(out, [ROW], ["psnr_y"])
        (out / "predictions").mkdir()
        (out / "predictions" / "a.png").write_text("picture")
    with claimed(out, {"model": 2}, True):
        assert not read_rows(out, items) and not (out / "per_image.csv").exists()
        assert (out / "predictions" / "a.png").exists()
    assert json.loads((out / "evaluation.json").read_text()) == {"model": 2}
    with claimed(out, {"model": 2}, False):
        pass


def test_two_evaluations_do_not_write_into_one_folder(out):
    with (
        claimed(out, {}, False),
        pytest.raises(ValueError, match="another evaluation is writing there"),
        claimed(out, {}, True),
    ):
        pass


def test_of_two_evaluations_that_begin_at_the_same_moment_one_is_refused(tmp_path, monkeypatch):
    out, make = tmp_path / "out", Path.mkdir
    with ExitStack() as first:

        def mkdir(path, *arguments, **options):
            make(path, *arguments, **options)
            monkeypatch.setattr(Path, "mkdir", make)
            first.enter_context(claimed(out, {"model": 1}, False))

        monkeypatch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(ValueError, match="another evaluation is writing there"):
            with claimed(out, {"model": 1}, False):
                pass
    with claimed(out, {"model": 1}, False):
        pass


@pytest.mark.parametrize("kept", [0, 8])
def test_settings_that_a_power_cut_has_torn_are_written_again(out, kept):
    with claimed(out, {"model": 1, "data": 2}, False):
        whole = (out / "evaluation.json").read_text()
    (out / "evaluation.json").write_text(whole[:kept])
    with claimed(out, {"model": 1, "data": 2}, False):
        assert (out / "evaluation.json").read_text() == whole


def test_a_folder_of_something_else_is_left_alone(out):
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds files but no evaluation"), claimed(out, {}, True):
        pass
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_error_of_the_files_that_are_evaluated_is_not_one_of_the_folder(out):
    with pytest.raises(PermissionError), claimed(out, {}, False):
        raise PermissionError(13, "Permission denied", "photograph.png")


def test_values_in_the_table_are_float32_to_the_last_digit(tmp_path):
    value = 25.876379013061523  # a float32
    write_csv(
        tmp_path,
        [ROW | {"psnr_y": value}, ROW | {"name": 'b, "c"', "psnr_y": float("nan")}],
        ["psnr_y"],
    )
    assert (tmp_path / "per_image.csv").read_text() == (
        'name,width,height,psnr_y,inputs\na,8,4,25.876379,1\n"b, ""c""",8,4,nan,1\n'
    )
