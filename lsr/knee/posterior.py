"""Does a curve still rise? A posterior over saturating shapes, each fitted by linear least squares. Pure numpy.

A template is `a + b (F(t) + r max(t / knee - 1, 0))`: start `a`, gain `b > 0`, fast rise `F` with `F(knee) = 0.95`, slow drift of `r`
gains per knee time after it. `F = 1 - (1 + xi z)^(-1 / xi)` with `z ~ t^m`: a generalised Pareto survival (Pickands 1975) in warped time.
The tail index `xi` runs from a corner (-1: a linear ramp that stops) over the exponential (0) and power laws (> 0) to a logarithm that
never saturates (large); `m > 1` bends the start into an S. A knee far beyond the last validation is a curve that still rises, so "no knee
yet" needs no model of its own.
"""

from __future__ import annotations

import itertools

import numpy as np

from lsr.knee.signal import SMOOTHING, Array, block_medians, local_noise, running_median

KNEE = 0.95
TOLERATED_GAIN = 0.85

START_EXPONENTS = (0.75, 1.0, 1.5, 2.5)
TAIL_INDICES = (-1.0, -0.6, -0.3, 0.0, 0.4, 0.8, 1.5, 4.0)
TAIL_SPREAD = 1.0  # prior standard deviation of a heavy tail's index
DRIFT_RATES = np.array([-0.4, -0.25, -0.15, -0.08, -0.04, 0.0, 0.02, 0.04, 0.06, 0.09, 0.12])
DRIFT_SPREAD = 0.04  # prior standard deviation of an upward drift, in gains per knee time: "slow"
TOTAL_DRIFT_SPREAD = (
    0.3  # the same for all of the drift seen so far: the fast component must dominate
)
MAX_BLOCKS = 64
ONSET_LEVEL = 0.05
MISFIT = 0.01  # no shape is exact: part of the gain, added to the noise
OUTLIER = 2.5
SEEN = 0.05  # part of its rise that a template must make within the data to be judged by them

Z_KNEE = np.array(
    [-np.log1p(-KNEE) if xi == 0 else ((1 - KNEE) ** -xi - 1) / xi for xi in TAIL_INDICES]
)
SHAPE_LOG_PRIOR = np.array(
    [
        -0.5 * (max(xi, 0.0) / TAIL_SPREAD) ** 2
        for _, xi in itertools.product(START_EXPONENTS, TAIL_INDICES)
    ]
)


def rise(time: Array) -> Array:
    """Every shape at `time >= 0` in units of the knee: shape `(shapes, *time.shape)`, 0 at 0, 0.95 at 1."""
    shapes = np.empty((len(START_EXPONENTS), len(TAIL_INDICES), *time.shape))
    for rows, exponent in zip(shapes, START_EXPONENTS, strict=True):
        warped = time**exponent
        for row, xi, z_knee in zip(rows, TAIL_INDICES, Z_KNEE, strict=True):
            if xi == 0:
                np.exp(-z_knee * warped, out=row)
            else:
                np.power(np.maximum(1 + xi * z_knee * warped, 0), -1 / xi, out=row)
    np.subtract(1, shapes, out=shapes)
    return shapes.reshape(-1, *time.shape)


