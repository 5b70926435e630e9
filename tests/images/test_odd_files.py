"""`lsr upscale` on a folder of odd files: good ones are done, bad ones named, memory is bounded."""

import io
import resource
import struct
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from support.image_files import RGBA8, RGBA16, RNG, chunk, exif_block, png

from lsr.cli import main
from lsr.images import UnreadableImage, probe, read_photograph
from lsr.models.checkpoint import save_denoiser

RGB8, RGB16 = RGBA8[..., :3], RGBA16[..., :3]
COLOUR = Image.fromarray(RGB8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **({"photometric": "rgb"} | options))
    return buffer.getvalue()


def wide_gamut():
    """An ICC profile that is not sRGB: Lab."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def bomb(side=60_000):
    """A PNG of 10 kB that claims 3.6 Gpx."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**7)))
        + chunk(b"IEND", b"")
    )


GREY_ALPHA = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
TURNING = {"save_all": True, "append_images": [COLOUR.rotate(90), COLOUR.rotate(180)]}
GIF = encoded(COLOUR, "GIF", duration=100, **TURNING)

GOOD = {
    "1x1.png": encoded(COLOUR.crop((0, 0, 1, 1)), "PNG"),
    "1x5000.png": encoded(
        Image.fromarray(RNG.integers(0, 256, (5000, 1, 3), dtype=np.uint8)), "PNG"
    ),
    "5000x1.png": encoded(
        Image.fromarray(RNG.integers(0, 256, (1, 5000, 3), dtype=np.uint8)), "PNG"
    ),
    "3x2.bmp": encoded(COLOUR.crop((0, 0, 3, 2)), "BMP"),
    "cmyk.jpg": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "cmyk.tif": encoded(COLOUR.convert("CMYK"), "TIFF"),
    "palette.png": encoded(COLOUR.quantize(16), "PNG"),
    "palette_clear.png": encoded(COLOUR.quantize(16), "PNG", transparency=3),
    "palette.tif": encoded(COLOUR.quantize(16), "TIFF"),
    "few_colours.bmp": encoded(COLOUR.quantize(16), "BMP"),
    "bilevel.png": encoded(Image.fromarray(RGB8[..., 0] > 99), "PNG"),
    "bilevel_g4.tif": encoded(Image.fromarray(RGB8[..., 0] > 99), "TIFF", compression="group4"),
    "grey.jpg": encoded(COLOUR.convert("L"), "JPEG"),
    "grey_alpha.png": png(RGBA8[..., [0, 3]], 4),
    "grey16.png": png(RGBA16[..., :1], 0),
    "rgb16.png": png(RGB16, 2),
    "rgba16.png": png(RGBA16, 6),
    "rgba16_interlaced.png": png(RGBA16, 6, interlaced=True),
    "rgb16.tif": tiff(RGB16),
    "rgb16_big_endian.tif": tiff(RGB16, byteorder=">"),
    "grey_alpha16.tif": tiff(RGB16[..., :2], **GREY_ALPHA),
    "grey_alpha16_big_endian.tif": tiff(RGB16[..., :2], byteorder=">", **GREY_ALPHA),
    "grey_alpha16_deflated.tif": tiff(RGB16[..., :2], compression="zlib", **GREY_ALPHA),
    "big.tif": tiff(RGB8, bigtiff=True),
    "pages.tif": encoded(COLOUR, "TIFF", save_all=True, append_images=[COLOUR]),
    "float.tif": tiff(RGB16 / np.float32(65535)),
    "rotated.jpg": encoded(COLOUR, "JPEG", exif=b"Exif\0\0" + exif_block(6)),
    "mirrored.png": png(RGB8, 2, before=chunk(b"eXIf", exif_block(5))),
    "wide_gamut.png": encoded(COLOUR, "PNG", icc_profile=wide_gamut()),
    "broken_profile.png": encoded(COLOUR, "PNG", icc_profile=b"no profile"),
    "progressive.jpg": encoded(COLOUR, "JPEG", progressive=True),
    "still.gif": encoded(COLOUR, "GIF"),
    "clear.gif": encoded(COLOUR.quantize(16), "GIF", transparency=3),
    "a.avif": encoded(COLOUR, "AVIF"),
    "alpha.webp": encoded(Image.fromarray(RGBA8), "WEBP"),
    "jpeg named.png": encoded(COLOUR, "JPEG"),
    "Größe 100 % [a] {b}.JPEG": encoded(COLOUR, "JPEG"),
}
BAD = {
    "empty.png": b"",
    "empty.jpg": b"",
    "text.jpg": b"<html>404</html>",
    "zeros.webp": bytes(1000),
    "cut.jpg": encoded(COLOUR, "JPEG")[:-200],
    "cut.png": encoded(COLOUR, "PNG")[:-300],
    "cut16.png": png(RGBA16, 6)[:-500],
    "cut.webp": encoded(COLOUR, "WEBP", lossless=True)[:-300],
    "cut.tif": tiff(RGB16)[:-300],
    "flipped_bits.png": (lambda data: data[:400] + bytes(50) + data[450:])(encoded(COLOUR, "PNG")),
    "moving.gif": GIF,
    "moving.webp": encoded(COLOUR, "WEBP", **TURNING),
    "moving.png": encoded(COLOUR, "PNG", **TURNING),
    "moving.avif": encoded(COLOUR, "AVIF", **TURNING),
    "gif named.png": GIF,
    "nan.tif": tiff(np.full((8, 8, 3), np.nan, np.float32)),
    "hdr.tif": tiff(np.full((8, 8, 3), 7, np.float32)),
    "signed.tif": tiff(RGB16[..., 0].astype(np.int16), photometric="minisblack"),
    "bomb.png": bomb(),
    "phone.heic": b"\0\0\0\x18ftypheic" + bytes(100),
    "raw.nef": b"MM\0*" + bytes(100),
}


