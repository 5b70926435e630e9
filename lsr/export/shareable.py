"""Take out of settings and figures what belongs to one machine: folders, users, secrets."""

import re
from pathlib import Path
from typing import Any

_SECRET_KEY = re.compile(
    r"(^|[_.-])(token|secret|passw(or)?d|credentials?|auth|(api|access|secret|private)[_-]?key)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?<=://)[^/@\s]+@")
_FOLDERS = re.compile(r"""(?<![\w./])(~\w*|[A-Za-z]:)?[/\\](?![/\\\s])[^"'\n]*[/\\]""")
"""An absolute path up to its last separator; the last part says what the file or folder is."""

REMOVED = "(removed)"


def shareable(value: Any) -> Any:
    """Return nested plain values without absolute paths and secrets.

    Of an absolute path its last part stays: `/home/ann/photos/train` becomes `train`. A value
    whose key says that it is a token, password or key becomes `REMOVED`.
    """
    if isinstance(value, dict):
        return {
            shareable(key): REMOVED
            if each is not None and _SECRET_KEY.search(str(key))
            else shareable(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [shareable(each) for each in value]
    return _without_folders(value) if isinstance(value, str) else value


def _without_folders(text: str) -> str:
    text = _SECRET_VALUE.sub("", text).replace("file://", "")
    home = str(Path.home())
    if home != "/":  # that of a user without a home, in a container
        text = text.replace(home, "~")
    # A separator at the end of a path would leave nothing of it.
    return _FOLDERS.sub("", re.sub(r"""(?<=[\w.])[/\\]+(?=$|["'])""", "", text))
