"""Pictures as other programs have them: PIL images, numpy arrays and tensors, to photographs and back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lsr.images.photograph import Photograph


def photograph_of(image: Any) -> list[Photograph]:
    """Return the photographs that an image holds: one, or one for each image of a batch.

    Args:
        image: See `lsr.inference.upscaler.Upscaler.upscale`.

    Raises:
        ValueError: It is no image.
    """
    if isinstance(image, Photograph):
        return [image]
    if isinstance(image, Image.Image):
        return [replace(_from_samples(_pil_samples(image)), icc=image.info.get("icc_profile"))]
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ValueError(f"an array must be (H, W) or (H, W, C), not of shape {image.shape}")
        return [_from_samples(image if image.ndim == 3 else image[..., None])]
    if isinstance(image, Tensor):
        if image.ndim not in (3, 4):
            raise ValueError(
                f"a tensor must be (C, H, W) or (B, C, H, W), not of shape {tuple(image.shape)}"
            )
        batch = image if image.ndim == 4 else image[None]
        # numpy has no bfloat16.
        batch = batch.float() if batch.is_floating_point() else batch
        return [_from_samples(each.permute(1, 2, 0).detach().cpu().numpy()) for each in batch]
    raise ValueError(
        f"an image must be a PIL image, a numpy array or a tensor, not {type(image).__name__}"
    )


def to_input_type(image: Any, photographs: Sequence[Photograph]) -> Any:
    """Return photographs in the kind, the type of samples and the channels of `image`."""
    if isinstance(image, Photograph):
        return photographs[0]
    if isinstance(image, Image.Image):
        samples = _samples(photographs[0])
        found = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        found.info = {name: value for name, value in image.info.items() if name != "transparency"}
        return found
    if isinstance(image, np.ndarray):
        floating = np.issubdtype(image.dtype, np.floating)
        samples = (
            _values(photographs[0]).astype(image.dtype) if floating else _samples(photographs[0])
        )
        return samples if image.ndim == 3 else samples[..., 0]
    arrays = [
        _values(each) if image.is_floating_point() else _samples(each) for each in photographs
    ]
    batch = torch.stack([torch.from_numpy(array).permute(2, 0, 1) for array in arrays]).to(
        image.device, image.dtype
    )
    return batch if image.ndim == 4 else batch[0]


def _from_samples(samples: np.ndarray) -> Photograph:
    channels = samples.shape[2]
    if channels not in (1, 2, 3, 4) or 0 in samples.shape:
        raise ValueError(
            f"an image has 1 to 4 channels and at least one pixel, not the shape {samples.shape}"
        )
    if samples.dtype in (np.uint8, np.uint16):
        values = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    elif np.issubdtype(samples.dtype, np.floating):
        values = samples.astype(np.float32)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN as well
            raise ValueError("floating-point samples must be in [0, 1]")
    else:
        raise ValueError(
            f"samples must be uint8, uint16 or floating-point numbers, not {samples.dtype}"
        )
    colour = (
        np.repeat(values[..., :1], 3, axis=2)
        if channels <= 2
        else np.ascontiguousarray(values[..., :3])
    )
    alpha = np.ascontiguousarray(values[..., -1]) if channels in (2, 4) else None
    return Photograph(colour, alpha, 8 if samples.dtype == np.uint8 else 16, channels <= 2)


def _values(photograph: Photograph) -> np.ndarray:
    """Return (H, W, C) float32 in [0, 1]."""
    colour = photograph.pixels[..., :1] if photograph.grey else photograph.pixels
    return (
        colour
        if photograph.alpha is None
        else np.concatenate([colour, photograph.alpha[..., None]], axis=2)
    )


def _samples(photograph: Photograph) -> np.ndarray:
    """Return (H, W, C) uint8 or uint16."""
    levels = np.rint(_values(photograph) * np.float32(2**photograph.bits - 1))
    return levels.astype(np.uint8 if photograph.bits == 8 else np.uint16)


def _pil_samples(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
    else:
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        samples = np.asarray(image.convert(f"{mode}A" if image.has_transparency_data else mode))
    return samples if samples.ndim == 3 else samples[..., None]
