"""Recognise the kind of a texture from its spectrum, by a judge that no network is trained with.

The features of a picture are the logarithms of its power in bands of spatial frequency, and its
skewness. A picture belongs to the kind whose mean features, over crops of the training textures,
are nearest, each feature divided by its spread within the kinds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

BANDS = 8
"""Number of bands between frequency 0 and half a cycle per pixel."""


def features(grey: np.ndarray) -> np.ndarray:
    """Return the features (BANDS + 1,) of a square picture (H, H), of any unit and offset."""
    detail = grey - grey.mean()
    power = np.abs(np.fft.fft2(detail)) ** 2
    frequency = np.fft.fftfreq(len(grey))
    radius = np.hypot(frequency[:, None], frequency[None])
    edges = np.linspace(0, 0.5, BANDS + 1)[1:-1]
    band = np.digitize(radius, edges)
    in_bands = [power[band == i].mean() for i in range(BANDS)]
    skewness = (detail**3).mean() / (detail**2).mean() ** 1.5
    return np.array([*np.log(np.array(in_bands) + 1e-6), skewness])


class Recogniser:
    """Nearest mean of features.

    Args:
        examples: Square pictures (H, H) of each kind.
    """

    def __init__(self, examples: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.kinds = list(examples)
        of_kinds = [np.stack([features(one) for one in each]) for each in examples.values()]
        self._means = np.stack([each.mean(0) for each in of_kinds])
        within = np.concatenate([each - each.mean(0) for each in of_kinds])
        self._spread = within.std(0) + 1e-6

    def __call__(self, grey: np.ndarray) -> str:
        """Return the kind of a picture."""
        distances = (((features(grey) - self._means) / self._spread) ** 2).sum(1)
        return self.kinds[int(distances.argmin())]


def kind_of(name: str) -> str:
    """Return the kind in the name of a crop, such as `brick` in `07-brick.png`."""
    return Path(name).stem.partition("-")[2]


def grey(pictures: Tensor) -> list[np.ndarray]:
    """Return the mean over the channels of pictures (N, 3, H, W)."""
    return list(pictures.mean(1).double().numpy())


def recogniser(pictures: Tensor, kinds: Sequence[str]) -> Recogniser:
    """Return a judge that is taught by pictures (N, 3, H, W) of N known kinds."""
    examples: dict[str, list[np.ndarray]] = defaultdict(list)
    for kind, picture in zip(kinds, grey(pictures), strict=True):
        examples[kind].append(picture)
    return Recogniser(examples)
