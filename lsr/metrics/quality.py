"""One adapter to pyiqa."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.metrics.cards import CARDS, WeightsFile
from lsr.metrics.weights import construction, provide


class Quality:
    """Computes several metrics per image.

    Weights are looked for here and now, so that a run that lacks some ends before it has begun. Those that are missing are
    downloaded, unless `HF_HUB_OFFLINE=1` or the network says no.

    Args:
        names: Keys of `lsr.metrics.cards.CARDS`, none of metrics of sets.
        niqe_parameters: NIQE's model of good photographs as written by `lsr.metrics.niqe_fit.fit_niqe`, in place of the
            published one. Values under different models cannot be compared.
        weights: Folder with weights that go before those of torch's cache.

    Raises:
        MissingWeights: If weights are missing.
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
        """The files of weights that each metric uses."""
        self._metrics = {name: create(name, files) for name in names}

    def __call__(
        self, sr: Tensor, hr: Tensor | None = None, names: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """Judge the images as files would be judged: clipped and rounded to 8 bits.

        A value is a function of its image (and HR image) alone: one image is looked at at a time, in float32 as pyiqa reads files
        itself, whatever arithmetic a training has chosen.

        Args:
            sr: (B, 3, H, W) in [-1, 1].
            hr: (B, 3, H, W) in [-1, 1], needed by full-reference metrics.
            names: Metrics to judge by; None takes all.

        Returns:
            For each metric its values (B,), float64.

        Raises:
            ValueError: If the images are too small for a metric, or it needs the HR images.
        """
        assert hr is None or hr.shape == sr.shape, (sr.shape, None if hr is None else hr.shape)
        names = self._metrics if names is None else names
        for name in names:
            if min(sr.shape[2:]) < CARDS[name].min_side:
                height, width = sr.shape[2:]
                raise ValueError(
                    f"metric {name} needs images of at least {CARDS[name].min_side} pixels a side, not {width} x {height}"
                )
            if hr is None and CARDS[name].full_reference:
                raise ValueError(f"metric {name} compares with the HR image, and there is none")
        with torch.no_grad(), torch.autocast(sr.device.type, enabled=False), _full_float32():
            pairs = [
                tuple(map(_round_to_8_bits, pair))
                for pair in zip(sr, sr if hr is None else hr, strict=True)
            ]
            return {
                name: torch.stack([self._value(name, *pair) for pair in pairs]) for name in names
            }

    def _value(self, name: str, sr: Tensor, hr: Tensor) -> Tensor:
        images = (sr, hr) if CARDS[name].full_reference else (sr,)
        try:
            return self._metrics[name].to(sr.device)(*images).reshape(()).double()
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # NIQE inverts a covariance, and an image without texture has none.
            return torch.full((), torch.nan, device=sr.device, dtype=torch.float64)


def create(name: str, files: Mapping[WeightsFile, Path]) -> Any:
    """Build a metric of pyiqa on the CPU.

    Args:
        name: Key of `CARDS`.
        files: Where its weights are, see `lsr.metrics.weights.provide`.

    Raises:
        ValueError: If it cannot use them.
    """
    card = CARDS[name]
    own = {weights: files[weights] for weights in card.weights}
    for path in own.values():
        if not path.is_file():  # pyiqa would go and look for it elsewhere
            raise ValueError(f"metric {name} cannot use {path}: no such file")
    with construction(own):
        import pyiqa  # seconds, and only validation needs it

        try:
            # pyiqa picks a GPU by itself; the images decide instead.
            metric = pyiqa.create_metric(
                card.pyiqa_name, device=torch.device("cpu"), **card.arguments
            )
            if name == "niqe" and (
                metric.net.mu_pris_param.shape,
                metric.net.cov_pris_param.shape,
            ) != ((36,), (36, 36)):
                raise ValueError("not a model of 36 features")
        except Exception as error:  # a damaged file can fail in any way
            if not own:
                raise
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ValueError(
                f"metric {name} cannot use {', '.join(map(str, own.values()))} ({reason}): is it whole, and the right file?"
            ) from error
    return metric


@contextmanager
def _full_float32() -> Iterator[None]:
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)


def _round_to_8_bits(image: Tensor) -> Tensor:
    levels = ((image[None].double().clamp(-1, 1) + 1) * 127.5).round()
    return levels.float() / 255
