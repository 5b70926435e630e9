import io
import sys
import time

import pytest

import lsr.console.progress_bar
from lsr.console.progress_bar import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def drawn(monkeypatch, total, done):
    """Return what a terminal shows when some pieces of a total are done."""
    stderr = terminal(monkeypatch)
    with progress_bar("counting", total, "sheep") as bar:
        bar.advance(done)
    return stderr.getvalue()


def test_a_terminal_sees_description_count_and_rate(monkeypatch):
    stderr = terminal(monkeypatch)
    with progress_bar("counting [sheep]", 3, "sheep") as bar:
        bar.advance(0.5)
        bar.advance(1.5)
        bar.say("one: 1/2 [bold] :dog: " + 100 * "x")
    shown = stderr.getvalue()
    assert "counting [sheep]" in shown and "2/3" in shown and " sheep/s" in shown
    assert "one: 1/2 [bold] :dog: " + 100 * "x" in shown


def test_a_large_count_is_a_plain_number(monkeypatch):
    assert "1050/1234" in drawn(monkeypatch, 1234.56, 1050.7)


def test_the_total_may_turn_out_to_be_another(monkeypatch):
    stderr = terminal(monkeypatch)
    with progress_bar("upscaling", 10, "Mpx") as bar:
        bar.expect(2000)
        bar.advance(1000)
    assert "1000/2000" in stderr.getvalue()


def test_no_color_takes_the_colours_from_a_terminal(monkeypatch):
    assert "\x1b[3" in drawn(monkeypatch, 3, 1)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(monkeypatch, 3, 1)
    assert "1/3" in plain and "\x1b[3" not in plain


@pytest.mark.parametrize("shown", [True, False])
def test_elsewhere_only_the_lines_are_printed(capsys, shown):
    with progress_bar("counting", 2, "sheep", shown=shown) as bar:
        bar.advance(1)
        bar.say("a line of [any] :dog: kind, 12 of 34 " + 100 * "x")
    out = capsys.readouterr()
    assert out.err == "a line of [any] :dog: kind, 12 of 34 " + 100 * "x" + "\n" and not out.out


def test_only_the_process_that_shows_it_has_a_bar(monkeypatch):
    stderr = terminal(monkeypatch)
    with progress_bar("counting", 2, "sheep", shown=False) as bar:
        bar.advance(1)
    assert not stderr.getvalue()


def test_without_a_terminal_a_line_a_minute_says_where_the_work_stands(monkeypatch, capsys):
    monkeypatch.setattr(lsr.console.progress_bar, "LINE_EVERY_S", 0.01)
    said = ""
    with progress_bar("counting", 2.5, "sheep") as bar:
        bar.advance(0.5)
        bar.describe("still counting")
        while "still" not in said:
            said += capsys.readouterr().err
    line = next(line for line in said.splitlines() if line.startswith("still"))
    assert line == "still counting: 0.5/2.5 sheep, less than a minute left"


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (1, "1/4 sheep, about 3 min left"),
        (2, "2/4 sheep, about 1 min left"),
        (3, "3/4 sheep, less than a minute left"),
        (4, "4/4 sheep, less than a minute left"),
        (5, "5/4 sheep, less than a minute left"),
    ],
)
def test_the_time_left_is_never_zero_minutes_or_negative(monkeypatch, done, expected):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[-1])
    with progress_bar("counting", 4, "sheep", shown=False) as bar:
        bar.advance(done)
        clock.append(60.0)
        assert bar.state() == f"counting: {expected}"


def test_a_process_that_shows_nothing_prints_no_lines(monkeypatch, capsys):
    monkeypatch.setattr(lsr.console.progress_bar, "LINE_EVERY_S", 0.001)
    with progress_bar("counting", 2, "sheep", shown=False):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
