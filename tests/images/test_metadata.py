"""Metadata of a copy is true for the copy, and what a format cannot hold is told."""

import io
import zlib

import pytest
from PIL import Image, PngImagePlugin
from support.image_files import RGBA8, chunk, exif_tags, png

from lsr.images import PictureStream, not_kept, read_photograph
from lsr.images.conversion import photograph_of, to_input_type
from lsr.images.encoding import write_stream

COLOUR = Image.fromarray(RGBA8[..., :3])
KINDS = ["png", "jpeg", "webp", "tiff"]
WIDTH, HEIGHT = 0xA002, 0xA003


def camera_file():
    """A JPEG file of 23 x 17 pixels that tells its size in EXIF and XMP, with a thumbnail."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0100], exif[0x0101] = 23, 17
    exif.get_ifd(0x8769).update({WIDTH: 23, HEIGHT: 17, 0x9003: "2020:01:02 03:04:05"})
    exif.get_ifd(0x8825)[1] = "N"
    xmp = b'<a exif:PixelXDimension="23" exif:PixelYDimension="17"><tiff:ImageWidth>23</a>'
    file = io.BytesIO()
    COLOUR.save(file, "JPEG", exif=exif, xmp=xmp)
    return file.getvalue()


def copy_of(photograph, path, kind, times=3):
    """Write a picture of another size with the metadata of a photograph, and read it again."""
    whole = PictureStream.of(photograph)
    height, width = photograph.pixels.shape[:2]
    rows = (block.repeat(times, axis=0).repeat(times, axis=1) for block in whole.blocks)
    write_stream(path, PictureStream(photograph, times * height, times * width, rows), kind)
    return read_photograph(path)


@pytest.mark.parametrize("kind", KINDS)
def test_exif_and_xmp_tell_the_size_of_the_copy(tmp_path, kind):
    (tmp_path / "a.jpg").write_bytes(camera_file())
    copy = copy_of(read_photograph(tmp_path / "a.jpg"), tmp_path / "b", kind)
    main, exif, gps = exif_tags(copy.exif)
    assert (exif[WIDTH], exif[HEIGHT], exif[0x9003]) == (69, 51, "2020:01:02 03:04:05")
    assert main[0x010F] == "Maker" and gps[1] == "N"
    assert kind == "tiff" or not {0x0100, 0x0101} & main.keys()
    assert copy.xmp == (
        b'<a exif:PixelXDimension="69" exif:PixelYDimension="51"><tiff:ImageWidth>69</a>'
    )


def test_a_pil_image_tells_the_size_of_the_result():
    image = Image.open(io.BytesIO(camera_file()))
    large = to_input_type(image, photograph_of(image.resize((46, 34))))
    assert large.getexif().get_ifd(0x8769)[WIDTH] == 46


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_a_tiff_without_a_resolution_has_none_afterwards(tmp_path, kind):
    COLOUR.save(tmp_path / "a.tif")
    assert copy_of(read_photograph(tmp_path / "a.tif"), tmp_path / "b", kind).dpi is None


@pytest.mark.parametrize(("unit", "dpi"), [(2, 100), (3, 254)])
def test_the_unit_of_the_resolution_is_kept_true(tmp_path, unit, dpi):
    COLOUR.save(tmp_path / "a.tif", tiffinfo={282: 100.0, 283: 100.0, 296: unit})
    photograph = read_photograph(tmp_path / "a.tif")
    for kind in ("png", "jpeg", "tiff"):
        copy = copy_of(photograph, tmp_path / "b", kind)
        assert copy.dpi == pytest.approx((dpi, dpi), abs=1)


CHUNKS = (
    (b"cICP", bytes([12, 13, 0, 1])),
    (b"gAMA", (45455).to_bytes(4, "big")),
    (b"tEXt", b"Author\0M\xfcller"),
    (b"zTXt", b"prompt\0\0" + zlib.compress(b"a cat")),
    (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Größe".encode()),
)


@pytest.mark.parametrize("behind", [False, True])
def test_text_and_the_meaning_of_the_samples_stay_in_a_png(tmp_path, behind):
    made = b"".join(chunk(*each) for each in CHUNKS)
    data = png(RGBA8, 6, **{"behind" if behind else "before": made})
    (tmp_path / "a.png").write_bytes(data)
    copy = copy_of(read_photograph(tmp_path / "a.png"), tmp_path / "b.png", "png")
    assert copy.png == CHUNKS
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        assert image.text == {"Author": "Müller", "prompt": "a cat", "Title": "Größe"}
        assert image.info["gamma"] == 0.45455


def test_what_other_formats_cannot_hold_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6, before=b"".join(chunk(*c) for c in CHUNKS)))
    photograph = read_photograph(tmp_path / "a.png")
    told = "not kept: text (Author, prompt, Title) and cICP, gAMA, which only PNG holds: choose png"
    assert [not_kept(photograph, kind) for kind in KINDS] == [[], [told], [told], [told]]


def test_exif_and_xmp_are_not_copied_twice(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    COLOUR.save(tmp_path / "a.png", exif=exif)
    packet = b"XML:com.adobe.xmp\0\0\0\0\0<a/>"
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n4\n00")
    extra = chunk(b"iTXt", packet) + chunk(b"zTXt", text)
    (tmp_path / "b.png").write_bytes(png(RGBA8, 6, before=extra))
    assert read_photograph(tmp_path / "b.png").png == ()
    assert read_photograph(tmp_path / "b.png").xmp == b"<a/>"


def test_attributes_of_xmp_may_stand_in_single_quotes(tmp_path):
    xmp = b"<a tiff:Orientation='6' tiff:ImageWidth='23' tiff:ImageLength='17'/>"
    COLOUR.save(tmp_path / "a.jpg", xmp=xmp)
    copy = copy_of(read_photograph(tmp_path / "a.jpg"), tmp_path / "b.png", "png")
    height, width = copy.pixels.shape[:2]
    size = f"tiff:ImageWidth='{width}' tiff:ImageLength='{height}'"
    assert copy.xmp == f"<a {size}/>".encode()


@pytest.mark.parametrize(
    ("kind", "head"), [(b"iCCP", b"a\0\0"), (b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")]
)
def test_a_profile_or_a_text_of_more_than_a_mebibyte_does_no_harm(tmp_path, kind, head):
    """Pillow refuses such PNG files, which renderers and scanners make."""
    data = bytes(range(1, 251)) * 5000
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6, before=chunk(kind, head + zlib.compress(data))))
    photograph = read_photograph(tmp_path / "a.png")
    assert (photograph.pixels * 255).round().astype(int).tolist() == RGBA8[..., :3].tolist()
    again = copy_of(photograph, tmp_path / "b.png", "png")
    assert (again.icc == data) if kind == b"iCCP" else [name for name, _ in again.png] == [kind]
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20, "the limit is that of our own reading"
