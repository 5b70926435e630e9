"""Before and after: the bicubically upsampled input beside the result, as a picture and as a page with a slider."""

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


def kept_pixels(picture: PictureStream) -> tuple[PictureStream, np.ndarray]:
    """Return the picture, and an array (H, W, 3) uint8 that fills while it is read; transparency becomes white.

    Raises:
        UnfitFormat: It is too large for the page.
    """
    check_fits(replace(picture.like, alpha=None), picture.height, picture.width, "jpeg")
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)

    def filling() -> Iterator[np.ndarray]:
        top = 0
        for block in picture.blocks:
            pixels[top : top + len(block)] = _on_white(block)
            top += len(block)
            yield block

    return replace(picture, blocks=filling()), pixels


def write_comparison(target: Path, name: str, photograph: Photograph, pixels: np.ndarray) -> None:
    """Write `a.png.compare.png`, input | result, and `a.png.compare.html` beside the result `a.png`.

    Args:
        target: The result's file.
        name: What to call the photograph on the page.
        photograph: The input.
        pixels: The result, from `kept_pixels`.
    """
    height, width = pixels.shape[:2]
    samples = (
        photograph.pixels
        if photograph.alpha is None
        else np.dstack([photograph.pixels, photograph.alpha])
    )
    lr = (
        torch.from_numpy(block).permute(2, 0, 1)
        for block in np.split(samples, range(ROWS_PER_BLOCK, len(samples), ROWS_PER_BLOCK))
    )
    before = np.empty_like(pixels)
    top = 0
    for block in resize_rows(lr, photograph.pixels.shape[:2], (height, width)):
        before[top : top + block.shape[1]] = _on_white(block.permute(1, 2, 0).numpy())
        top += block.shape[1]
    both = (
        np.concatenate(
            [before[top : top + ROWS_PER_BLOCK], pixels[top : top + ROWS_PER_BLOCK]], axis=1
        ).astype(np.float32)
        / 255
        for top in range(0, height, ROWS_PER_BLOCK)
    )
    # The pictures have three channels, for which a profile of grey is none.
    like = Photograph(photograph.pixels, icc=None if photograph.grey else photograph.icc)
    write_stream(
        target.with_name(f"{target.name}.compare.png"),
        PictureStream(like, height, 2 * width, both),
        "png",
    )
    page = _PAGE.format(
        name=html.escape(name),
        width=width,
        height=height,
        before=_uri(before, like),
        after=_uri(pixels, like),
    )
    with atomic_path(target.with_name(f"{target.name}.compare.html")) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _on_white(block: np.ndarray) -> np.ndarray:
    colour, alpha = block[..., :3], block[..., 3:]
    shown = colour * alpha + 1 - alpha if alpha.shape[2] else colour
    return np.rint(shown.clip(0, 1) * 255).astype(np.uint8)


def _uri(pixels: np.ndarray, like: Photograph) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=like.icc
    )
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: before and after</title>
<style>
  body {{ margin: 0; background: #1b1b1b; color: #ddd; font: 15px/1.4 system-ui, "DejaVu Sans", sans-serif; }}
  header {{ display: flex; gap: 1.5em; align-items: center; padding: .6em 1em; flex-wrap: wrap; }}
  header b {{ overflow-wrap: anywhere; }}
  main {{ position: relative; margin: auto; --cut: 50%; width: min(100%, calc((100vh - 4em) * {width} / {height})); }}
  main.actual {{ width: {width}px; }}
  img {{ display: block; width: 100%; aspect-ratio: {width} / {height}; }}
  #after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)); }}
  main::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin-left: -1px; background: #fff;
    box-shadow: 0 0 4px #000; pointer-events: none; }}
  main span {{ position: absolute; bottom: .7em; padding: .1em .6em; border-radius: .3em; background: #000a; pointer-events: none; }}
  #slider {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; z-index: 1; }}
</style>
<header><b>{name}</b><span>{width} x {height} pixels; drag, or use the arrow keys</span>
<label><input type="checkbox" id="actual"> actual pixels</label></header>
<main>
  <img id="before" src="{before}" alt="the input, upsampled bicubically">
  <img id="after" src="{after}" alt="the result">
  <span style="left: .7em">bicubic</span><span style="right: .7em">result</span>
  <input id="slider" type="range" min="0" max="100" step="0.1" value="50" aria-label="share of the input">
</main>
<script>
  const main = document.querySelector("main"), slider = document.getElementById("slider");
  slider.oninput = () => main.style.setProperty("--cut", slider.value + "%");
  document.getElementById("actual").onchange = event => main.classList.toggle("actual", event.target.checked);
</script>
</html>
"""
