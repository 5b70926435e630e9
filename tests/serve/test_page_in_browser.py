"""The page in a real browser: upload, compare, download, cancel, refusals, two users at once."""

import io
import re
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")
pytest.importorskip("playwright", reason="playwright is missing: pip install 'linearsr[dev]'")
from playwright.sync_api import Error, expect
from support.browser import CHROMIUM, NO_CHROMIUM, chromium
from support.patience import PATIENCE_S, wait_until
from support.served import encoded, served

from lsr.inference.upscaler import Upscaler
from lsr.serve.limits import Limits
from lsr.serve.one_photograph import upscale_one

LIMITS = Limits(megapixels=0.3, megabytes=0.1)

ATTEMPTS_S = (5, 10, 20, 40, 80, 160, 320)
"""Seconds that one attempt after another may take: on a busy machine the first ones fail."""

expect.set_options(timeout=1000 * PATIENCE_S)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


class Visitor:
    """A person with a page in a browser of their own."""

    def __init__(self, browser, address):
        self.context = browser.new_context()
        self.context.set_default_timeout(1000 * PATIENCE_S)
        self.page = self.context.new_page()
        self.strange = []
        self.page.on("request", lambda request: self._look_at(request.url, address))
        self.page.on("pageerror", lambda error: self.strange.append(str(error)))
        self.page.goto(address)
        self.button("Upscale").wait_for()

    def _look_at(self, url, address):
        if not url.startswith((address, "data:", "blob:")):
            self.strange.append(url)

    def button(self, name):
        return self.page.get_by_role("button", name=name)

    def upload(self, shows, **files):
        """Choose files until the page shows what it should: before it is ready, it takes none."""
        chosen = [
            {"name": name.replace("_", "."), "mimeType": "image/png", "buffer": data}
            for name, data in files.items()
        ]
        for seconds in ATTEMPTS_S:
            self.page.locator("#files input[type=file]").set_input_files(chosen)
            try:
                return self.page.locator(shows).first.wait_for(timeout=1000 * seconds)
            except Error:
                self.page.reload()
                self.button("Upscale").wait_for()
        raise AssertionError(f"the page never showed {shows!r}")

    def begin(self):
        """Click Upscale until the run has begun: a page that is not ready forgets a click."""
        begun = self.page.locator("#progress progress, #lines li")
        for seconds in ATTEMPTS_S:
            with suppress(Error):  # a button of a run that begins late cannot be clicked
                self.button("Upscale").click(timeout=5000)
            with suppress(Error):
                return begun.first.wait_for(timeout=1000 * seconds)
        raise AssertionError("the run never began")

    def says(self, text):
        self.page.get_by_text(text).first.wait_for()

    def download(self, name):
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def visitors(denoiser):
    """A function that opens the page for one more person."""
    with (
        served({"tiny": Upscaler(denoiser, 3.0, device="cpu")}, LIMITS) as address,
        chromium() as browser,
    ):
        yield lambda: Visitor(browser, address)


def until_it_is_cancelled(source, target, settings, watch, preview):
    """Upscale a photograph; one that is named `slow.jpg` takes all the time that there is."""
    while source.name == "slow.jpg":
        watch(0.01)
        time.sleep(0.01)
    return upscale_one(source, target, settings, watch, preview)


def test_two_people_upscale_their_photographs(visitors, photo, monkeypatch):
    monkeypatch.setattr("lsr.serve.batch.upscale_one", until_it_is_cancelled)
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    ann = visitors()
    ann.upload(
        "a[download='huge.png']",
        one_jpg=encoded(photo[:30, :40], "JPEG", exif=exif),
        two_png=encoded(photo[:20, :20]),
        broken_png=encoded(photo)[:99],
        huge_png=encoded(np.zeros((600, 600), np.uint8)),
    )
    ann.begin()
    ann.says("one.jpg: 160 x 120 pixels")
    ann.says("broken.png: damaged")
    ann.says("huge.png: 600x600 pixels are more than the limit of 0.3 megapixels")
    ann.button("Download all").wait_for()
    with zipfile.ZipFile(io.BytesIO(ann.download("Download all"))) as archive:
        assert archive.namelist() == ["one.jpg", "two.png"]
    assert Image.open(io.BytesIO(ann.download("Download two.png"))).size == (80, 80)

    ann.page.get_by_label("Picture").click()
    ann.page.get_by_role("option", name="one.jpg").click()
    result = Image.open(io.BytesIO(ann.download("Download one.jpg")))
    assert (result.format, result.size, result.getexif()[0x010F]) == ("JPEG", (160, 120), "a maker")
    _compares(ann.page)

    # One photograph at a time: Bob waits for Ann, who gives up.
    bob = visitors()
    large = np.random.default_rng(0).bytes(200_000)
    bob.upload("text=exceed the maximum allowed size", large_png=large)
    for person in (ann, bob):
        person.page.reload()
        person.button("Upscale").wait_for()
    ann.upload("a[download='slow.jpg']", slow_jpg=encoded(photo, "JPEG"))
    bob.upload("a[download='bobs.png']", bobs_png=encoded(photo[:20, :30]))
    ann.button("More settings").click()
    ann.page.get_by_label("Steps").fill("100")
    ann.begin()
    ann.says("slow.jpg: ")
    bob.begin()
    bob.says("bobs.png: waits for 1 more")
    ann.button("Cancel").click()
    ann.says("cancelled")
    bob.says("bobs.png: 120 x 80 pixels")
    assert not ann.strange and not bob.strange
    for person in (ann, bob):
        person.context.close()
    _becomes_empty(next(Path(tempfile.gettempdir()).glob("lsr-serve-*")))


def _compares(page):
    """Check that there are two pictures of full size, and that the line between them moves."""
    before, after = (page.get_by_alt_text(name, exact=True) for name in ("before", "after"))
    sizes = [
        each.evaluate("image => image.decode().then(() => image.naturalWidth)")
        for each in (before, after)
    ]
    assert sizes == [160, 160] and before.get_attribute("src") != after.get_attribute("src")
    cut = after.get_attribute("style")
    box = page.locator("#slider [data-testid=slider]").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(after).not_to_have_attribute("style", cut)
    line = page.get_by_role("slider", name="Line between before and after")
    # The place of a mouse event is a whole pixel.
    for key, told, drawn in (
        ("Home", "0", "0"),
        ("ArrowRight", "5", "[45]"),
        ("End", "100", "(99|100)"),
        ("Control+ArrowLeft", "100", "(99|100)"),
    ):
        line.press(key)
        expect(line).to_have_attribute("aria-valuenow", told)
        expect(after).to_have_attribute("style", re.compile(rf"inset\(0px 0px 0px {drawn}\b"))
    page.get_by_label("Actual pixels").check()
    page.wait_for_function("image => image.clientWidth == 160", arg=after.element_handle())


def _becomes_empty(folder):
    """Wait until the files of all pages that were closed are gone."""
    wait_until(lambda: not any(folder.iterdir()))
