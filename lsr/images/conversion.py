"""Conversion between photographs and the images of other libraries: PIL, numpy and PyTorch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lsr.images.metadata import exif_with_size
from lsr.images.photograph import Photograph


def photograph_of(image: Any) -> list[Photograph]:
    """Return the photographs of an image: one, or one for each image of a batch.

    Args:
        image: A `Photograph`, a PIL image, a numpy array (H, W) or (H, W, C), or a tensor (C, H, W)
            or (B, C, H, W). Samples are uint8, uint16 or floating-point numbers in [0, 1]; C is
            1 grey, 2 grey + alpha, 3 RGB or 4 RGB + alpha.

    Raises:
        ValueError: `image` is of another type, shape, type of samples or range.
    """
    if isinstance(image, Photograph):
        return [image]
    if isinstance(image, Image.Image):
        photograph = _from_samples(_pil_samples(image))
        return [replace(photograph, icc=image.info.get("icc_profile"))]
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ValueError(f"an array must be (H, W) or (H, W, C), not of shape {image.shape}")
        return [_from_samples(image if image.ndim == 3 else image[..., None])]
    if isinstance(image, Tensor):
        return _from_tensor(image)
    raise ValueError(
        f"an image must be a PIL image, a numpy array or a tensor, not {type(image).__name__}"
    )


def to_input_type(image: Any, photographs: Sequence[Photograph]) -> Any:
    """Return photographs as an image of the type of `image`.

    Args:
        image: The image that the caller passed in, see `photograph_of`.
        photographs: The results: one for each photograph in `image`.

    Returns:
        An image of the type, the type of samples, the number of dimensions and, for a tensor, the
        device of `image`.
    """
    if isinstance(image, Photograph):
        return photographs[0]
    if isinstance(image, Image.Image):
        return _to_pil(image, photographs[0])
    if isinstance(image, np.ndarray):
        if np.issubdtype(image.dtype, np.floating):
            samples = _values(photographs[0]).astype(image.dtype)
        else:
            samples = _levels(photographs[0])
        return samples if image.ndim == 3 else samples[..., 0]
    to_samples = _values if image.is_floating_point() else _levels
    arrays = [to_samples(photograph) for photograph in photographs]
    batch = torch.stack([torch.from_numpy(array).permute(2, 0, 1) for array in arrays])
    batch = batch.to(image.device, image.dtype)
    return batch if image.ndim == 4 else batch[0]


def _from_tensor(image: Tensor) -> list[Photograph]:
    if image.ndim not in (3, 4):
        raise ValueError(
            f"a tensor must be (C, H, W) or (B, C, H, W), not of shape {tuple(image.shape)}"
        )
    batch = image if image.ndim == 4 else image[None]
    if batch.is_floating_point():
        batch = batch.float()  # numpy has no bfloat16
    return [_from_samples(each.permute(1, 2, 0).detach().cpu().numpy()) for each in batch]


def _from_samples(samples: np.ndarray) -> Photograph:
    """Return the photograph of (H, W, C) samples; raise ValueError for an unfit shape or type."""
    channels = samples.shape[2]
    if channels not in (1, 2, 3, 4) or 0 in samples.shape:
        raise ValueError(
            "an image must have 1 to 4 channels and at least one pixel, not the shape (H, W, C) = "
            f"{samples.shape}"
        )
    if samples.dtype in (np.uint8, np.uint16):
        values = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    elif np.issubdtype(samples.dtype, np.floating):
        values = samples.astype(np.float32)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN as well
            raise ValueError(
                "floating-point samples must be from 0 to 1, not from "
                f"{values.min():g} to {values.max():g}"
            )
    else:
        raise ValueError(
            f"samples must be uint8, uint16 or floating-point numbers, not {samples.dtype}"
        )
    return Photograph.of_samples(values, bits=8 if samples.dtype == np.uint8 else 16)


def _values(photograph: Photograph) -> np.ndarray:
    """Return the samples of a photograph as (H, W, C) float32 in [0, 1]."""
    colour = photograph.pixels[..., :1] if photograph.grey else photograph.pixels
    if photograph.alpha is None:
        return colour
    return np.concatenate([colour, photograph.alpha[..., None]], axis=2)


def _levels(photograph: Photograph) -> np.ndarray:
    """Return the samples of a photograph as (H, W, C) uint8 or uint16 over their full range."""
    levels = np.rint(_values(photograph) * np.float32(2**photograph.bits - 1))
    return levels.astype(np.uint8 if photograph.bits == 8 else np.uint16)


def _to_pil(image: Image.Image, photograph: Photograph) -> Image.Image:
    """Return a photograph as a PIL image with the metadata of `image`."""
    samples = _levels(photograph)
    found = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    # "transparency" names a palette index or a colour of the old pixels; here it is alpha.
    found.info = {name: value for name, value in image.info.items() if name != "transparency"}
    if isinstance(exif := image.info.get("exif"), bytes):
        block = exif_with_size(exif.removeprefix(b"Exif\0\0"), *found.size)
        found.info["exif"] = b"Exif\0\0" + (block or b"")
    return found


def _pil_samples(image: Image.Image) -> np.ndarray:
    """Return the samples of a PIL image as (H, W, C) uint8 or uint16."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
    else:
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        samples = np.asarray(image.convert(f"{mode}A" if image.has_transparency_data else mode))
    return samples if samples.ndim == 3 else samples[..., None]
