import itertools
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from support.image_files import RGBA8, RGBA16, RNG, chunk, exif_block, png

from lsr.images import Photograph, find_images, probe, read_photograph, read_rgb8, write_png

COLOUR_TYPES = {
    "grey": (0, [0]),
    "grey_alpha": (4, [0, 3]),
    "rgb": (2, [0, 1, 2]),
    "rgba": (6, [0, 1, 2, 3]),
}
# What a viewer sees of an upright picture stored with each orientation, from the EXIF standard's own table of corners.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


def levels(photograph: Photograph) -> np.ndarray:
    """Return the (H, W, 4) integer samples of a photograph; opaque where it has no alpha."""
    alpha = (
        np.ones(photograph.pixels.shape[:2], np.float32)
        if photograph.alpha is None
        else photograph.alpha
    )
    scaled = np.dstack([photograph.pixels, alpha]).astype(np.float64) * (2**photograph.bits - 1)
    assert np.abs(scaled - scaled.round()).max() < 0.01
    return scaled.round().astype(int)


def expected(samples: np.ndarray, channels: list[int]) -> np.ndarray:
    colour = samples[..., [0, 0, 0]] if 1 not in channels else samples[..., :3]
    alpha = (
        samples[..., 3]
        if 3 in channels
        else np.full(samples.shape[:2], np.iinfo(samples.dtype).max)
    )
    return np.dstack([colour, alpha]).astype(int)


def exif_tags(block: bytes | None) -> tuple[dict, dict, dict]:
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    return (
        {k: v for k, v in exif.items() if k not in (0x8769, 0x8825)},
        exif.get_ifd(0x8769),
        exif.get_ifd(0x8825),
    )


@pytest.mark.parametrize("kind", COLOUR_TYPES)
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_samples_are_exact(
    tmp_path: Path, kind: str, samples: np.ndarray, interlaced: bool
) -> None:
    colour_type, channels = COLOUR_TYPES[kind]
    path = tmp_path / "a.png"
    path.write_bytes(png(samples[..., channels], colour_type, interlaced=interlaced))
    photograph = read_photograph(path)
    assert photograph.bits == samples.itemsize * 8
    assert photograph.grey == (1 not in channels)
    assert (photograph.alpha is None) == (3 not in channels)
    np.testing.assert_array_equal(levels(photograph), expected(samples, channels))
    in_eight_bits = np.round(
        expected(samples, channels)[..., :3] / (257 if samples.itemsize == 2 else 1)
    )
    np.testing.assert_array_equal(read_rgb8(path), in_eight_bits)
    assert read_rgb8(path).dtype == np.uint8 and read_rgb8(path).flags.writeable


@pytest.mark.parametrize("kind", COLOUR_TYPES)
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_written_png_is_exact_for_other_readers_too(
    tmp_path: Path, kind: str, samples: np.ndarray
) -> None:
    colour_type, channels = COLOUR_TYPES[kind]
    tall = np.concatenate([samples] * 40)
    (tmp_path / "in.png").write_bytes(png(tall[..., channels], colour_type))
    write_png(tmp_path / "out.png", read_photograph(tmp_path / "in.png"))
    data = (tmp_path / "out.png").read_bytes()
    assert (data[24], data[25]) == (samples.itemsize * 8, colour_type)
    np.testing.assert_array_equal(
        levels(read_photograph(tmp_path / "out.png")), expected(tall, channels)
    )
    other = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    other = np.atleast_3d(other)[..., [0] if other.ndim == 2 else [2, 1, 0, 3][: other.shape[2]]]
    wanted = expected(tall, channels)
    np.testing.assert_array_equal(
        other, wanted[..., [0, 1, 2, 3] if other.shape[2] == 4 else list(range(other.shape[2]))]
    )


