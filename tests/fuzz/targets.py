"""What is fuzzed: files of every kind that is read, and the functions that read and copy them."""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from support.image_files import RGBA8, RGBA16, chunk, exif_block, png
from support.shard_files import encoded, tar
from support.tiny import TINY
from torch.utils.tensorboard import SummaryWriter

import callbacks
import datamodules
import lsr.training.cli
from lsr.cli import main
from lsr.datasets.shards.index import ShardIndex
from lsr.datasets.tags import FolderTags
from lsr.images import PictureStream, check_pixels, probe, read_photograph, read_rgb8
from lsr.images.encoding import UnfitFormat, write_stream
from lsr.models.checkpoint import read_model, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.runs.history import RunLog

IMPORTED = (callbacks, datamodules, lsr.training.cli)
"""What a mutated YAML file needs: imported before the first process is forked, to save its time."""

Reader = Callable[[Path, Path], None]
"""Function that reads a file, and writes below a folder if it writes. It may raise ValueError."""


@dataclass(frozen=True)
class Target:
    """Files of one kind, and the function that reads them.

    Attributes:
        seeds: Whole files by name; the name of a mutated file has the same suffix.
        read: The function.
        share: How often files of this kind are chosen, relative to the others.
    """

    seeds: dict[str, bytes]
    read: Reader
    share: float


def targets(folder: Path) -> dict[str, Target]:
    """Return everything that is fuzzed.

    Args:
        folder: Empty folder in which the seeds are made.
    """
    return {
        "image": Target(_images(), _copy_image, 12),
        "shard": Target(_shards(folder / "shards"), _read_shard, 2),
        "index": Target(_indices(folder / "indices"), _read_index, 1),
        "csv": Target({"metrics.csv": _csv()}, _read_log, 1.5),
        "events": Target({"events.out.tfevents.1": _events(folder / "run")}, _read_log, 1.5),
        "tags": Target(_tags(), _read_tags, 1),
        "model": Target({"model.safetensors": _model(folder / "model")}, _read_model, 1.5),
        "yaml": Target({"stage1.yaml": _yaml()}, _read_yaml, 0.1),
    }


