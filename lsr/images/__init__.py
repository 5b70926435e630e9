"""Finding, reading and writing image files: the public names of this wing.

A new file format that is read is added in three modules: its suffixes in `lsr.images.reading`, its
Pillow name and pixels in `lsr.images.decoding`, and the message for unknown files in
`lsr.images.opening`. A format that is written is added in `lsr.images.encoding`.
"""

from lsr.images.decoding import probe
from lsr.images.encoding import UnfitFormat, write_png, write_stream
from lsr.images.finding import find_images
from lsr.images.opening import EncodedImage, UnreadableImage
from lsr.images.outputs import collect
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.reading import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    read_photograph,
    read_rgb8,
)

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
