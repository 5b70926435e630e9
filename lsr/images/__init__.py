"""Photographs on disk: the one place where the project finds, reads and writes image files."""

from lsr.images.decoding import EncodedImage, UnreadableImage, probe
from lsr.images.encoding import UnfitFormat, write_png, write_stream
from lsr.images.files import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    find_images,
    read_photograph,
    read_rgb8,
)
from lsr.images.outputs import collect
from lsr.images.photograph import Photograph, PictureStream

__all__ = [
    "FOREIGN_SUFFIXES",
    "IMAGE_SUFFIXES",
    "EncodedImage",
    "Photograph",
    "PictureStream",
    "UnfitFormat",
    "UnreadableImage",
    "collect",
    "find_images",
    "probe",
    "read_photograph",
    "read_rgb8",
    "write_png",
    "write_stream",
]