class KneePosterior:
    """Posterior over (shape, knee, drift) of one curve.

    Args:
        steps: `(n,)` increasing steps since the start of training, > 0.
        values: `(n,)` the curve, more is better, its gain of order 1.
        noise: `(n,)` standard deviation of each value.
        onset: the step at which the rise starts when that is not 0; both origins are tried.
        last: the newest step.
    """

    def __init__(
        self, steps: Array, values: Array, noise: Array, onset: float, last: float
    ) -> None:
        """Fit all templates."""
        self.knees = last * np.concatenate(
            [np.geomspace(1 / 12, 1, 30), np.geomspace(1, 50, 14)[1:]]
        )
        self.onsets = (0.0, onset) if onset > 0 else (0.0,)
        weight = 1 / noise**2
        total = weight.sum()
        drift = np.maximum(steps / self.knees[:, None] - 1, 0)
        fast = self._rises(steps)
        fast_mean, drift_mean = fast @ weight / total, drift @ weight / total
        centred = values - values @ weight / total
        ff = (
            np.einsum("sgn,sgn,n->sg", fast, fast, weight, optimize=["einsum_path", (0, 2), (0, 1)])
            - total * fast_mean**2
        )
        fd = np.einsum("sgn,gn->sg", fast, drift * weight) - total * fast_mean * drift_mean
        dd = (drift * drift) @ weight - total * drift_mean**2
        fy, dy, yy = fast @ (weight * centred), drift @ (weight * centred), weight @ centred**2

        rate = DRIFT_RATES[:, None, None]
        power = np.maximum(ff + 2 * rate * fd + rate**2 * dd, 1e-12 * total)
        match = fy + rate * dy
        usable = (match > 0) & (fast[..., -1] - fast[..., 0] > SEEN)
        chi2 = np.where(usable, yy - match**2 / power, np.inf)
        best = float(chi2.min())
        if not np.isfinite(best):
            chi2, best = np.full_like(chi2, yy), float(yy)
        misfit = max(1.0, best / max(len(steps) - 4, 1))
        self.significance = float(np.sqrt(max(yy - best, 0.0) / misfit))

        up = np.maximum(DRIFT_RATES, 0)
        seen_drift = up[:, None] * np.maximum(last / self.knees - 1, 0)
        log_prior = (
            np.log(np.gradient(np.log(self.knees)))
            + np.tile(SHAPE_LOG_PRIOR, len(self.onsets))[:, None]
            + (np.log(np.gradient(DRIFT_RATES)) - 0.5 * (up / DRIFT_SPREAD) ** 2)[:, None, None]
            - 0.5 * (seen_drift[:, None] / TOTAL_DRIFT_SPREAD) ** 2
        )
        log_posterior = -0.5 * (chi2 - best) / misfit + log_prior
        posterior = np.exp(log_posterior - log_posterior.max())
        self.posterior = posterior.sum(axis=0) / posterior.sum()

    def _rises(self, steps: Array) -> Array:
        """`(onsets * shapes, knees, n)` fast components; a template is flat whose rise would be shorter than the grid's first knee."""
        since = [
            (np.maximum(steps - onset, 0), np.maximum(self.knees - onset, self.knees[0]))
            for onset in self.onsets
        ]
        allowed = [self.knees - onset >= self.knees[0] * (1 - 1e-9) for onset in self.onsets]
        return np.concatenate(
            [
                np.where(ok[:, None], rise(t / span[:, None]), 0.0)
                for (t, span), ok in zip(since, allowed, strict=True)
            ]
        )

    def has_gained(self, step: float) -> float:
        """Probability that at `step` 85 % of the fast gain is made, or 85 % of the time to the knee gone (a corner has no tail)."""
        enough = (self._rises(np.array([step]))[..., 0] >= TOLERATED_GAIN) | (
            step / self.knees >= TOLERATED_GAIN
        )
        return float(self.posterior[enough].sum())


def fit_shapes(time: Array, consensus: Array) -> KneePosterior:
    """Posterior of a consensus curve, `(n,)` times > 0 and values of gain about 1, from the base of its rise on."""
    centres, blocks = block_medians(time, consensus[None], MAX_BLOCKS)
    values = blocks[0]
    smooth = running_median(values, max(1, round(SMOOTHING * len(values))))
    low = np.flatnonzero(smooth <= ONSET_LEVEL * smooth.max())
    onset = float(centres[low[-1]]) if low.size and low[-1] > 0 else 0.0
    noise = np.sqrt(local_noise(centres, values) ** 2 + MISFIT**2)
    middle = running_median(values, 2)
    clipped = middle + np.clip(values - middle, -OUTLIER * noise, OUTLIER * noise)
    return KneePosterior(centres, clipped, noise, onset, float(time[-1]))
