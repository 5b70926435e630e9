"""The page that upscales in the visitor's browser, in Chromium over a server of static files."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.browser import CHROMIUM, NO_CHROMIUM, chromium
from support.exported_page import runtime
from support.patience import PATIENCE_S

from lsr.inference.upscaler import Upscaler


@pytest.fixture(scope="module")
def address(page):
    """Serve the page as `python -m http.server` does, and return its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        command, cwd=page, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    port = server.stdout.readline().split(" port ")[1].split()[0]
    yield f"http://127.0.0.1:{port}/"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def browser():
    """Return Chromium, or say why there is none."""
    if runtime() is None:
        pytest.skip("no onnxruntime-web here: `make browser` fetches it")
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser, address):
    """Return the loaded page, and check that it has asked no other server and logged no error."""
    tab = browser.new_page()
    tab.set_default_timeout(1000 * PATIENCE_S)
    asked, errors = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    reaches(tab, "ready")
    yield tab
    tab.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def reaches(tab, state):
    tab.wait_for_selector(f"body[data-state={state}]")


def test_a_photograph_becomes_what_lsr_makes_of_it(tab, page, photo, tmp_path):
    lr = photo[:33, :47]
    Image.fromarray(lr).save(tmp_path / "a photo.png")
    tab.set_input_files("#file", tmp_path / "a photo.png")
    reaches(tab, "done")
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "a photo-x4.png"
    download.value.save_as(tmp_path / "large.png")
    large = np.asarray(Image.open(tmp_path / "large.png").convert("RGB")).astype(int)
    wanted = Upscaler.from_pretrained(page.parent / "small.safetensors").upscale(lr)
    assert large.shape == wanted.shape
    assert np.abs(large - wanted).max() <= 2
    assert tab.locator("#view").is_visible()


def test_what_is_no_picture_is_one_line_and_the_next_one_is_taken(tab, photo, tmp_path):
    (tmp_path / "letter.txt").write_text("no picture")
    tab.set_input_files("#file", tmp_path / "letter.txt")
    reaches(tab, "failed")
    assert "letter.txt: this browser cannot read the file" in tab.inner_text("#status")
    Image.fromarray(photo[:8, :8]).save(tmp_path / "small.png")
    tab.set_input_files("#file", tmp_path / "small.png")
    reaches(tab, "done")


def test_of_a_large_picture_the_middle_is_taken_and_the_work_can_be_cancelled(tab, tmp_path):
    Image.new("RGB", (2000, 1000), "green").save(tmp_path / "large.png")
    tab.set_input_files("#file", tmp_path / "large.png")
    reaches(tab, "working")
    assert "2000 x 1000 pixels; its middle, 707 x 353" in tab.inner_text("#status")
    tab.click("#cancel")
    reaches(tab, "ready")
    assert not tab.locator("#result").is_visible()
