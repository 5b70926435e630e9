"""Estimate the knee of the validations so far with a small network, in numpy.

The network was trained on simulated runs (`experiments/knee/train.py`), so that its outputs are
posterior probabilities under the simulator as a prior: "amortised inference" (Cranmer, Brehmer and
Louppe 2020, PNAS 117). Its inputs are those of `lsr.knee.features`. An ensemble of several networks
is averaged.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from lsr.knee.signal import Array

WEIGHTS = Path(__file__).with_name("network.npz")
"""Weights of the trained networks, as whole numbers of 8 bits with one scale for each output."""

EDGES = np.concatenate([np.geomspace(1 / 32, 1, 41), [1.25, 1.6, 2.2, 3.2, 5.0, 8.0]])
"""Edges of the bins of time, in elapsed times. The last bin, beyond 8, includes "there is none"."""
BINS = len(EDGES) + 1
EVENTS = 3
"""Estimated times: the first step that passes as the knee, the knee, the last that passes."""
QUANTILES = (0.1, 0.5, 0.9)
"""Estimated quantiles of the gain that is still to come."""
FUTURE = (1.5, 2.0)
"""Elapsed times by which that gain is made."""
FUTURE_SCALE = 10.0
"""The network predicts `arcsinh(10 gain)`: linear in small gains, logarithmic in large ones."""
INPUT_LIMIT = 5.0
"""Standardised inputs are clipped to this; the network has not learnt larger ones."""

_LOG_EDGES = np.concatenate([[np.log(EDGES[0]) - 2], np.log(EDGES)])


@dataclasses.dataclass(frozen=True)
class KneeEstimate:
    """Posterior of the knee after one validation. Times are fractions of the elapsed time.

    Attributes:
        cumulative: `(3, BINS)` probability that the first passing step, the knee and the last
            passing step lie before the lower edge of each bin.
        remaining: `(2, 3)` quantiles of the gain still to come by `FUTURE`, in gains so far.
    """

    cumulative: Array
    remaining: Array

    def passes(self, times: Array) -> Array:
        """Return the probability that each time passes as the knee.

        The three cumulative distributions are estimated independently of each other, so their
        difference is kept from falling below 0.
        """
        return np.maximum(self.before(0, times) - self.before(2, times), 0.0)

    def before(self, event: int, times: Array | float) -> Array:
        """Return the probability that an event (0, 1 or 2) is earlier than each time."""
        return np.interp(np.log(np.maximum(times, 1e-6)), _LOG_EDGES, self.cumulative[event])

    def knee_quantile(self, level: float) -> float | None:
        """Return the time before which the knee lies with this probability; None if beyond 8."""
        cumulative = self.cumulative[1]
        if level > cumulative[-1]:
            return None
        # `interp` needs strictly increasing positions to be unambiguous on flat stretches.
        steps = np.maximum.accumulate(cumulative + 1e-12 * np.arange(BINS))
        return float(np.exp(np.interp(level, steps, _LOG_EDGES)))


Layers = list[tuple[Array, Array]]
"""Weights and biases of one network."""


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Several networks whose probabilities are averaged.

    Attributes:
        mean: Mean of the inputs in the training set.
        scale: Their standard deviation.
        networks: The layers of each network.
    """

    mean: Array
    scale: Array
    networks: list[Layers]

    @classmethod
    def read(cls, path: Path) -> Ensemble:
        """Read the weights of a file that `experiments/knee/train.py` has written."""
        with np.load(path) as stored:
            arrays = {name: stored[name].astype(np.float64) for name in stored.files}
        networks = []
        for number in range(int(arrays["networks"])):
            layers: Layers = []
            while (name := f"{number}.{len(layers)}") + ".weight" in arrays:
                weight = arrays[f"{name}.weight"] * arrays[f"{name}.scale"]
                layers.append((weight, arrays[f"{name}.bias"]))
            networks.append(layers)
        return cls(arrays["mean"], arrays["scale"], networks)

    def estimate(self, features: Array) -> KneeEstimate:
        """Return the estimate for one description.

        Args:
            features: `(features,)` output of `lsr.knee.features.describe`.
        """
        standard = (features - self.mean) / self.scale
        standard = np.clip(standard, -INPUT_LIMIT, INPUT_LIMIT)
        outputs = np.array([_forward(layers, standard) for layers in self.networks])
        logits = outputs[:, : EVENTS * BINS].reshape(-1, EVENTS, BINS)
        weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
        bins = (weight / weight.sum(axis=-1, keepdims=True)).mean(axis=0)
        cumulative = np.concatenate([np.zeros((EVENTS, 1)), bins.cumsum(axis=1)[:, :-1]], axis=1)
        future = outputs[:, EVENTS * BINS :].reshape(-1, len(FUTURE), len(QUANTILES))
        quantiles = np.sort(future.mean(axis=0), axis=-1)
        return KneeEstimate(cumulative, np.sinh(quantiles) / FUTURE_SCALE)


@functools.cache
def trained_ensemble() -> Ensemble:
    """Return the networks that come with the library; the file is read once."""
    return Ensemble.read(WEIGHTS)


def _forward(layers: Layers, inputs: Array) -> Array:
    """Return the output of a multilayer perceptron with ReLU."""
    for number, (weight, bias) in enumerate(layers):
        inputs = inputs @ weight + bias
        if number < len(layers) - 1:
            inputs = np.maximum(inputs, 0)
    return inputs
