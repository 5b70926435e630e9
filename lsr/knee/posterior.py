"""Decide whether a curve still rises: a posterior probability over saturating shapes.

**Model.** A curve is `a + b g(t) + noise` with the template `g(t) = F(t) + r max(t / knee - 1, 0)`:
start `a`, gain `b > 0`, fast rise `F` with `F(0) = 0` and `F(knee) = 0.95`, and after the knee a
slow drift: in each further span as long as the knee, the curve changes by `r` times the gain. Here
the time `t` and the knee count from the start of the rise. The noise is normal and independent,
with known standard deviations.

**Shapes.** `F = 1 - (1 + xi z)^(-1 / xi)` with `z` proportional to `t^m`: one minus the survival
function of a generalised Pareto distribution (Pickands 1975, Annals of Statistics 3) in warped
time. The scale of `z` is set by `F(knee) = 0.95`. The tail index `xi` sets how the rise ends: for
-1 it is a ramp that stops abruptly, for 0 an exponential, above 0 a power law; for large `xi` it
resembles a logarithm, which never saturates. `m > 1` bends the start into an S.

**Fit.** `a` and `b` enter linearly, so weighted least squares gives their best values in closed
form. The other parameters (`m`, `xi`, the knee, `r`, and the step at which the rise starts) run
over a grid. Each grid point has the probability `exp(-chi^2 / 2)` of its best fit times the prior,
normalised.

**Prior.** Uniform in the logarithm of the knee; half-normal in a heavy tail's index and in an
upward drift, because heavy tails and strong drifts can imitate any curve; uniform elsewhere on the
grid.

A knee may lie up to 50 times beyond the newest step. Such a curve still rises, so "no knee yet"
needs no model of its own. Only numpy is used.
"""

from __future__ import annotations

import itertools

import numpy as np

from lsr.knee.signal import SMOOTHING, Array, block_medians, local_noise, running_median

KNEE = 0.95
"""Fraction of the fast gain that is made at the knee; this defines the knee."""
TOLERATED_GAIN = 0.85
"""Fraction of the fast gain that a checkpoint must have made to pass as the knee."""

START_EXPONENTS = (0.75, 1.0, 1.5, 2.5)
"""Grid of `m`, the exponent of the time warp."""
TAIL_INDICES = (-1.0, -0.6, -0.3, 0.0, 0.4, 0.8, 1.5, 4.0)
"""Grid of `xi`, the tail index."""
TAIL_SPREAD = 1.0
"""Standard deviation of the half-normal prior of the tail index; the prior is flat below 0."""
DRIFT_RATES = np.array([-0.4, -0.25, -0.15, -0.08, -0.04, 0.0, 0.02, 0.04, 0.06, 0.09, 0.12])
"""Grid of `r`: after the knee, the curve changes by `r` times the gain in each span of its length.

The prior of a downward drift (`r < 0`) is flat.
"""
DRIFT_SPREAD = 0.04
"""Standard deviation of the half-normal prior of an upward drift: "slow" in numbers."""
TOTAL_DRIFT_SPREAD = 0.3
"""The same for the whole upward drift until the newest step: the fast rise must dominate."""
MAX_BLOCKS = 64
"""The curve is shortened to this many block medians, which bounds the time of a fit."""
ONSET_LEVEL = 0.05
"""The rise starts where the smoothed curve leaves this fraction of its maximum."""
MISFIT = 0.01
"""Added to the noise, as a fraction of the gain, because no template is exact."""
OUTLIER = 2.5
"""Values further than this many standard deviations from the running median are clipped."""
SEEN = 0.05
"""A template is judged only if it makes this fraction of its rise within the data.

A template that rises less is nearly a straight line; with a huge gain `b` it would fit anything.
"""
_FITTED = 4
"""Degrees of freedom that a fit uses up."""

