"""Sphinx configuration of the documentation site (`make docs`).

The source folder of the site is the root of the repository. So a relative link in a Markdown page
leads to the same file on a code host and in the site; see `docs/contributing.md`.
"""

import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

_ROOT = Path(__file__).parent.parent

project = "LinearSR"
author = "The contributors of LinearSR"
copyright = author
release = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "experiments/README.md",
    "experiments/**/README.md",
    "lsr/**/README.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "**/.*", "**/__pycache__", "runs", "site", "tests", "*.egg-info"]

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"

# Annotations name types that have no page here: those of other packages, and internal ones.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = f"LinearSR {release}"
html_extra_path = ["site_root"]
html_copy_source = False

# The escaped space after the code lets a letter follow: `step`s.
_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)")


def _markdown_code(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn Markdown's `code` in a docstring into reStructuredText's ``code``, in place."""
    lines[:] = _CODE.sub(r"``\1``\\ ", "\n".join(lines)).split("\n")


def _folders_as_text(app: Sphinx, page: nodes.document) -> None:
    """Show links to folders, which have no page in the site, as plain text."""
    here = Path(page["source"]).parent
    for link in list(page.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Register the hooks; docstrings are changed before napoleon reads them."""
    app.connect("autodoc-process-docstring", _markdown_code, priority=400)
    app.connect("doctree-read", _folders_as_text)
