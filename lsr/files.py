"""Writing files atomically or under a lock, SHA-256 digests of files, and the cache folder."""

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")

_NOT_WRITTEN = ("os error", "inline_container")
"""Parts of the messages of safetensors and torch, whose exceptions are no OSError."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target` and rename it to `target` at the end.

    The file is fsynced before it is renamed, so `target` is complete or absent, also after a power
    cut. After an error the temporary file is removed. The file has the permissions that the umask
    gives, whatever library writes it.

    Raises:
        OSError: If the file cannot be written, because the disk is full for example. The message
            names `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        permissions = _permissions_of_new(temporary)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != permissions:
            temporary.chmod(permissions)  # safetensors creates files for their owner alone
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except Exception as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(target)  # the temporary name means nothing to the user
        elif any(sign in str(error) for sign in _NOT_WRITTEN):
            reason = str(error)[:80]
            raise OSError(f"{target}: cannot be written; is the disk full? ({reason})") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _permissions_of_new(path: Path) -> int:
    """Return the permissions of a file that is created at `path` now; no file stays there.

    They follow from the umask, which cannot be read without changing it for all threads.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        path.unlink()


def check_folder(path: Path, advice: str = "", option: str = "") -> None:
    """Raise ValueError unless a path is a folder.

    Args:
        path: The path.
        advice: End of the message, for example "; give a folder of photographs".
        option: Option that named the path, for example "--data".

    Raises:
        ValueError: If there is no such folder, or the path is a file.
    """
    if not path.is_dir():
        reason = "not a folder" if path.exists() else "no such folder"
        raise ValueError(f"{option} {path}: {reason}{advice}".lstrip())


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of `atomic_path` that a killed process has left in a folder.

    No other process may be writing to the folder. Subfolders are not searched.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        ValueError: If the document has NaN or an infinity, which JSON cannot represent; see
            `nan_as_text`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def nan_as_text(value: Any) -> Any:
    """Return plain values in which "nan", "inf" and "-inf" stand for the numbers of these names.

    Args:
        value: A value of JSON; in dicts and lists the values inside are looked at.
    """
    if isinstance(value, dict):
        return {key: nan_as_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_as_text(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def locked(path: Path, busy: str) -> Iterator[TextIO]:
    """Open a text file for reading and writing, and lock it inside the block.

    The file is created empty if it does not exist. It must be changed by `rewrite_json` alone: a
    file that replaces it is not locked, and two processes could hold a lock of the same path.

    Args:
        path: The file, in an existing folder.
        busy: Message if another process holds the lock.

    Raises:
        ValueError: If another process holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with open(descriptor, "r+", errors="replace") as file:  # a damaged file is no JSON
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(busy) from None
        yield file


def rewrite_json(file: TextIO, document: Mapping[str, Any]) -> None:
    """Replace the contents of an open file by a JSON document, in place."""
    file.seek(0)
    file.write(_in_place(document))
    file.truncate()
    file.flush()
    os.fsync(file.fileno())


def is_cut_off(text: str, document: Mapping[str, Any]) -> bool:
    """Return whether a text is all that a power cut has left of `rewrite_json` of a document.

    That is nothing, or the beginning of the document. An empty file is also one that is new.
    """
    whole = _in_place(document)
    return text != whole and whole.startswith(text)


def _in_place(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def copy_file(source: Path, target: Path) -> None:
    """Copy the contents of a file atomically, see `atomic_path`."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_cache() -> Path:
    """Return the cache folder, `$XDG_CACHE_HOME/linearsr` or `~/.cache/linearsr`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linearsr"
