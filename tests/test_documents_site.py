"""The documentation site builds without a warning and needs no network."""

import re
import subprocess
import sys

import pytest
from support.processes import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-n", "-c", str(ROOT / "docs")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_built_and_can_be_searched(site):
    pages = (ROOT / "docs").rglob("*.md")
    html = [site / page.relative_to(ROOT).with_suffix(".html") for page in pages]
    assert [page for page in html if not page.is_file()] == []
    assert (site / "searchindex.js").is_file()
    assert "docs/index.html" in (site / "index.html").read_text()


def test_no_page_loads_anything_from_the_network(site):
    loaded = r"<(?:script|img|iframe|source|link)[^>]+(?:src|href)=\"(?:https?:)?//"
    pages = [page for page in site.rglob("*.html") if re.search(loaded, page.read_text())]
    remote = r"url\(\s*[\"']?(?:https?:)?//|@import\s+[\"']https?:"
    sheets = [sheet for sheet in site.rglob("*.css") if re.search(remote, sheet.read_text())]
    assert pages + sheets == []


def test_code_in_docstrings_is_shown_as_code(site):
    text = {page.name: page.read_text() for page in (site / "docs" / "api").glob("*.html")}
    visible = {name: re.sub(r"<[^>]+>", "", html) for name, html in text.items()}
    assert [name for name, words in visible.items() if "`" in words] == []
    assert "<code" in text["inference.html"]
