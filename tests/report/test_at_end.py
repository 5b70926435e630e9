"""A report at the end of a run: written, or told in one line why not."""

from support.run_folder import write_run

from lsr.report.at_end import report_at_end


def test_the_report_is_written_and_its_path_printed(tmp_path, capsys):
    report_at_end(write_run(tmp_path / "run"), "fit")
    assert capsys.readouterr().err == f"report: {tmp_path / 'run' / 'report.html'}\n"
    assert "Knee at step" in (tmp_path / "run" / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_told_and_nothing_fails(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "report.html").mkdir()
    report_at_end(run, "fit")
    err = capsys.readouterr().err
    assert err.startswith("lsr fit: no report (") and err.count("\n") == 1
    assert f"lsr report {run} tries again" in err
