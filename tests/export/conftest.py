"""One export for all tests of this folder: it takes ten seconds."""

import pytest
from support.exported_page import export_page


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """Return the folder of the page of a small model, which lies beside it."""
    return export_page(tmp_path_factory.mktemp("exported"))