def _images() -> dict[str, bytes]:
    """Return images of all kinds that are read, a few kB each."""
    colour = Image.fromarray(RGBA8[..., :3])
    palette = colour.quantize(16)
    exif = b"Exif\0\0" + exif_block(6)
    extra = chunk(b"gAMA", bytes(4)) + chunk(b"tEXt", b"a\0b") + chunk(b"eXIf", exif_block(5))

    def pillow(image: Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def tiff(samples: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, samples, **({"photometric": "rgb"} | options))
        return file.getvalue()

    return {
        "rgba.png": png(RGBA8, 6, before=extra),
        "rgba16.png": png(RGBA16, 6, interlaced=True),
        "grey16.png": png(RGBA16[..., :1], 0, behind=extra),
        "palette.png": pillow(palette, "PNG", transparency=3),
        "bilevel.png": pillow(Image.fromarray(RGBA8[..., 0] > 99), "PNG"),
        "colour.jpg": pillow(colour, "JPEG", exif=exif, xmp=b"<a/>", icc_profile=b"profile"),
        "progressive.jpg": pillow(colour, "JPEG", progressive=True),
        "cmyk.jpg": pillow(colour.convert("CMYK"), "JPEG"),
        "lossy.webp": pillow(Image.fromarray(RGBA8), "WEBP", exif=exif),
        "lossless.webp": pillow(colour, "WEBP", lossless=True),
        "moving.webp": pillow(colour, "WEBP", save_all=True, append_images=[colour.rotate(9)]),
        "raw16.tif": tiff(RGBA16[..., :3]),
        "deflated.tif": tiff(RGBA8[..., :3], compression="zlib", rowsperstrip=4),
        "big.tif": tiff(RGBA8[..., :3], bigtiff=True),
        "planes.tif": tiff(np.moveaxis(RGBA8[..., :3], 2, 0).copy(), planarconfig="separate"),
        "grey_alpha16.tif": tiff(
            RGBA16[..., 2:], photometric="minisblack", extrasamples=["unassalpha"]
        ),
        "float.tif": tiff(RGBA16[..., :3] / np.float32(65535)),
        "fax.tif": pillow(Image.fromarray(RGBA8[..., 0] > 99), "TIFF", compression="group4"),
        "pages.tif": pillow(colour, "TIFF", save_all=True, append_images=[colour], exif=exif),
        "colour.bmp": pillow(colour, "BMP"),
        "palette.bmp": pillow(palette, "BMP"),
        "clear.gif": pillow(palette, "GIF", transparency=3),
        "colour.avif": pillow(colour, "AVIF", exif=exif),
    }


def _copy_image(path: Path, out: Path) -> None:
    """Read an image in all ways; if it can be read, write its metadata in every format."""
    size = probe(path)
    check_pixels(path)
    read_rgb8(path)
    photograph = read_photograph(path)
    assert photograph.pixels.shape[:2] == size[::-1], (photograph.pixels.shape, size)
    for kind in ("png", "tiff", "jpeg", "webp"):
        copy = out / f"copy.{kind}"
        try:
            write_stream(copy, PictureStream.of(photograph), kind)
        except UnfitFormat:
            continue
        assert probe(copy) == size
        again = read_photograph(copy)
        if kind in ("png", "tiff"):
            assert (again.grey, again.bits) == (photograph.grey, photograph.bits)


def _shards(folder: Path) -> dict[str, bytes]:
    photographs = [encoded("PNG", 8, 12), encoded("JPEG", 8, 12)]
    members = [("a.png", photographs[0]), ("a.json", b'{"tags": ["sea"]}')]
    members += [("b.jpg", photographs[1]), ("b.txt", b"a pier, fog")]
    return {
        "ustar.tar": tar(folder / "a.tar", members).read_bytes(),
        "long.tar": tar(folder / "b.tar", [("x" * 150 + ".png", photographs[0])]).read_bytes(),
    }


def _read_shard(path: Path, out: Path) -> None:
    _read_all(ShardIndex.open(path))


def _read_all(index: ShardIndex) -> None:
    for i in range(min(len(index), 100)):
        index.tags(i)
        index.read(i)


def _indices(folder: Path) -> dict[str, bytes]:
    """Return the index of a folder of shards; the shards go where `_read_index` puts them."""
    photographs = folder / "photographs"
    photographs.mkdir(parents=True)
    (photographs / "a.png").write_bytes(encoded("PNG", 8, 12))
    assert main(["shard", str(photographs), "--out", str(folder / "out")]) == 0
    return {"index.npz": (folder / "out" / "index.npz").read_bytes()}


def _read_index(path: Path, out: Path) -> None:
    tar(path.parent / "shard-000000.tar", [("a.png", encoded("PNG", 8, 12))])
    _read_all(ShardIndex.open(path.parent))


def _csv() -> bytes:
    rows = [f"{step},{step / 7},{30 - 90 / (step + 9)}," for step in range(0, 900, 50)]
    return "\n".join(["step,train/loss,val/psnr_y,val/niqe", *rows, ""]).encode()


def _events(folder: Path) -> bytes:
    with SummaryWriter(str(folder)) as writer:
        for step in range(0, 900, 50):
            writer.add_scalar("val/psnr_y", 30 - 90 / (step + 9), step)
    [path] = folder.iterdir()
    return path.read_bytes()


def _read_log(path: Path, out: Path) -> None:
    RunLog.read(path)


def _tags() -> dict[str, bytes]:
    lines = b'{"file": "sea/a.png", "tags": ["sea", "pier"]}\n{"file": "b.png", "tags": "fog"}\n'
    return {"tags.jsonl": lines, "a.txt": "sea, pier, Größe".encode()}


def _read_tags(path: Path, out: Path) -> None:
    FolderTags(path.parent)(path.parent / "a.png")


def _model(folder: Path) -> bytes:
    model = Denoiser(TINY)
    path = folder / "model.safetensors"
    save_denoiser(path, model.state_dict(), asdict(TINY) | {"shift": 3.0})
    return path.read_bytes()


def _read_model(path: Path, out: Path) -> None:
    read_model(path)


def _yaml() -> bytes:
    return b"""seed_everything: 0
model:
  denoiser: {scale: 4, patch_size: 8, width: 64, depth: 2, head_dim: 32}
  optimizer: {lr: 3.0e-3, betas: [0.9, 0.99]}
  val_metrics: [psnr_y, ssim_y]
data:
  class_path: datamodules.RealESRGANDataModule
  init_args:
    train: ["bundled:train"]
trainer:
  default_root_dir: runs/none
  callbacks:
    - class_path: callbacks.EMA
      init_args: {decay: 0.9}
"""


def _read_yaml(path: Path, out: Path) -> None:
    try:
        code = main(["fit", "--config", str(path), "--print_config"])
    except SystemExit as end:
        code = end.code or 0
    assert code in (0, 2), code