# The value of `z` at the knee: the solution of F(z) = KNEE for each `xi`. With time in units of the
# knee, z = Z_KNEE t^m.
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
    """Return the fast rise `F` of every shape.

    Args:
        time: Times in units of the knee, >= 0, of any shape.

    Returns:
        `(shapes, *time.shape)`, 0 at time 0 and 0.95 at time 1. Shapes are ordered by `m`, then
        `xi`.
    """
    shapes = np.empty((len(START_EXPONENTS), len(TAIL_INDICES), *time.shape))
    for rows, exponent in zip(shapes, START_EXPONENTS, strict=True):
        warped = time**exponent
        for row, xi, z_knee in zip(rows, TAIL_INDICES, Z_KNEE, strict=True):
            if xi == 0:  # the limit of (1 + xi z)^(-1 / xi) for xi -> 0
                np.exp(-z_knee * warped, out=row)
            else:
                np.power(np.maximum(1 + xi * z_knee * warped, 0), -1 / xi, out=row)
    np.subtract(1, shapes, out=shapes)
    return shapes.reshape(-1, *time.shape)


class KneePosterior:
    """Posterior probability over (start of the rise, shape, knee) of one curve.

    Args:
        steps: `(n,)` increasing steps since the start of training, > 0.
        values: `(n,)` curve, more is better, with a gain of about 1.
        noise: `(n,)` standard deviation of each value.
        onset: Step at which the rise starts, 0 if it starts at once. If it is greater than 0, both
            step 0 and the onset are tried.
        last: The newest step.

    Attributes:
        onsets: Grid of the step at which the rise starts.
        knees: `(knees,)` grid of the knee, in steps; it is denser up to the newest step.
        significance: Height of the best template in standard deviations of its error.
        posterior: `(onsets * shapes, knees)` probabilities, with a sum of 1.
    """

    def __init__(
        self, steps: Array, values: Array, noise: Array, onset: float, last: float
    ) -> None:
        seen = np.geomspace(1 / 12, 1, 30)
        beyond = np.geomspace(1, 50, 14)[1:]
        self.knees = last * np.concatenate([seen, beyond])
        self.onsets = (0.0, onset) if onset > 0 else (0.0,)
        chi2, chi2_constant = self._chi_squared(steps, values, 1 / noise**2)
        best = float(chi2.min())
        if not np.isfinite(best):  # no template can be judged: all are as good as a constant
            chi2 = np.full_like(chi2, chi2_constant)
            best = float(chi2_constant)
        # Birge ratio (Birge 1932, Physical Review 40): if even the best template misfits, its chi^2
        # per degree of freedom is above 1. The errors are widened by it, which widens the
        # posterior.
        misfit = max(1.0, best / max(len(steps) - _FITTED, 1))
        self.significance = float(np.sqrt(max(chi2_constant - best, 0.0) / misfit))
        log_posterior = -0.5 * (chi2 - best) / misfit + self._log_prior(last)
        posterior = np.exp(log_posterior - log_posterior.max())
        self.posterior = posterior.sum(axis=0) / posterior.sum()  # summed over the drift

    def has_gained(self, step: float) -> float:
        """Return the probability that the checkpoint of a step passes as the knee.

        It passes with 85 % of the fast gain, or at 85 % of the time to the knee. The second
        condition is for shapes with a corner: they rise linearly up to the knee and have no tail,
        so that a step close to the knee may lack more of the gain.
        """
        enough_gain = self._rises(np.array([step]))[..., 0] >= TOLERATED_GAIN
        enough_time = step / self.knees >= TOLERATED_GAIN
        return float(self.posterior[enough_gain | enough_time].sum())

    def _chi_squared(self, steps: Array, values: Array, weight: Array) -> tuple[Array, float]:
        """Fit every template by weighted least squares.

        Args:
            steps: `(n,)` steps.
            values: `(n,)` curve.
            weight: `(n,)` inverse variances.

        Returns:
            `(drifts, onsets * shapes, knees)` chi^2 of the best start and gain, infinite where the
            gain would be negative or the template cannot be judged; and the chi^2 of a constant.
        """
        total = weight.sum()
        drift = np.maximum(steps / self.knees[:, None] - 1, 0)
        fast = self._rises(steps)
        fast_mean = fast @ weight / total
        drift_mean = drift @ weight / total
        centred = values - values @ weight / total
        # Weighted covariances of fast rise (f), drift (d) and values (y). Centring them fits the
        # start.
        path = ["einsum_path", (0, 2), (0, 1)]
        ff = np.einsum("sgn,sgn,n->sg", fast, fast, weight, optimize=path) - total * fast_mean**2
        fd = np.einsum("sgn,gn->sg", fast, drift * weight) - total * fast_mean * drift_mean
        dd = (drift * drift) @ weight - total * drift_mean**2
        fy = fast @ (weight * centred)
        dy = drift @ (weight * centred)
        yy = weight @ centred**2
        # Template g = f + r d. The best gain is b = gy / gg, which leaves chi^2 = yy - gy^2 / gg.
        rate = DRIFT_RATES[:, None, None]
        gg = np.maximum(ff + 2 * rate * fd + rate**2 * dd, 1e-12 * total)
        gy = fy + rate * dy
        usable = (gy > 0) & (fast[..., -1] - fast[..., 0] > SEEN)
        return np.where(usable, yy - gy**2 / gg, np.inf), yy

    def _log_prior(self, last: float) -> Array:
        """Return the log-prior, `(drifts, onsets * shapes, knees)`, up to a constant."""
        upward = np.maximum(DRIFT_RATES, 0)
        seen_drift = upward[:, None] * np.maximum(last / self.knees - 1, 0)
        # The grids are uneven. A prior that is uniform in a parameter gives each grid point the
        # width of its cell, which `np.gradient` returns.
        return (
            np.log(np.gradient(np.log(self.knees)))
            + np.tile(SHAPE_LOG_PRIOR, len(self.onsets))[:, None]
            + (np.log(np.gradient(DRIFT_RATES)) - 0.5 * (upward / DRIFT_SPREAD) ** 2)[:, None, None]
            - 0.5 * (seen_drift[:, None] / TOTAL_DRIFT_SPREAD) ** 2
        )

    def _rises(self, steps: Array) -> Array:
        """Return the fast rise of every template at some steps, `(onsets * shapes, knees, n)`.

        A template whose rise would be shorter than the first knee of the grid is flat.
        """
        rises = []
        for onset in self.onsets:
            time = np.maximum(steps - onset, 0)
            span = np.maximum(self.knees - onset, self.knees[0])
            allowed = self.knees - onset >= self.knees[0] * (1 - 1e-9)
            rises.append(np.where(allowed[:, None], rise(time / span[:, None]), 0.0))
        return np.concatenate(rises)


def fit_shapes(time: Array, consensus: Array) -> KneePosterior:
    """Return the posterior of a consensus curve.

    Args:
        time: `(n,)` increasing times, > 0.
        consensus: `(n,)` curve, with a gain of about 1, from the base of its rise on.
    """
    centres, blocks = block_medians(time, consensus[None], MAX_BLOCKS)
    values = blocks[0]
    smooth = running_median(values, max(1, round(SMOOTHING * len(values))))
    low = np.flatnonzero(smooth <= ONSET_LEVEL * smooth.max())
    onset = float(centres[low[-1]]) if low.size and low[-1] > 0 else 0.0
    noise = np.sqrt(local_noise(centres, values) ** 2 + MISFIT**2)
    # Least squares is not robust: an outlier is pulled to the edge of the noise before the fit.
    middle = running_median(values, 2)
    clipped = middle + np.clip(values - middle, -OUTLIER * noise, OUTLIER * noise)
    return KneePosterior(centres, clipped, noise, onset, float(time[-1]))
