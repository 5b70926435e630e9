"""The Chromium of this machine, for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
"""Its path, None if there is none. Playwright's own Chromium would have to be downloaded."""

NO_CHROMIUM = "there is no Chromium: apt-get install chromium"
"""Why a test is skipped."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Run Chromium by Playwright, which must be installed, while the block runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Chromium's sandbox does not work for root, who runs the tests in containers.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
