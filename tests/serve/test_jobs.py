"""Jobs are done one at a time, in order; they can be cancelled, and end at their limit."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from support.patience import PATIENCE_S, wait_until

from lsr.serve.jobs import Cancelled, JobLine
from lsr.serve.limits import Limits, Refused


@pytest.fixture
def line():
    line = JobLine(Limits(waiting=3))
    yield line
    line.close()


@pytest.fixture
def door(line):
    """A job that has begun and runs until the event is set, and that event."""
    opened = threading.Event()

    def work(watch):
        watch(0.25)
        while not opened.wait(0.01):
            watch(0.25)
        watch(1.0)
        return "through"

    job = line.submit(work)
    wait_until(lambda: job.share)
    yield job, opened
    opened.set()


def test_jobs_are_done_in_their_order_and_one_at_a_time(line, door):
    first, opened = door
    order = []
    second = line.submit(lambda watch: order.append("second"))
    third = line.submit(lambda watch: order.append("third"))
    assert [line.ahead_of(job) for job in (first, second, third)] == [0, 1, 2]
    assert not order
    opened.set()
    third.future.result(PATIENCE_S)
    assert first.future.result() == "through" and order == ["second", "third"]
    assert line.ahead_of(third) == 0


def test_the_remaining_time_follows_from_the_share(line, door):
    job, _ = door
    assert job.share == 0.25 and job.left_s > 0


def test_a_running_job_stops_and_a_waiting_one_never_begins(line, door):
    first, opened = door
    begun = []
    second = line.submit(begun.append)
    second.cancel()
    first.cancel()
    with pytest.raises(Cancelled):
        first.future.result(PATIENCE_S)
    with pytest.raises(CancelledError):
        second.future.result(PATIENCE_S)
    assert line.submit(lambda watch: "alive").future.result(PATIENCE_S) == "alive"
    assert not begun and not opened.is_set()


def test_too_many_jobs_are_refused_and_there_is_room_again_later(line, door):
    _, opened = door
    others = [line.submit(lambda watch: None) for _ in range(2)]
    with pytest.raises(Refused, match="3 photographs wait already") as refused:
        line.submit(lambda watch: None)
    assert refused.value.status == 429
    opened.set()
    others[-1].future.result(PATIENCE_S)
    line.submit(lambda watch: None).future.result(PATIENCE_S)


def test_a_job_ends_at_its_limit():
    line = JobLine(Limits(minutes=1e-9))
    with pytest.raises(Refused, match="the limit"):
        line.submit(lambda watch: watch(0.5)).future.result(PATIENCE_S)
    line.close()


def test_a_fault_is_one_line_and_keeps_no_photograph_in_memory(line, capsys):
    kept = []

    def work(watch):
        photograph = np.zeros(1000)
        kept.append(weakref.ref(photograph))
        raise RuntimeError("two\nlines")

    job = line.submit(work)
    with pytest.raises(Refused) as refused:
        job.future.result(PATIENCE_S)
    assert refused.value.status == 500 and "RuntimeError" in str(refused.value)
    assert "two\nlines" in capsys.readouterr().err
    gc.collect()
    assert kept[0]() is None