@pytest.mark.parametrize("layout", ["grey", "rgb", "rgba"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_tiff_samples_are_exact(
    tmp_path: Path, layout: str, compression: str | None, byte_order: str, samples: np.ndarray
) -> None:
    channels = COLOUR_TYPES[layout][1]
    path = tmp_path / "a.tif"
    stored = samples[..., channels].squeeze()
    if compression == "lzw":
        order = [2, 1, 0, 3][: len(channels)] if len(channels) > 1 else [0]
        assert cv2.imwrite(
            str(path), np.atleast_3d(stored)[..., order], [cv2.IMWRITE_TIFF_COMPRESSION, 5]
        )
    else:
        extra = ["unassalpha"] if layout == "rgba" else None
        photometric = "minisblack" if layout == "grey" else "rgb"
        tifffile.imwrite(
            path,
            stored,
            photometric=photometric,
            compression=compression,
            byteorder=byte_order,
            extrasamples=extra,
        )
    photograph = read_photograph(path)
    assert photograph.bits == samples.itemsize * 8
    np.testing.assert_array_equal(levels(photograph), expected(samples, channels))


@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_tiff_with_inverted_grey(tmp_path: Path, samples: np.ndarray) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.iinfo(samples.dtype).max - samples[..., 0], photometric="miniswhite"
    )
    np.testing.assert_array_equal(
        levels(read_photograph(tmp_path / "a.tif")), expected(samples, [0])
    )


def test_tiff_with_multiplied_alpha(tmp_path: Path) -> None:
    alpha = RGBA16[..., 3:] // 2 + 32768
    multiplied = np.rint(RGBA16[..., :3] / 65535 * alpha).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.dstack([multiplied, alpha]),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    found = levels(read_photograph(tmp_path / "a.tif"))
    assert np.abs(found[..., :3] - RGBA16[..., :3].astype(int)).max() <= 1
    np.testing.assert_array_equal(found[..., 3:], alpha)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_tiff(tmp_path: Path, channels: int, dtype: type) -> None:
    values = RNG.random((17, 23, channels)).astype(dtype)
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(
        tmp_path / "a.tif",
        values.squeeze(),
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=extra,
    )
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.bits == 16 and photograph.grey == (channels == 1)
    np.testing.assert_array_equal(
        photograph.pixels, np.broadcast_to(values[..., :3].astype(np.float32), (17, 23, 3))
    )
    if channels == 4:
        np.testing.assert_array_equal(photograph.alpha, values[..., 3].astype(np.float32))
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.tif"), np.rint(photograph.pixels * 255))
    assert probe(tmp_path / "a.tif") == (23, 17)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    "kind",
    [
        "jpeg",
        "webp",
        "png8",
        "png16",
        "png_behind",
        "png_grey_alpha16",
        "tiff8",
        "tiff16",
        "tiff16_zlib",
    ],
)
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"a.{kind[:3]}"
    # Blocks of 8 let JPEG keep the colours apart, whichever way it is turned.
    upright = np.kron(RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    if "16" in kind:
        upright = upright.astype(np.uint16) * 256 + RNG.integers(
            0, 256, upright.shape, dtype=np.uint16
        )
    stored = np.ascontiguousarray(STORED[orientation](upright))
    exif = exif_block(orientation)
    if kind in ("jpeg", "webp"):
        options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True}
        Image.fromarray(stored[..., :3]).save(path, kind, exif=b"Exif\0\0" + exif, **options)
    elif kind.startswith("tiff"):
        compression = "zlib" if "zlib" in kind else None
        orient = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(
            path,
            stored,
            photometric="rgb",
            extrasamples=["unassalpha"],
            compression=compression,
            extratags=orient,
        )
    else:
        where = "behind" if kind == "png_behind" else "before"
        colour_type, channels = COLOUR_TYPES["grey_alpha" if "grey" in kind else "rgba"]
        path.write_bytes(png(stored[..., channels], colour_type, **{where: chunk(b"eXIf", exif)}))
    photograph = read_photograph(path)
    channels = [0, 3] if "grey" in kind else [0, 1, 2] if kind in ("jpeg", "webp") else [0, 1, 2, 3]
    assert np.abs(levels(photograph) - expected(upright, channels)).max() <= (
        4 if kind == "jpeg" else 0
    )
    assert read_rgb8(path).shape == (24, 32, 3)
    assert probe(path) == (32, 24)
    if not kind.startswith("tiff"):
        main, details, place = exif_tags(photograph.exif)
        assert main == {0x010F: "Maker"}
        assert (details, place) == exif_tags(exif)[1:]


@pytest.mark.parametrize("kind", ["8", "16", "float"])
@pytest.mark.parametrize("grey", [False, True])
def test_metadata_survives_writing(tmp_path: Path, kind: str, grey: bool) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    samples = {"8": RGBA8, "16": RGBA16, "float": RGBA16 / np.float32(65535)}[kind][
        ..., [0] if grey else [0, 1, 2]
    ]
    tags = [(34675, "B", len(icc), icc, True), (271, "s", 6, "Maker", True)]
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples.squeeze(),
        photometric="minisblack" if grey else "rgb",
        extratags=tags,
    )
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.icc == icc
    main = exif_tags(photograph.exif)[0]
    assert main[271] == "Maker" and not {256, 257, 258, 273, 279, 34675} & set(main)
    write_png(tmp_path / "b.png", photograph)
    again = read_photograph(tmp_path / "b.png")
    assert (again.icc, again.exif, again.bits, again.grey) == (
        icc,
        photograph.exif,
        8 if kind == "8" else 16,
        grey,
    )
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == icc and image.getexif()[271] == "Maker"


def test_photograph_of_bare_pixels_is_a_plain_png(tmp_path: Path) -> None:
    pixels = np.array([[[-0.5, 0.0, 0.5 / 255 - 1e-4], [0.5 / 255 + 1e-4, 1.0, 7.0]]], np.float32)
    write_png(tmp_path / "a.png", Photograph(pixels))
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), [[[0, 0, 0], [1, 255, 255]]])
        assert image.mode == "RGB" and not image.info


