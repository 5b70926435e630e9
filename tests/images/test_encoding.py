"""Written files: what other programs read from them, and what a format refuses."""

import os
import resource

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from support.image_files import RGBA8, RGBA16, exif_block

from lsr.images import Photograph, PictureStream, read_photograph, tiff_encoding
from lsr.images.encoding import UnfitFormat, write_stream

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:Rating="5"/></rdf:RDF>'
    b"</x:xmpmeta>"
)
CHANNELS = {"grey": [0], "grey_alpha": [0, 3], "rgb": [0, 1, 2], "rgba": [0, 1, 2, 3]}


def photograph(samples, kind, **metadata):
    values = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    grey = kind.startswith("grey")
    pixels = (
        np.repeat(values[..., :1], 3, axis=2) if grey else np.ascontiguousarray(values[..., :3])
    )
    alpha = np.ascontiguousarray(values[..., 3]) if 3 in CHANNELS[kind] else None
    return Photograph(pixels, alpha, 8 * samples.itemsize, grey, **metadata)


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
@pytest.mark.parametrize("times", [1, 40])
def test_tiff_is_exact_for_this_and_for_other_readers(tmp_path, kind, samples, times):
    tall = np.concatenate([samples] * times)
    path = tmp_path / "a.tif"
    write_stream(path, PictureStream.of(photograph(tall, kind)), "tiff")
    wanted = tall[..., CHANNELS[kind]]
    np.testing.assert_array_equal(tifffile.imread(path).reshape(wanted.shape), wanted)
    again = read_photograph(path)
    np.testing.assert_array_equal(again.pixels, photograph(tall, kind).pixels)
    assert (again.bits, again.grey, again.alpha is None) == (
        8 * samples.itemsize,
        kind.startswith("grey"),
        3 not in CHANNELS[kind],
    )
    if kind in ("grey", "rgb"):
        other = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        np.testing.assert_array_equal(other[..., ::-1], wanted)


def test_a_tiff_too_large_for_32_bits_is_a_big_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_encoding, "_CLASSIC_LIMIT", 10)
    path = tmp_path / "a.tif"
    write_stream(
        path, PictureStream.of(photograph(RGBA16, "rgb", exif=exif_block(), icc=ICC)), "tiff"
    )
    assert path.read_bytes()[:4] == b"II+\0"
    np.testing.assert_array_equal(tifffile.imread(path), RGBA16[..., :3])


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_metadata_is_kept_in_every_format(tmp_path, kind, samples):
    metadata = {"icc": ICC, "exif": exif_block(), "xmp": XMP, "dpi": (300.0, 300.0)}
    path = tmp_path / f"a.{kind}"
    write_stream(path, PictureStream.of(photograph(samples, "rgb", **metadata)), kind)
    again = read_photograph(path)
    assert again.icc == ICC and again.xmp == XMP
    assert again.bits == (8 * samples.itemsize if kind in ("png", "tiff") else 8)
    exif = Image.Exif()
    exif.load(again.exif)
    assert (
        exif[0x010F] == "Maker"
        and exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        and exif.get_ifd(0x8825)[1] == "N"
    )
    if kind != "webp":  # which has no field for it
        assert again.dpi == pytest.approx((300, 300), abs=0.1)


def test_orientation_is_dropped_from_xmp_as_it_has_been_applied(tmp_path):
    for text in (
        b'<a tiff:Orientation="6" b="1"/>',
        b"<a><tiff:Orientation>6</tiff:Orientation></a>",
    ):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RGBA8[..., :3]).save(tmp_path / "a.jpg", xmp=text, exif=exif)
        photograph = read_photograph(tmp_path / "a.jpg")
        assert photograph.xmp in (b'<a b="1"/>', b"<a></a>") and photograph.pixels.shape == (
            23,
            17,
            3,
        )


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_lossless_formats_keep_alpha_and_hidden_colours(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    clear = RGBA8.copy()
    clear[:5, :, 3] = 0
    write_stream(path, PictureStream.of(photograph(clear, "rgba")), kind, quality=100)
    again = read_photograph(path)
    assert again.alpha is not None
    np.testing.assert_array_equal(np.rint(np.dstack([again.pixels, again.alpha]) * 255), clear)


def test_quality_decides_the_size_of_a_jpeg(tmp_path):
    sizes = []
    for quality in (30, 95):
        write_stream(
            tmp_path / "a.jpg", PictureStream.of(photograph(RGBA8, "rgb")), "jpeg", quality
        )
        sizes.append(os.path.getsize(tmp_path / "a.jpg"))
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize(
    ("kind", "width", "alpha"), [("jpeg", 65536, False), ("webp", 16384, False), ("jpeg", 8, True)]
)
def test_what_a_format_cannot_hold_is_refused_before_it_is_made(tmp_path, kind, width, alpha):
    def blocks():
        raise AssertionError("nothing must be computed")
        yield

    like = photograph(RGBA8, "rgba" if alpha else "rgb")
    with pytest.raises(UnfitFormat, match="choose the format png"):
        write_stream(tmp_path / "a", PictureStream(like, 8, width, blocks()), kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, kind):
    def blocks():
        yield np.zeros((4, 8, 3), np.float32)
        raise MemoryError

    with pytest.raises(MemoryError):
        write_stream(tmp_path / "a", PictureStream(photograph(RGBA8, "rgb"), 8, 8, blocks()), kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_disk_that_takes_only_a_part_of_the_file_is_an_error(tmp_path, kind):
    """Pillow writes a JPEG by one call of the system, and does not look how much it has taken."""
    pixels = np.random.default_rng(0).random((100, 100, 3), np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError):
            write_stream(tmp_path / "a", PictureStream.of(Photograph(pixels)), kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
