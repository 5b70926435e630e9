"""Where what can be made again is kept."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Return the folder of remembered things, `$XDG_CACHE_HOME/linearsr` or `~/.cache/linearsr`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linearsr"
