"""Compare the upsampled input with the result: an image of both, and a page with a slider."""

import base64
import html
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lsr.files import atomic_path
from lsr.images.encoding import check_fits, write_stream
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.rows import ROWS_PER_BLOCK, resize_rows

_JPEG_QUALITY = 92
"""Quality of the JPEG images in the page."""


def kept_pixels(picture: PictureStream, factor: int = 1) -> tuple[PictureStream, np.ndarray]:
    """Return the stream, and an array of its pixels that is filled while the stream is read.

    Args:
        picture: The picture.
        factor: Number by which height and width are divided. A pixel of the array is the mean of
            `factor` x `factor` pixels, or of all rows or columns if there are fewer.

    Returns:
        A stream of the same picture, and the array (H // factor, W // factor, 3) uint8, on a white
        background.

    Raises:
        UnfitFormat: If the array is too large for the page.
    """
    rows = min(factor, picture.height)
    columns = min(factor, picture.width)
    height = picture.height // rows
    width = picture.width // columns
    check_fits(replace(picture.like, alpha=None), height, width, "jpeg")
    pixels = np.empty((height, width, 3), np.uint8)

    def filling() -> Iterator[np.ndarray]:
        top = 0
        rest = np.empty((0, width * columns, 3), np.uint8)
        for block in picture.blocks:
            shown = np.concatenate([rest, _on_white(block)[:, : width * columns]])
            count = len(shown) // rows
            pixels[top : top + count] = _means(shown[: count * rows], rows, columns)
            top += count
            rest = shown[count * rows :]
            yield block

    return replace(picture, blocks=filling()), pixels


def _means(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the means, whole numbers, of parts of `rows` x `columns` pixels."""
    if rows == columns == 1:
        return pixels
    shape = (len(pixels) // rows, rows, pixels.shape[1] // columns, columns, 3)
    return pixels.reshape(shape).mean((1, 3)).round()


def write_comparison(target: Path, name: str, photograph: Photograph, pixels: np.ndarray) -> None:
    """Write the comparison of a result `a.png` next to it.

    `a.png.compare.png` shows input and result side by side, `a.png.compare.html` has a slider
    between them.

    Args:
        target: File of the result.
        name: Name of the photograph on the page.
        photograph: The input.
        pixels: Pixels of the result, from `kept_pixels`.
    """
    height, width = pixels.shape[:2]
    before = upsampled(photograph, height, width)
    icc = rgb_profile(photograph)
    like = Photograph(photograph.pixels, icc=icc)
    both = PictureStream(like, height, 2 * width, _side_by_side(before, pixels))
    write_stream(target.with_name(f"{target.name}.compare.png"), both, "png")
    page = _PAGE.format(
        name=html.escape(name),
        width=width,
        height=height,
        before=_data_uri(jpeg_of(before, icc)),
        after=_data_uri(jpeg_of(pixels, icc)),
    )
    with atomic_path(target.with_name(f"{target.name}.compare.html")) as temporary:
        temporary.write_text(page, encoding="utf-8")


def upsampled(photograph: Photograph, height: int, width: int) -> np.ndarray:
    """Return a photograph at another size, (height, width, 3) uint8, on a white background."""
    samples = photograph.pixels
    if photograph.alpha is not None:
        samples = np.dstack([photograph.pixels, photograph.alpha])
    cuts = range(ROWS_PER_BLOCK, len(samples), ROWS_PER_BLOCK)
    lr = (torch.from_numpy(block).permute(2, 0, 1) for block in np.split(samples, cuts))
    result = np.empty((height, width, 3), np.uint8)
    top = 0
    for block in resize_rows(lr, photograph.pixels.shape[:2], (height, width)):
        bottom = top + block.shape[1]
        result[top:bottom] = _on_white(block.permute(1, 2, 0).numpy())
        top = bottom
    return result


def _side_by_side(left: np.ndarray, right: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks of rows (r, 2 W, 3) float32 in [0, 1] of two images (H, W, 3) uint8."""
    for top in range(0, len(left), ROWS_PER_BLOCK):
        rows = slice(top, top + ROWS_PER_BLOCK)
        yield np.concatenate([left[rows], right[rows]], axis=1).astype(np.float32) / 255


def _on_white(block: np.ndarray) -> np.ndarray:
    """Return (r, W, 3) uint8 of a block (r, W, 3), or (r, W, 4) with alpha, in [0, 1]."""
    colour = block[..., :3]
    alpha = block[..., 3:]
    shown = colour * alpha + 1 - alpha if alpha.shape[2] else colour
    return np.rint(shown.clip(0, 1) * 255).astype(np.uint8)


def rgb_profile(photograph: Photograph) -> bytes | None:
    """Return the ICC profile of a photograph for an image of three channels.

    It is None if the photograph is grey: its profile does not apply then.
    """
    return None if photograph.grey else photograph.icc


def jpeg_of(pixels: np.ndarray, icc: bytes | None) -> bytes:
    """Return an image (H, W, 3) uint8 as a JPEG file with an ICC profile."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=icc
    )
    return buffer.getvalue()


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: before and after</title>
<style>
  body {{ margin: 0; background: #1b1b1b; color: #ddd;
    font: 15px/1.4 system-ui, "DejaVu Sans", sans-serif; }}
  header {{ display: flex; gap: 1.5em; align-items: center; padding: .6em 1em; flex-wrap: wrap; }}
  header b {{ overflow-wrap: anywhere; }}
  main {{ position: relative; margin: auto; --cut: 50%;
    width: min(100%, calc((100vh - 4em) * {width} / {height})); }}
  main.actual {{ width: {width}px; }}
  img {{ display: block; width: 100%; aspect-ratio: {width} / {height}; }}
  #after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)); }}
  main::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px;
    margin-left: -1px; background: #fff; box-shadow: 0 0 4px #000; pointer-events: none; }}
  main span {{ position: absolute; bottom: .7em; padding: .1em .6em; border-radius: .3em;
    background: #000a; pointer-events: none; }}
  #slider {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
    cursor: ew-resize; z-index: 1; }}
</style>
<header><b>{name}</b><span>{width} x {height} pixels; drag, or use the arrow keys</span>
<label><input type="checkbox" id="actual"> actual pixels</label></header>
<main>
  <img id="before" src="{before}" alt="the input, upsampled bicubically">
  <img id="after" src="{after}" alt="the result">
  <span style="left: .7em">bicubic</span><span style="right: .7em">result</span>
  <input id="slider" type="range" min="0" max="100" step="0.1" value="50"
    aria-label="share of the input">
</main>
<script>
  const main = document.querySelector("main"), slider = document.getElementById("slider");
  slider.oninput = () => main.style.setProperty("--cut", slider.value + "%");
  document.getElementById("actual").onchange =
    event => main.classList.toggle("actual", event.target.checked);
</script>
</html>
"""
