"""Files that cannot be read, and files that can be read although they are unusual."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile
from support.image_files import RGBA8, RNG, chunk, exif_block, png

from lsr.images import UnreadableImage, check_pixels, probe, read_photograph, read_rgb8
from lsr.images.opening import open_image_file


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **({"photometric": "rgb"} | options))
    return buffer.getvalue()


NOISE16 = RNG.integers(0, 65536, (64, 64, 3), dtype=np.uint16)
BROKEN = {
    "text.png": b"this is no picture\n",
    "text.jpg": b"<html>404</html>",
    "empty.webp": b"",
    "one_byte.png": b"\x89",
    "cut.jpg": encoded("JPEG")[:2000],
    "cut_progressive.jpg": encoded("JPEG", progressive=True)[:-500],
    "cut.webp": encoded("WEBP", lossless=True)[:-500],
    "cut.bmp": encoded("BMP")[:-500],
    "cut.png": encoded("PNG")[:-500],
    "cut16.png": png(NOISE16, 2)[:-500],
    "header_only.png": png(NOISE16, 2)[:33],
    "corrupt.png": (lambda data: data[:500] + bytes(50) + data[550:])(encoded("PNG")),
    "cut_raw.tif": tiff(NOISE16)[:-500],
    "cut_zlib.tif": tiff(NOISE16, compression="zlib", rowsperstrip=8)[:-500],
    "cut_header.tif": tiff(NOISE16)[:100],
    "planar16.tif": tiff(np.moveaxis(NOISE16, 2, 0).copy(), planarconfig="separate"),
    "signed.tif": tiff(NOISE16[..., 0].astype(np.int16), photometric="minisblack"),
    "int32.tif": tiff(NOISE16[..., 0].astype(np.int32), photometric="minisblack"),
    "lab.tif": tiff(NOISE16.astype(np.uint8), photometric="cielab"),
    "nan.tif": tiff(np.full((8, 8, 3), np.nan, np.float32)),
    "nan_grey.tif": tiff(np.full((8, 8), np.nan, np.float32), photometric="minisblack"),
    "infinite.tif": tiff(np.full((8, 8, 3), np.inf, np.float32)),
    "out_of_range.tif": tiff(np.full((8, 8, 3), 255, np.float32)),
    "cut_float.tif": tiff(NOISE16 / np.float32(65535))[:-500],
    "planar_float.tif": tiff(np.full((3, 8, 8), 0.5, np.float32), planarconfig="separate"),
    "rotated_float.tif": tiff(
        np.full((8, 8, 3), 0.5, np.float32), extratags=[(274, "H", 1, 6, True)]
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_file_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture, recwarn, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    for read in (read_photograph, read_rgb8):
        with pytest.raises(UnreadableImage) as caught:
            read(path)
        message = str(caught.value)
        assert (
            message.startswith(f"{path}: ")
            and len(message) > len(f"{path}: ") + 5
            and "\n" not in message
        )
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize("read", [read_photograph, read_rgb8, probe])
def test_paths_that_are_no_readable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read
) -> None:
    with pytest.raises(UnreadableImage, match="absent.png: No such file"):
        read(tmp_path / "absent.png")
    with pytest.raises(UnreadableImage, match=": Is a directory"):
        read(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableImage, match="empty.png: the file is empty$"):
        read(tmp_path / "empty.png")
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6))

    def denied(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        "builtins.open", denied
    )  # root may read everything, so no file's mode would do
    with pytest.raises(UnreadableImage, match="a.png: Permission denied$"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("factor", [2.5, 5])
@pytest.mark.parametrize("read", [read_photograph, read_rgb8, probe])
def test_too_many_pixels_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn, factor: float, read
) -> None:
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(17 * 23 / factor))
    with pytest.raises(
        UnreadableImage,
        match="a.png: more than [0-9]+ pixels, the limit: raise it by --max-pixels or, where",
    ):
        read(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((17, 23, 3), np.float32), photometric="rgb")
    if read is not probe:
        with pytest.raises(
            UnreadableImage,
            match="a.tif: more than [0-9]+ pixels, the limit: raise it by --max-pixels or, where",
        ):
            read(tmp_path / "a.tif")
    assert not recwarn.list


@pytest.mark.parametrize("read", [read_photograph, read_rgb8, check_pixels])
def test_pixels_within_a_raised_limit_must_fit_into_the_free_memory(tmp_path, monkeypatch, read):
    monkeypatch.setenv("LSR_MAX_PIXELS", str(10**13))
    header = struct.pack(">IIBBBBB", 10**6, 10**6, 1, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(9))
    )
    need = (
        r"a\.png: 1000000 x 1000000 pixels need about 18626\.5 GiB of memory, [\d.]+ GiB are free"
    )
    with pytest.raises(UnreadableImage, match=need):
        read(tmp_path / "a.png")


def test_running_out_of_memory_is_not_called_damage(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6))
    with (
        pytest.raises(UnreadableImage, match="a.png: too large for the free memory$"),
        open_image_file(tmp_path / "a.png"),
    ):
        np.empty(2**62, np.uint8)


@pytest.mark.parametrize("read", [read_photograph, read_rgb8, probe])
def test_as_many_pixels_as_large_cameras_have_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn, read
) -> None:
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(17 * 23 / 1.5))
    read(tmp_path / "a.png")
    assert not recwarn.list


def test_truncation_is_an_error_whatever_other_libraries_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (tmp_path / "a.jpg").write_bytes(BROKEN["cut.jpg"])
    with pytest.raises(UnreadableImage):
        read_rgb8(tmp_path / "a.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_damaged_exif_costs_neither_the_picture_nor_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture, recwarn
) -> None:
    block = exif_block(6)
    for seed in range(200):
        damaged = np.frombuffer(block, np.uint8).copy()
        generator = np.random.default_rng(seed)
        damaged[generator.integers(0, len(block), 8)] = generator.integers(0, 256, 8)
        (tmp_path / "a.png").write_bytes(png(RGBA8, 6, before=chunk(b"eXIf", damaged.tobytes())))
        photograph = read_photograph(tmp_path / "a.png")
        assert photograph.pixels.shape in ((17, 23, 3), (23, 17, 3))
        assert probe(tmp_path / "a.png") == photograph.pixels.shape[1::-1]
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_probe_does_not_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    for name in ("cut.jpg", "cut.png", "cut16.png", "cut_zlib.tif", "nan.tif"):
        (tmp_path / name).write_bytes(BROKEN[name])
        assert probe(tmp_path / name) == ((8, 8) if name == "nan.tif" else (64, 64))
    for name in ("text.png", "empty.webp", "cut_header.tif"):
        (tmp_path / name).write_bytes(BROKEN[name])
        with pytest.raises(UnreadableImage, match=name):
            probe(tmp_path / name)
    assert not decoded
