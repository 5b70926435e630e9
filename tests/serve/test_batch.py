"""The run of a page: results, previews, a zip, one line for what fails, and cancelling."""

import io
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

from support.patience import PATIENCE_S
from support.served import encoded

from lsr.inference.upscaler import Upscaler
from lsr.serve import one_photograph
from lsr.serve.batch import ZIP, Batch, Line
from lsr.serve.jobs import JobLine
from lsr.serve.limits import Limits, Refused
from lsr.serve.settings import settings_of
from lsr.serve.workplace import Workplace


@pytest.fixture
def batch(denoiser):
    """A function that makes the batch of some files, by name."""
    limits = Limits(files=4)
    line = JobLine(limits)
    workplace = Workplace(line)
    settings = settings_of({}, {"tiny": Upscaler(denoiser, 3.0, device="cpu")})

    def of(*files):
        paths = []
        for name, data in files:
            paths.append(workplace.new_upload(name))
            paths[-1].write_bytes(data)
        session = workplace.session("page")
        return Batch(list(map(str, paths)), settings, limits, line, workplace, session)

    yield of
    line.close()
    workplace.close()


def lines(batch):
    return [event for event in batch.run() if isinstance(event, Line)]


def test_every_photograph_has_a_line_and_what_was_made_is_in_the_zip(batch, photo):
    small = photo[:10, :12]
    run = batch(
        ("a.jpg", encoded(small, "JPEG")),
        ("b.gif", encoded(small, "GIF")),
        ("broken.png", encoded(small)[:90]),
        ("a.jpg", encoded(small[::-1], "JPEG")),
    )
    found = lines(run)
    assert [line.refused for line in found] == [False, False, True, False]
    assert found[0].text.startswith("a.jpg: 48 x 40 pixels, ")
    assert found[2].text.startswith("broken.png: damaged")
    assert list(run.session.results) == ["a.jpg", "b.png", "a-2.jpg"]
    with zipfile.ZipFile(run.session.folder / ZIP) as archive:
        for name, result in run.session.results.items():
            assert archive.read(name) == result.file.read_bytes()
            assert Image.open(io.BytesIO(archive.read(name))).size == (48, 40)
            assert Image.open(result.preview.before).size == (48, 40)


def test_a_result_that_is_too_large_for_a_screen_has_a_smaller_preview(batch, photo, monkeypatch):
    monkeypatch.setattr(one_photograph, "_PREVIEW_SIDE", 50)
    run = batch(("a.png", encoded(photo[:31, :33])))
    assert "shown at 1/3 of its size" in lines(run)[0].text
    result = run.session.results["a.png"]
    assert (result.width, result.height) == (132, 124)
    whole = np.asarray(Image.open(result.file), np.float64)[:123]
    means = whole.reshape(41, 3, 44, 3, 3).mean((1, 3))
    shown = np.asarray(Image.open(result.preview.after), np.float64)
    assert shown.shape == (41, 44, 3) and np.abs(shown - means).mean() < 6
    assert Image.open(result.preview.before).size == (44, 41)


def test_cancelling_stops_the_photograph_and_those_after_it(batch, photo, monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()
    upscale_one = one_photograph.upscale_one

    def waiting(*arguments, **options):
        begun.set()
        assert cancelled.wait(PATIENCE_S)
        return upscale_one(*arguments, **options)

    monkeypatch.setattr("lsr.serve.batch.upscale_one", waiting)
    run = batch(("a.png", encoded(photo)), ("b.png", encoded(photo)))
    events = run.run()
    next(events)
    assert begun.wait(PATIENCE_S)
    run.session.cancel()
    cancelled.set()
    assert [line.text for line in events if isinstance(line, Line)] == ["cancelled"]
    assert not run.session.results
    run.session.start()
    assert [line.refused for line in lines(run)] == [False, False]


def test_a_zip_that_is_refused_is_told_and_the_results_stay(batch, photo, monkeypatch):
    run = batch(*[(name, encoded(photo[:8, :8])) for name in ("a.png", "b.png")])
    written = zipfile.ZipFile.write

    def one_fits(archive, file, name):
        if archive.namelist():
            raise OSError("no space left")
        written(archive, file, name)

    monkeypatch.setattr(zipfile.ZipFile, "write", one_fits)
    found = lines(run)
    assert [line.refused for line in found] == [False, False, True]
    assert found[2].text.startswith("upscaled.zip: the server failed")
    assert len(run.session.results) == 2 and not (run.session.folder / ZIP).exists()


def test_no_photograph_and_too_many_are_refused(batch, photo):
    with pytest.raises(Refused, match="no photograph"):
        batch()
    with pytest.raises(Refused, match="5 photographs are more than the limit of 4"):
        batch(*5 * [("a.png", encoded(photo[:8, :8]))])
