"""Changes of the bytes of a file, as damage and malice make them."""

import struct
import zlib

import numpy as np

_NUMBERS = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
]

_WORDS = [
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\r\n", b"\n\n", b",", b";", b"\t"),
    *(
        b'"',
        b"'",
        b"{",
        b"[",
        b"}",
        b"]",
        b": ",
        b"- ",
        b"*a",
        b"&a ",
        b"<<: ",
        b"!!python/none ",
        b"#",
    ),
    *(
        b"nan",
        b"-inf",
        b"1e999",
        b"-1",
        b"1" * 400,
        b"../../../x",
        b"/",
        b"null",
        b"true",
        b"\\u0000",
    ),
]


def mutated(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """Return a file with one to six changes.

    Args:
        data: The file.
        others: Files of which parts may be put into it.
        random: Source of the changes.
    """
    changes = [_flip, _number, _word, _noise, _delete, _repeat, _cut, _zeros]
    for _ in range(int(random.integers(1, 7))):
        if random.random() < 0.08:
            data = _splice(data, others[int(random.integers(len(others)))], random)
        else:
            data = changes[int(random.integers(len(changes)))](data, random)
    if data.startswith(b"\x89PNG") and random.random() < 0.8:
        data = with_right_checksums(data)
    return data


def with_right_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks have the right CRC, so that readers look at what is in them."""
    parts = [png[:8]]
    position = 8
    while position + 12 <= len(png):
        length = struct.unpack(">I", png[position : position + 4])[0]
        body = png[position + 4 : position + 8 + length]
        if len(body) < length + 4:
            break
        parts.append(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        position += 12 + length
    return b"".join(parts) + png[position:]


def _place(data: bytes, random: np.random.Generator) -> int:
    """Return a position; every second one lies in the first 256 bytes, where headers are."""
    end = len(data) + 1
    return int(random.integers(min(end, 256) if random.random() < 0.5 else end))


def _part(data: bytes, random: np.random.Generator) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + int(2 ** random.uniform(0, 10)))


def _flip(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[_place(data, random) % len(changed)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _number(data: bytes, random: np.random.Generator) -> bytes:
    width = int(random.choice([1, 2, 4, 8]))
    value = _NUMBERS[int(random.integers(len(_NUMBERS)))] % 256**width
    start = _place(data, random)
    order = "big" if random.random() < 0.5 else "little"
    return data[:start] + value.to_bytes(width, order) + data[start + width :]


def _word(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _part(data, random)
    end = end if random.random() < 0.3 else start
    return data[:start] + _WORDS[int(random.integers(len(_WORDS)))] + data[end:]


def _noise(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _part(data, random)
    return data[:start] + random.bytes(end - start) + data[end:]


def _delete(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _part(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _part(data, random)
    return data[:end] + data[start:end] * int(random.integers(1, 4)) + data[end:]


def _cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: _place(data, random)]


def _zeros(data: bytes, random: np.random.Generator) -> bytes:
    start = _place(data, random)
    return data[:start] + bytes(len(data) - start)


def _splice(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    start, end = _part(other, random)
    position = _place(data, random)
    return data[:position] + other[start:end] + data[position:]
