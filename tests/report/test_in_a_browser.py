"""The slider in a real browser, where there is one."""

import subprocess

import pytest
from support.browser import CHROMIUM, NO_CHROMIUM
from support.patience import PATIENCE_S
from support.run_folder import write_run
from support.web_page import WebPage

from lsr.report.document import write_report


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_the_slider_shows_one_step_at_a_time(tmp_path):
    run = write_run(tmp_path / "run")
    target = tmp_path / "report.html"
    write_report([run], target)
    assert len(shown(WebPage(target.read_text()))) == 3  # without a script all steps are shown
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command = [CHROMIUM, *options, "--dump-dom", target.as_uri()]
    page = WebPage(
        subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S).stdout
    )
    assert shown(page) == ["step 2,400"]
    ((slider, _),) = page.all("input")
    assert slider["max"] == "2" and slider["aria-valuetext"] == "step 2,400"
    assert [words for _, words in page.all("output")] == ["step 2,400"]
    assert not any("hidden" in attributes for attributes, _ in page.all("label"))


def shown(page):
    figures = [attributes for attributes, _ in page.all("figure") if "data-step" in attributes]
    return [each["data-step"] for each in figures if "hidden" not in each]
