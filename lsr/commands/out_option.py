"""The check of `--out`, and of options like it, where they name a folder."""

import stat
from pathlib import Path


def check_out_folder(out: Path, option: str = "--out") -> None:
    """Check that a folder is at this path, or can be made there.

    Raises:
        ValueError: If there is something else in its place or above it.
    """
    try:
        if not stat.S_ISDIR(out.stat().st_mode):
            raise ValueError(f"{option} {out} is not a folder: choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{option} {out} cannot be created: {error.strerror}") from error
