"""CSV files of other programs, and those that a crash has torn."""

import codecs
import csv

import pytest

from lsr.cli import main
from lsr.runs.csv_logger import MetricsCSVLogger
from lsr.runs.history import RunLog

CURVE = {step: 20.0 + step / 100 for step in range(100, 500, 100)}


def rows(separator=",", decimal="."):
    lines = [f"{step}{separator}{value}".replace(".", decimal) for step, value in CURVE.items()]
    return "\n".join([f"step{separator}psnr", *lines, ""])


@pytest.mark.parametrize(
    "data",
    [
        rows(";").encode(),
        rows(";", ",").encode(),
        rows("\t").encode(),
        b"sep=;\r\n" + rows(";").encode(),
        codecs.BOM_UTF16_LE + rows("\t").encode("utf-16-le"),
        rows().encode("utf-8-sig"),
        rows().replace("\n", "\r\n").encode(),
        rows().rstrip("\n").encode(),
    ],
    ids=["semicolon", "comma in numbers", "tab", "Excel's", "UTF-16", "BOM", "CRLF", "no line end"],
)
def test_what_spreadsheets_write_is_read(tmp_path, data):
    (tmp_path / "log.csv").write_bytes(data)
    assert RunLog.read(tmp_path / "log.csv").scalars == {"psnr": CURVE}


def test_what_is_no_number_is_left_out_and_told_and_the_rest_is_read(tmp_path, caplog):
    (tmp_path / "log.csv").write_text(
        "step,psnr,split\n100,21,val\n200,n/a,val\n300,err,7\n,5,x\n400,23,val\n500,24,val\n"
    )
    scalars = RunLog.read(tmp_path / "log.csv").scalars
    assert scalars == {"psnr": {100: 21.0, 400: 23.0, 500: 24.0}}
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "cells that are no numbers: 2 left out, such as 'n/a' of psnr, line 3" in told
    assert "rows without a step: 1 left out, such as line 5" in told
    assert "columns of text: 1 left out, such as split" in told
    assert len(caplog.records) == 3


def test_a_log_that_was_appended_to_with_its_header_or_more_columns_is_read(tmp_path, caplog):
    (tmp_path / "log.csv").write_text(
        "step,psnr\n100,21\nstep,psnr\n200,22\n300,oops,7,23\n400,24,\n"
    )
    assert RunLog.read(tmp_path / "log.csv").scalars == {"psnr": {100: 21.0, 200: 22.0, 400: 24.0}}
    assert "repetitions of the header: 1 left out, such as line 3" in caplog.text
    assert "rows with more cells than the header: 1 left out, such as line 5" in caplog.text


def test_a_bad_cell_does_not_hide_the_knee(tmp_path, capsys):
    values = [25 - 5 * 0.5 ** (n / 3) for n in range(60)]
    lines = [f"{100 * n},{value}" for n, value in enumerate(values)]
    lines[40] = "4000,#NAME?"
    (tmp_path / "log.csv").write_text("\n".join(["step,val/psnr_y", *lines, ""]))
    assert main(["knee", str(tmp_path / "log.csv")]) == 0
    assert "59 validations" in capsys.readouterr().out


@pytest.mark.parametrize("fill", [b"", b"\0"], ids=["cut", "zeros"])
def test_wherever_the_last_row_is_torn_the_run_continues_and_the_log_is_read(
    tmp_path, fill, caplog
):
    logger = MetricsCSVLogger(str(tmp_path))
    for step, value in CURVE.items():
        logger.log_metrics({"psnr": value}, step)
    logger.save()
    path = tmp_path / "metrics.csv"
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    kept = {step: value for step, value in CURVE.items() if step < 400}
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end] + fill * (len(whole) - end))
        assert RunLog.read(tmp_path).scalars == {"psnr": kept}, end
        caplog.clear()
        resumed = MetricsCSVLogger(str(tmp_path))
        resumed.log_metrics({"psnr": -1.0}, 500)
        told = [record for record in caplog.records if "torn its last line" in record.message]
        assert len(told) == (0 if end == start and not fill else 1)
        resumed.save()
        assert RunLog.read(tmp_path).scalars == {"psnr": kept | {500: -1.0}}, end


def test_zeros_behind_a_whole_file_do_not_block_the_next_start(tmp_path):
    logger = MetricsCSVLogger(str(tmp_path))
    logger.log_metrics({"psnr": 20.0}, 100)
    logger.save()
    with (tmp_path / "metrics.csv").open("ab") as file:
        file.write(bytes(4096))
    resumed = MetricsCSVLogger(str(tmp_path))
    resumed.log_metrics({"psnr": 21.0}, 200)
    resumed.save()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["100", "200"]


def test_damage_in_the_middle_is_named_with_its_line(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"step,psnr\r\n100,20\r\nsome,text\r\n300,21\r\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3: not a row of this logger"):
        MetricsCSVLogger(str(tmp_path)).log_metrics({"psnr": 1.0}, 400)


def test_a_torn_row_of_another_program_is_told_by_its_missing_cells(tmp_path, caplog):
    (tmp_path / "log.csv").write_text("step,psnr,niqe\n100,21,5\n200,22,4\n300,2")
    scalars = RunLog.read(tmp_path / "log.csv").scalars
    assert scalars == {"psnr": {100: 21.0, 200: 22.0}, "niqe": {100: 5.0, 200: 4.0}}
    assert "last row is incomplete" in caplog.text


def test_a_second_column_of_a_name_is_left_out_and_told(tmp_path, caplog):
    """Joined tables of two runs have every name twice; their values are not one curve."""
    (tmp_path / "log.csv").write_text("step,psnr,step,psnr,\n100,21,5,31,\n200,22,6,32,\n")
    log = RunLog.read(tmp_path / "log.csv")
    assert log.scalars == {"psnr": {100: 21.0, 200: 22.0}} and not log.repeated
    assert "second columns of a name: 2 left out, such as step in column 3" in caplog.text
