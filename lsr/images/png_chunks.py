"""Chunks of a PNG file that are copied as they are: text, and what the samples mean as light."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

_COLOUR = (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")

_ELSEWHERE = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
"""Keywords of texts that are metadata with fields of their own: XMP, EXIF and IPTC."""

_MOST_BYTES = 2**24
"""Most bytes of chunks that are kept of one file."""

Chunks = tuple[tuple[bytes, bytes], ...]
"""Type and data of chunks."""


def chunk_headers(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the type and the length of each chunk; the file is then at the chunk's data.

    The caller may read from there.

    Args:
        file: The PNG file; its position is moved.
    """
    position = 8  # behind the signature
    file.seek(position)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        position += 12 + length  # length, type and CRC take 12 bytes
        file.seek(position)


def kept_chunks(file: BinaryIO) -> Chunks:
    """Return the chunks of a PNG file that a copy in PNG keeps.

    Args:
        file: The PNG file; its position is moved and restored.
    """
    before = file.tell()
    found = []
    room = _MOST_BYTES
    for kind, length in chunk_headers(file):
        if kind in _COLOUR + _TEXT and length <= room:
            data = file.read(length)
            if len(data) == length and not (kind in _TEXT and data.startswith(_ELSEWHERE)):
                found.append((kind, data))
                room -= length
    file.seek(before)
    return tuple(found)


def named(chunks: Chunks) -> str:
    """Return what chunks contain in words, for a message; empty without chunks."""
    texts = [data.partition(b"\0")[0].decode("latin-1") for kind, data in chunks if kind in _TEXT]
    colour = [kind.decode() for kind, _ in chunks if kind in _COLOUR]
    parts = [f"text ({', '.join(dict.fromkeys(texts))})"] if texts else []
    return " and ".join(parts + ([", ".join(colour)] if colour else []))


def has_trailing_orientation(file: BinaryIO) -> bool:
    """Return whether a PNG file has EXIF or XMP data behind its pixels.

    Pillow then knows the orientation only after it has decoded the pixels. The headers of the
    chunks are enough to find out.

    Args:
        file: The PNG file; its position is moved.
    """
    behind_pixels = False
    for kind, length in chunk_headers(file):
        behind_pixels |= kind == b"IDAT"
        start = file.read(min(length, 24)) if kind in _TEXT else b""
        is_metadata = kind == b"eXIf" or start.startswith(
            (b"Raw profile type exif", b"XML:com.adobe.xmp")
        )
        if behind_pixels and is_metadata:
            return True
    return False