def test_other_kinds_of_colour(tmp_path: Path) -> None:
    colour = Image.fromarray(RGBA8[..., :3])
    palette = colour.quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_rgb8(tmp_path / "palette.png"), np.asarray(palette.convert("RGB"))
    )
    palette.save(tmp_path / "clear.png", transparency=3)
    np.testing.assert_array_equal(
        read_photograph(tmp_path / "clear.png").alpha == 0, np.asarray(palette) == 3
    )
    colour.save(tmp_path / "keyed.png", transparency=tuple(int(v) for v in RGBA8[2, 3, :3]))
    assert np.argwhere(read_photograph(tmp_path / "keyed.png").alpha == 0).tolist() == [[2, 3]]
    key = struct.pack(">HHH", *RGBA16[2, 3, :3])
    (tmp_path / "keyed16.png").write_bytes(png(RGBA16[..., :3], 2, before=chunk(b"tRNS", key)))
    assert np.argwhere(read_photograph(tmp_path / "keyed16.png").alpha == 0).tolist() == [[2, 3]]
    bilevel = Image.fromarray(RGBA8[..., 0] > 99)
    bilevel.save(tmp_path / "bilevel.png")
    assert read_photograph(tmp_path / "bilevel.png").grey
    np.testing.assert_array_equal(
        read_rgb8(tmp_path / "bilevel.png")[..., 1], np.where(RGBA8[..., 0] > 99, 255, 0)
    )
    colour.save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.bmp"), RGBA8[..., :3])
    colour.convert("L").save(tmp_path / "grey.jpg")
    assert read_photograph(tmp_path / "grey.jpg").grey
    for name, kind in (("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {})):
        colour.save(
            tmp_path / name, save_all=True, append_images=[Image.new("RGB", colour.size)], **kind
        )
        np.testing.assert_array_equal(read_rgb8(tmp_path / name), RGBA8[..., :3])


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize(
    "profile",
    [None, b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
)
def test_cmyk_becomes_rgb_even_with_an_unfit_profile(
    tmp_path: Path, suffix: str, profile: bytes | None
) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    image.save(path, icc_profile=profile)
    photograph = read_photograph(path)
    assert photograph.icc is None and not photograph.grey
    assert np.abs(photograph.pixels - [1, 0, 0]).max() < 0.02


def test_a_fit_cmyk_profile_decides_the_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(
        tmp_path / "a.tif", icc_profile=cmyk_profile(200)
    )
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(
        tmp_path / "b.tif", icc_profile=cmyk_profile(80)
    )
    light, dark = (read_photograph(tmp_path / name).pixels.mean() for name in ("a.tif", "b.tif"))
    assert light - dark > 0.3


def cmyk_profile(lightness: int) -> bytes:
    """Return a CMYK profile whose every ink mixture is neutral and of the given Lab lightness (0 to 255)."""
    curves = bytes(range(256))
    grid = bytes([lightness, 128, 128]) * 2**4
    matrix = struct.pack(">9i", *[65536 if i % 4 == 0 else 0 for i in range(9)])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + curves * 4 + grid + curves * 3
    text = b"text" + bytes(4) + b"-\0\0\0"
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"A2B0", table), (b"cprt", text), (b"wtpt", white)]
    offset, directory, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        directory += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + body


@pytest.mark.parametrize("existing", [False, True])
def test_failing_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    path = tmp_path / "a.png"
    if existing:
        path.write_bytes(b"the old one")
    pixels = np.zeros((600, 4, 3), np.float32)
    pixels[-1] = np.nan
    with pytest.raises(AssertionError):
        write_png(path, Photograph(pixels))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_png(path, Photograph(np.zeros((4, 4, 3), np.float32)))
    assert list(tmp_path.iterdir()) == ([path] if existing else [])
    assert not existing or path.read_bytes() == b"the old one"


def test_find_images(tmp_path: Path) -> None:
    wanted = ["b.JPG", "c.tiff", "sub/a.png", "sub/deep/d.WebP"]
    for name in [*wanted, "note.txt", ".hidden.png", ".git/e.png", "sub/._a.png", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == [tmp_path / name for name in wanted]
    assert find_images(tmp_path, recursive=False) == [tmp_path / name for name in wanted[:2]]
    with pytest.raises(ValueError, match="absent: no such folder"):
        find_images(tmp_path / "absent")


def test_written_file_is_alone_and_has_the_usual_permissions(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Photograph(np.zeros((4, 4, 3), np.float32)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "b.png").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b.png").stat().st_mode


def test_wide_range_of_sizes_round_trips(tmp_path: Path) -> None:
    for height, width in itertools.product((1, 2, 255, 256, 257, 513), (1, 3)):
        pixels = RNG.integers(0, 65536, (height, width, 3)).astype(np.float32) / np.float32(65535)
        write_png(tmp_path / "a.png", Photograph(pixels, bits=16))
        np.testing.assert_array_equal(read_photograph(tmp_path / "a.png").pixels, pixels)
