"""A session's files go with it, and no path leads out of the folder or to files of others."""

import os

import pytest
from support.patience import PATIENCE_S

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from lsr.serve.jobs import Cancelled, JobLine
from lsr.serve.limits import Limits, Refused
from lsr.serve.workplace import Workplace


@pytest.fixture
def line():
    return JobLine(Limits())


@pytest.fixture
def workplace(line):
    workplace = Workplace(line)
    yield workplace
    line.close()
    workplace.close()
    assert not workplace.folder.exists()


def upload(workplace):
    path = workplace.new_upload("a.png")
    path.write_bytes(b"upload")
    return path


def result(session):
    path = session.folder / "1" / "a.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"result")
    return path


def test_the_files_of_a_session_go_with_it_and_those_of_others_stay(workplace):
    one, two = (workplace.session(key) for key in ("one", "two"))
    files = [result(one), result(two), upload(workplace), upload(workplace)]
    one.uploads.add(files[2])
    two.uploads.add(files[3])
    workplace.end("one")
    assert [file.exists() for file in files] == [False, True, False, True]
    workplace.end("one")
    workplace.end("two")
    assert not any(workplace.folder.iterdir())


def test_what_a_running_job_writes_goes_too(workplace, line):
    session = workplace.session("one")

    def work(watch):
        result(session)
        workplace.end("one")
        (session.folder / "late").write_bytes(b"")

    session.submit(work)
    line.submit(lambda watch: None).future.result(PATIENCE_S)
    assert not session.folder.exists()
    with pytest.raises(Cancelled):
        session.submit(work)


def test_what_no_session_ever_took_goes_when_it_is_old(workplace):
    old, new = upload(workplace), upload(workplace)
    forgotten = workplace.session("forgotten")
    forgotten.used -= 1e6
    kept = result(forgotten)
    os.utime(old.parent, (0, 0))
    workplace.session("another")
    assert not old.exists() and new.exists() and not kept.exists()


def test_an_upload_that_is_being_written_is_not_forgotten(workplace):
    path = workplace.new_upload("a.png")
    workplace.session("another page")
    path.write_bytes(b"upload")
    assert workplace.upload_at(str(path)) == path


def test_only_uploads_are_taken_and_only_results_are_given(workplace, tmp_path):
    made = result(workplace.session("one"))
    sent = upload(workplace)
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"secret")
    link = made.parent / "link.png"
    link.symlink_to(outside)
    assert workplace.upload_at(str(sent)) == sent
    assert workplace.result_at(str(made)) == made
    elsewhere = [
        str(outside),
        str(link),
        f"{made.parent}/../../../../{outside}",
        str(made.parent),
        str(workplace.folder),
        "/etc/passwd",
        "relative.png",
        "",
        "\0",
        5000 * "x",
        5000 * "x/",
    ]
    for path in [*elsewhere, str(sent)]:
        with pytest.raises(Refused):
            workplace.result_at(path)
    for path in [*elsewhere, str(made)]:
        with pytest.raises(Refused) as refused:
            workplace.upload_at(path)
        assert len(str(refused.value)) < 200
