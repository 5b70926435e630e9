"""Compute image quality metrics of single images through pyiqa."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.errors import first_clause
from lsr.metrics.cards import CARDS, WeightsFile
from lsr.metrics.weights import construction, provide


class Quality:
    """Computes several metrics of each image.

    The constructor finds all weights and downloads missing ones, so that a run without them fails
    before it starts. `HF_HUB_OFFLINE=1` forbids the download.

    Args:
        names: Keys of `lsr.metrics.cards.CARDS`, except metrics of sets such as FID.
        niqe_parameters: File written by `lsr.metrics.niqe_fit.fit_niqe`, which replaces NIQE's
            published parameters. NIQE values under different parameters cannot be compared.
        weights: Folder with files of weights, searched before torch's cache.

    Raises:
        MissingWeights: If weights are not on this machine and cannot be downloaded.
        ValueError: If a name is unknown, or weights are damaged.
    """

    def __init__(
        self, names: Sequence[str], niqe_parameters: Path | None = None, weights: Path | None = None
    ) -> None:
        known = [name for name, card in CARDS.items() if not card.of_sets]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; known are {', '.join(known)}")
        own = {} if niqe_parameters is None else {CARDS["niqe"].weights[0]: niqe_parameters}
        files = provide([name for name in names if name != "niqe" or not own], weights) | own
        self.files: dict[str, list[Path]] = {
            name: [files[file] for file in CARDS[name].weights] for name in names
        }
        """Files of weights that each metric uses, by name of the metric."""
        self._metrics = {name: create(name, files) for name in names}

    def __call__(
        self,
        sr: Tensor,
        hr: Tensor | None = None,
        names: Collection[str] | None = None,
        lr: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the values of metrics for each image of a batch.

        Images are clipped and rounded to 8 bits first, so that a value equals the value of the
        image's PNG file. Metrics process one image at a time, in float32 as pyiqa does for files:
        a value depends neither on the rest of the batch nor on the precision of a training.

        Args:
            sr: SR images (B, 3, H, W) in [-1, 1].
            hr: HR images (B, 3, H, W) in [-1, 1], required by metrics that compare with them.
            names: Metrics to compute; None computes all.
            lr: LR images (B, 3, h, w) in [-1, 1], required by metrics that compare with them.

        Returns:
            Values (B,) of each metric, by name, NaN for an SR image that has NaN: float64, but
            float32 on Apple's GPUs (MPS), which have no float64. Their images are judged on the
            CPU.

        Raises:
            ValueError: If the images are too small for a metric, or it has nothing to compare with.
        """
        assert hr is None or hr.shape == sr.shape, (sr.shape, None if hr is None else hr.shape)
        if sr.device.type == "mps":
            hr, lr = (None if images is None else images.cpu() for images in (hr, lr))
            found = self(sr.cpu(), hr, names, lr)
            return {name: values.float().to(sr.device) for name, values in found.items()}
        names = self._metrics if names is None else names
        for name in names:
            _check_inputs(name, sr, hr, lr)
        with torch.no_grad(), torch.autocast(sr.device.type, enabled=False), _full_float32():
            rounded = [
                (_round_to_8_bits(sr[i]), _rounded_one(hr, i), _rounded_one(lr, i))
                for i in range(len(sr))
            ]
            return {
                name: torch.stack([self._value(name, *images) for images in rounded])
                for name in names
            }

    def _value(self, name: str, sr: Tensor, hr: Tensor | None, lr: Tensor | None) -> Tensor:
        """Return the value () float64 of a metric for images (1, 3, H, W) in [0, 1]."""
        has_nan = sr.isnan().any()
        sr = sr.nan_to_num()  # of NaN pyiqa raises AssertionError
        images = [sr]
        if CARDS[name].of_lr:
            assert lr is not None
            reduced = F.interpolate(sr, lr.shape[2:], mode="bicubic", antialias=True)
            images = [_round_to_8_bits(2 * reduced[0] - 1), lr]
        elif CARDS[name].full_reference:
            assert hr is not None
            images = [sr, hr]
        try:
            value = self._metrics[name].to(sr.device)(*images).reshape(()).double()
            return value.masked_fill(has_nan, torch.nan)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # NIQE inverts the covariance of an image's features. It is singular if the image has no
            # texture.
            return torch.full((), torch.nan, device=sr.device, dtype=torch.float64)


def _check_inputs(name: str, sr: Tensor, hr: Tensor | None, lr: Tensor | None) -> None:
    """Raise ValueError if a metric cannot be computed for these images."""
    height, width = sr.shape[2:]
    if min(height, width) < CARDS[name].min_side:
        raise ValueError(
            f"metric {name} needs images of at least {CARDS[name].min_side} pixels a side, "
            f"not {width} x {height}"
        )
    if hr is None and CARDS[name].of_hr:
        raise ValueError(
            f"metric {name} compares with the HR image, and there is none: choose a metric without "
            "reference, such as niqe"
        )
    if lr is None and CARDS[name].of_lr:
        raise ValueError(f"metric {name} compares with the LR image, and there is none")


def create(name: str, files: Mapping[WeightsFile, Path], as_loss: bool = False) -> Any:
    """Return a metric of pyiqa on the CPU.

    Args:
        name: Key of `CARDS`.
        files: Path of each file of weights, from `lsr.metrics.weights.provide`.
        as_loss: Whether gradients flow through the metric, whose value is then the mean over the
            images.

    Raises:
        ValueError: If pyiqa cannot use these files.
    """
    card = CARDS[name]
    own = {weights: files[weights] for weights in card.weights}
    for path in own.values():
        if not path.is_file():  # pyiqa would search for it elsewhere
            raise ValueError(f"metric {name} cannot use {path}: no such file; name one that exists")
    with construction(own):
        import pyiqa  # takes seconds, and only validation needs it

        try:
            # By default pyiqa chooses a GPU; here `Quality` moves the metric to the images' device.
            metric = pyiqa.create_metric(
                card.pyiqa_name,
                as_loss=as_loss,
                device=torch.device("cpu"),
                **card.arguments,
            )
            if name == "niqe":
                _check_niqe(metric.net)
        except Exception as error:  # a damaged file can raise anything
            if not own:
                raise
            reason = f"{type(error).__name__}: {first_clause(error)}"
            raise ValueError(
                f"metric {name} cannot use {', '.join(map(str, own.values()))} ({reason}): "
                "check that the file is complete and the right one"
            ) from error
    return metric


def _check_niqe(net: Any) -> None:
    """Raise ValueError if NIQE's parameters do not describe a Gaussian of 36 features."""
    shapes = net.mu_pris_param.shape, net.cov_pris_param.shape
    if shapes != ((36,), (36, 36)):
        raise ValueError("the parameters are not of 36 features")


@contextmanager
def _full_float32() -> Iterator[None]:
    """Multiply matrices in full float32 inside the block, without TF32 or bfloat16."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)


def _rounded_one(images: Tensor | None, i: int) -> Tensor | None:
    return None if images is None else _round_to_8_bits(images[i])


def _round_to_8_bits(image: Tensor) -> Tensor:
    """Turn (3, H, W) in [-1, 1] into (1, 3, H, W) in [0, 1], multiples of 1/255."""
    levels = ((image[None].double().clamp(-1, 1) + 1) * 127.5).round()
    return levels.float() / 255
