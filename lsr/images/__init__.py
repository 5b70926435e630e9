"""Finding, reading and writing image files: the public names of this wing.

A new file format that is read is added in three modules: its suffixes in `lsr.images.reading`, its
pixels in `lsr.images.decoding`, and its Pillow name and the message for unknown files in
`lsr.images.formats`. A format that is written is added in `lsr.images.encoding`.
"""

from lsr.images.decoding import check_pixels, probe
from lsr.images.encoding import (
    UnfitFormat,
    fit_for,
    not_kept,
    write_picture,
    write_png,
    write_stream,
)
from lsr.images.finding import find_images
from lsr.images.opening import EncodedImage, UnreadableImage
from lsr.images.outputs import WRITTEN_FORMATS, collect, suffix_of_same_format
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.reading import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    read_photograph,
    read_rgb8,
)
from lsr.images.sizes import Sizes, probe_or_one_pixel

__all__ = [
    "FOREIGN_SUFFIXES",
    "IMAGE_SUFFIXES",
    "WRITTEN_FORMATS",
    "EncodedImage",
    "Photograph",
    "PictureStream",
    "Sizes",
    "UnfitFormat",
    "UnreadableImage",
    "check_pixels",
    "collect",
    "find_images",
    "fit_for",
    "not_kept",
    "probe",
    "probe_or_one_pixel",
    "read_photograph",
    "read_rgb8",
    "suffix_of_same_format",
    "write_picture",
    "write_png",
    "write_stream",
]
