"""Upscaler: a trained model applied to photographs of any size."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from lsr.guidance.context import Context, context_encoder, encode
from lsr.images.conversion import photograph_of, to_input_type
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.rows import Rows, RowWindow, resize_rows, upsample_rows
from lsr.inference.color_fix import COLOR_FIXES, fix_rows
from lsr.inference.cuda_graph import replay_transformers
from lsr.inference.memory import free_bytes, is_out_of_memory
from lsr.inference.tiling import TiledSampler
from lsr.models.checkpoint import load_denoiser
from lsr.models.mixture import Model
from lsr.models.pretrained import EMBEDDED, find_model

T = TypeVar("T")

_TILES = (256, 128, 64, 32)
"""Sides that are tried, in LR pixels. Larger ones brought nothing (README)."""

_LIVE_TENSORS = 3
"""Feed-forward activations, or maps of the LR stem, that are alive at once in the widest place of the network, as measured."""

_LIVE_BANDS = 6
"""Copies of a row of tiles that a sampling step holds."""

_BANDS_BUDGET = 3 * 2**29
"""Bytes that "auto" spends at most on rows of tiles in host memory: wider pictures get smaller tiles, not more memory."""

_DECODER_FLOATS = 512
"""Numbers per output pixel that an autoencoder's decoder holds: four maps of DC-AE's 128 channels at full resolution."""

_LUMA = torch.tensor([0.299, 0.587, 0.114])


class Upscaler:
    """Upscales photographs of any size in bounded memory.

    Args:
        denoiser: A trained denoiser, or a mixture of them, in evaluation mode.
        shift: Shift of its flow times.
        num_inference_steps: Sampling steps. One is the most faithful; more add texture.
        seed: Seed of the sampler's noise, in [0, 2^31).
        device: Where to compute; by default a GPU if there is one.
        tile: Side of the tiles in LR pixels; 0 takes every picture as a whole, "auto" as much of it as memory allows, up to
            256 pixels.
        color_fix: How colours are brought back to those of the input: "none", "adain" or "wavelet" (`lsr.inference.color_fix`).
        guidance_scale: Of classifier-free guidance, see `lsr.flow.classifier_free`.
        cuda_graph: On a GPU replay the network as a CUDA graph from the second evaluation of a size on (`lsr.inference.cuda_graph`): for many
            photographs or tiles of one size, or many steps.
    """

    def __init__(
        self,
        denoiser: Model,
        shift: float,
        num_inference_steps: int = 1,
        seed: int = 0,
        device: torch.device | None = None,
        tile: int | Literal["auto"] = "auto",
        color_fix: str = "adain",
        cuda_graph: bool = False,
        guidance_scale: float = 1.0,
    ) -> None:
        check_options(num_inference_steps, seed, tile, color_fix)
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.denoiser = denoiser.to(self.device)
        if cuda_graph:
            replay_transformers(self.denoiser)
        self.shift, self.num_inference_steps, self.seed = shift, num_inference_steps, seed
        self.tile: int | Literal["auto"] = tile
        self.color_fix, self.guidance_scale = color_fix, guidance_scale
        self.context_encoder = context_encoder(denoiser.config)
        if self.context_encoder is not None:
            self.context_encoder.prepare()
        self._expected: set[str] = set()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path = EMBEDDED,
        num_inference_steps: int = 1,
        seed: int = 0,
        device: torch.device | None = None,
        tile: int | Literal["auto"] = "auto",
        color_fix: str = "adain",
        cuda_graph: bool = False,
        guidance_scale: float = 1.0,
    ) -> "Upscaler":
        """Load a model.

        Args:
            path: A `.safetensors` file, a Lightning checkpoint (its averaged weights), a folder with one of them, or a name on
                the hub, see `lsr.models.pretrained.find_model`; by default the model that comes with this package.
            num_inference_steps: See `Upscaler`, like the others.
            seed: See `Upscaler`.
            device: See `Upscaler`.
            tile: See `Upscaler`.
            color_fix: See `Upscaler`.
            cuda_graph: See `Upscaler`.
            guidance_scale: See `Upscaler`.

        Raises:
            ValueError: If there is no such model or it is none of LinearSR.
        """
        denoiser, shift = load_denoiser(find_model(path))
        return cls(
            denoiser,
            shift,
            num_inference_steps,
            seed,
            device,
            tile,
            color_fix,
            cuda_graph,
            guidance_scale,
        )

    @property
    def scale(self) -> int:
        """The model's own upscaling factor."""
        return self.denoiser.config.scale

    def upscale(self, image: Any, scale: float | None = None, tags: str = "") -> Any:
        """Return a picture at `scale` times its size.

        Args:
            image: A `Photograph`; a PIL image; a numpy array (H, W) or (H, W, C), uint8, uint16 or floating point in [0, 1]; or a
                tensor (C, H, W) or (B, C, H, W), uint8 or floating point in [0, 1]. C is 1 grey, 3 RGB or 4 RGB and alpha.
            scale: Any number above 0; by default the model's own.
            tags: What is in the picture, separated by commas, for a model that tags guide; others do not look at them.

        Returns:
            The picture in the same kind, `round(scale * side)` pixels, at least one, along each side.

        Raises:
            ValueError: If the image is none of these, or the scale is not above 0.
            MemoryError: If there is too little memory even for the smallest tiles.
        """
        return to_input_type(
            image,
            [
                self.process(photograph, scale, _collect, tags=tags)
                for photograph in photograph_of(image)
            ],
        )

    def process(
        self,
        photograph: Photograph,
        scale: float | None,
        consume: Callable[[PictureStream], T],
        watch: Callable[[float], None] = lambda share: None,
        tags: str = "",
    ) -> T:
        """Upscale a photograph row by row; when memory runs out and tiles are "auto", once more from the beginning with smaller ones.

        Colour goes through the model, alpha is upsampled bicubically by itself. Bit depth, metadata and greyness are kept: a grey
        photograph comes back grey.

        Args:
            photograph: The input.
            scale: As in `upscale`.
            consume: Reads the result and returns something; is called again after it ran out of memory.
            watch: Is told which share of the picture has come out of the model, now and then.
            tags: As in `upscale`.

        Raises:
            ValueError: If the scale is not above 0.
            MemoryError: If there is too little memory.
        """
        height, width = photograph.pixels.shape[:2]
        tile = self._tile_for(height, width)
        context = self._context(photograph.pixels, tags)
        while True:
            try:
                return consume(
                    self._stream(
                        photograph, self.scale if scale is None else scale, tile, watch, context
                    )
                )
            except Exception as error:
                if not is_out_of_memory(error) or self.tile != "auto" or tile <= _TILES[-1]:
                    raise
            tile = max(_TILES[-1], min(tile, max(height, width)) // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _stream(
        self,
        photograph: Photograph,
        scale: float,
        tile: int,
        watch: Callable[[float], None],
        context: Context | None,
    ) -> PictureStream:
        height, width = photograph.pixels.shape[:2]
        size, target = (height * self.scale, width * self.scale), target_size(height, width, scale)
        sampler = TiledSampler(
            self.denoiser,
            photograph.pixels,
            tile,
            self.num_inference_steps,
            self.shift,
            self.seed,
            self.device,
            context,
            self.guidance_scale,
        )
        sr = _watched(sampler.rows(), size[0], watch)
        rows = fix_rows(self.color_fix, sr, upsample_rows(photograph.pixels, self.scale), size[0])
        if photograph.grey:
            rows = (
                (_LUMA @ block.flatten(1)).view(1, *block.shape[1:]).expand(3, -1, -1)
                for block in rows
            )
        if photograph.alpha is not None:
            rows = _with_alpha(rows, upsample_rows(photograph.alpha[..., None], self.scale))
        blocks = (block.permute(1, 2, 0).numpy() for block in resize_rows(rows, size, target))
        return PictureStream(photograph, *target, blocks)

    def expect(self, texts: Iterable[str]) -> None:
        """Learn which tags pictures will come with: what is slow about them is done for all at once."""
        new = dict.fromkeys(text for text in texts if text not in self._expected)
        if new and self.context_encoder is not None:
            self.context_encoder.remember(new)
        self._expected |= new.keys()

    def _context(self, pixels: np.ndarray, text: str) -> Context | None:
        """Return the guidance of a picture; None where there is nothing to look at."""
        if self.context_encoder is None:
            return None
        self.expect([text])
        lr = (
            torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].to(self.device)
            * 2
            - 1
        )
        context = encode(self.context_encoder, [text], lr)
        return context if context.mask.any() else None

    def _tile_for(self, height: int, width: int) -> int:
        """Return the side of the tiles to begin with; see that there is memory for it."""
        have = free_bytes(self.device)

        def fits(side: int) -> bool:
            return (
                self._need(height, width, side) <= have / 2
                and self._bands(height, width, side) <= _BANDS_BUDGET
            )

        if self.tile != "auto":
            tile = self.tile or max(height, width)
        else:
            tile = next(filter(fits, _TILES), _TILES[-1])
        need = self._need(height, width, tile)
        if need > have:
            raise MemoryError(
                f"{width}x{height} pixels need about {need / 2**30:.1f} GiB of memory, {have / 2**30:.1f} GiB are free"
            )
        return tile

    def _need(self, height: int, width: int, tile: int) -> int:
        """Return roughly how many bytes of the device it takes beside the photograph itself."""
        config, space, reduction = (
            self.denoiser.config,
            self.denoiser.space,
            self.denoiser.lr_multiple,
        )
        tokens = (
            -(-min(height, tile) // reduction)
            * -(-min(width, tile) // reduction)
            * (1 if self.guidance_scale == 1 else 2)
        )
        stem = _LIVE_TENSORS * config.stem_width * reduction**2
        decoder = _DECODER_FLOATS * space.factor**2 if config.autoencoder else 0
        network = (
            4
            * tokens
            * (
                decoder
                + _LIVE_TENSORS * 2 * int(config.width * config.mlp_ratio)
                + 4 * space.channels
                + stem
            )
        )
        return network + (self._bands(height, width, tile) if self.device.type == "cpu" else 0)

    def _bands(self, height: int, width: int, tile: int) -> int:
        """Return roughly how many bytes of host memory rows of tiles take: one for every step, and that of the decoded image."""
        space, reduction = self.denoiser.space, self.denoiser.lr_multiple
        tokens = -(-min(height, tile) // reduction) * -(-width // reduction)
        return (
            4
            * _LIVE_BANDS
            * tokens
            * (self.num_inference_steps * space.channels + 3 * space.factor**2)
        )


def check_options(
    num_inference_steps: int, seed: int, tile: int | Literal["auto"], color_fix: str
) -> None:
    """Raise ValueError if no `Upscaler` can be made with these."""
    if num_inference_steps < 1:
        raise ValueError(
            f"the number of sampling steps must be at least 1, not {num_inference_steps}"
        )
    if not 0 <= seed < 2**31:
        raise ValueError(f"the seed must be in [0, 2^31), not {seed}")
    if color_fix not in COLOR_FIXES:
        raise ValueError(
            f"the colour fix must be one of {', '.join(COLOR_FIXES)}, not {color_fix!r}"
        )
    if tile != "auto" and (tile < 0 or 0 < tile < _TILES[-1]):
        raise ValueError(
            f"a tile must have at least {_TILES[-1]} pixels, or be 0 or auto, not {tile}"
        )


def target_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the size of a picture `scale` times as large, at least one pixel along each side.

    Raises:
        ValueError: If the scale is not a number above 0.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"the scale must be a number above 0, not {scale}")
    return max(1, round(height * scale)), max(1, round(width * scale))


def _watched(rows: Rows, height: int, watch: Callable[[float], None]) -> Rows:
    done = 0
    for block in rows:
        if block.isnan().any():
            raise ValueError(
                "the model gives pixels that are not numbers"
            )  # a colour fix in integers would make black of them
        done += block.shape[1]
        watch(done / height)
        yield block


def _with_alpha(rows: Rows, alpha: Rows) -> Rows:
    window, top = RowWindow(alpha), 0
    for block in rows:
        yield torch.cat([block, window.take(top, top + block.shape[1])])
        top += block.shape[1]


def _collect(picture: PictureStream) -> Photograph:
    like = picture.like
    pixels = np.empty((picture.height, picture.width, 3), np.float32)
    alpha = None if like.alpha is None else np.empty(pixels.shape[:2], np.float32)
    top = 0
    for block in picture.blocks:
        block = block.clip(0, 1)
        pixels[top : top + len(block)] = block[..., :3]
        if alpha is not None:
            alpha[top : top + len(block)] = block[..., 3]
        top += len(block)
    return Photograph(pixels, alpha, like.bits, like.grey, like.icc, like.exif, like.xmp, like.dpi)
