"""The file formats that are read: those of Pillow, and those of optional packages."""

import importlib.util

from PIL import features

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""What follows `ftyp` at the beginning of an HEIC or HEIF file (ISO/IEC 23008-12)."""


def _optional() -> dict[str, tuple[str, ...]]:
    """Return the optional formats that can be read here: Pillow's name and the suffixes."""
    found = {}
    if features.check("avif"):  # Pillow's own wheels have it from 11.3 on
        found["AVIF"] = (".avif",)
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()
        found["HEIF"] = (".heic", ".heif")
    return found


_OPTIONAL = _optional()

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", *_OPTIONAL)
"""Pillow's names of the formats that are read."""

OPTIONAL_SUFFIXES = frozenset(suffix for suffixes in _OPTIONAL.values() for suffix in suffixes)
"""Suffixes of the optional formats that can be read here."""


def unknown_format(head: bytes) -> str:
    """Return why a file that is in none of `FORMATS` cannot be read, and what to do.

    Args:
        head: The first 12 bytes of the file or more.
    """
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and "HEIF" not in FORMATS:
        return "an HEIC image: pip install pillow-heif, or save it as PNG or JPEG"
    if head[4:12] == b"ftypavif" and "AVIF" not in FORMATS:
        return "an AVIF image: pip install -U pillow, or save it as PNG or JPEG"
    return "not a PNG, JPEG, WebP, TIFF, BMP or GIF image, or an unsupported or damaged one"
