"""Reading text files of any origin, and files of lines whose last line a crash has torn.

Editors and spreadsheets mark the encoding by a byte order mark (BOM); a text without one is UTF-8.
"""

import codecs
import json
import logging
from collections.abc import Callable
from pathlib import Path

from lsr.files import atomic_path

log = logging.getLogger(__name__)

# UTF-32 comes first: its mark for little-endian begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

IsWhole = Callable[[str], bool]
"""Returns whether the last line of a file, which has no line feed, is complete nevertheless."""


def read_text(path: Path, is_whole: IsWhole | None = None) -> str:
    """Return the text of a file; for the arguments and errors see `decode_text`.

    Raises:
        OSError: The file cannot be read.
    """
    return decode_text(path.read_bytes(), path, is_whole)


def decode_text(
    data: bytes, source: object, is_whole: IsWhole | None = None, any_bytes: bool = False
) -> str:
    """Return bytes as text: in the encoding of the byte order mark, else in UTF-8.

    Args:
        data: The bytes; the byte order mark does not become part of the text.
        source: The file, for messages.
        is_whole: Given for a file that grows line by line: a torn last line is left out, see
            `without_torn_line`.
        any_bytes: Whether bytes that are no UTF-8 are kept as Python keeps them in names of files
            (surrogateescape), instead of being refused.

    Raises:
        ValueError: The bytes are not text in this encoding, or hold NUL, as UTF-16 without a mark
            does.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(
            encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict"
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: damaged {encoding.upper()} text ({error.reason})") from None
    if is_whole is not None:
        text = without_torn_line(text, source, is_whole)
    if "\0" in text:
        line = _line_of(text, text.index("\0"))
        raise ValueError(
            f"{source}: holds NUL in line {line}: damaged, or UTF-16 without a byte order mark; "
            "save it as UTF-8"
        )
    if not any_bytes:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            line = _line_of(text, error.start)
            raise ValueError(
                f"{source}: not a text file in UTF-8 (line {line}); save it as UTF-8"
            ) from None
    return text


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def without_torn_line(text: str, source: object, is_whole: IsWhole) -> str:
    """Return a text of lines without the part of a last line that a crash has left.

    A killed process leaves the beginning of the line; a power cut may leave NUL in its place. One
    warning tells what is left out.

    Args:
        text: The text.
        source: The file, for the warning.
        is_whole: See `IsWhole`.
    """
    whole = text.rstrip("\0")
    end = whole.rfind("\n") + 1
    if end < len(whole) and not is_whole(whole[end:]):
        whole = whole[:end]
    if whole != text:
        log.warning("%s: a crash has torn its last line, which is left out", source)
    return whole


def mend_lines(path: Path, is_whole: IsWhole) -> None:
    """Cut off the torn last line of a file, so that lines can be appended; a file may be missing.

    Args:
        path: The file.
        is_whole: See `IsWhole`.
    """
    if not path.is_file():
        return
    data = path.read_bytes()
    text = data.decode("utf-8", "surrogateescape")
    whole = without_torn_line(text, path, is_whole)
    if whole and not whole.endswith("\n"):
        whole += "\n"
    if whole != text:
        with atomic_path(path) as temporary:
            temporary.write_bytes(whole.encode("utf-8", "surrogateescape"))


def is_json(line: str) -> bool:
    """Return whether a line is a complete JSON document."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