def opaque(photograph):
    return photograph.alpha is None or bool((photograph.alpha == 1).all())


def test_fifty_odd_files(tmp_path, denoiser, capfd):
    assert len(GOOD) + len(BAD) >= 50
    for name, data in (GOOD | BAD).items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "notes.txt").write_text("no picture, and nobody expects one")
    (tmp_path / "in" / "Thumbs.db").write_bytes(b"-")
    save_denoiser(
        tmp_path / "model.safetensors",
        denoiser.state_dict(),
        asdict(denoiser.config) | {"shift": 3.0},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    command = [
        "upscale",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(tmp_path),
        "--format",
        "same",
    ]
    assert main(command) == 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 500, "MiB"
    out = capfd.readouterr()
    failures = [line for line in out.err.splitlines() if line.startswith("failed: ")]
    assert sorted(line.split(f"{tmp_path}/in/")[1].split(":")[0] for line in failures) == sorted(
        BAD
    )
    assert all(len(line) > len(f"failed: {tmp_path}/in/") + 20 for line in failures)
    assert f"{len(GOOD)} of {len(GOOD) + len(BAD)} images" in out.out and "Traceback" not in out.err
    for name in GOOD:
        source = tmp_path / "in" / name
        target = tmp_path / "out" / name
        target = target if target.exists() else target.with_suffix(".png")
        width, height = probe(source)
        assert probe(target) == (4 * width, 4 * height), name
        old, new = read_photograph(source), read_photograph(target)
        assert (new.bits, new.grey, opaque(new)) == (old.bits, old.grey, opaque(old)), name
        assert new.icc == old.icc, name


def test_of_several_pages_the_first_is_taken_and_the_others_are_told(tmp_path):
    (tmp_path / "pages.tif").write_bytes(GOOD["pages.tif"])
    photograph = read_photograph(tmp_path / "pages.tif")
    np.testing.assert_array_equal(np.rint(photograph.pixels * 255), RGB8)
    assert photograph.left_out == ("1 of 2 pages: the first one is used",)


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith("moving")])
def test_animations_are_refused_alike(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name])
    for read in (probe, read_photograph):
        with pytest.raises(UnreadableImage, match="an animation, which is not supported: save its"):
            read(tmp_path / name)
