"""The straight path between data and noise (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747)."""

from torch import Tensor


def expand(t: Tensor, like: Tensor) -> Tensor:
    """Reshape times (B,) so that they broadcast over `like` (B, ...)."""
    return t.view(-1, *[1] * (like.dim() - 1))


def interpolate(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return `x_t = (1 - t) x_0 + t noise` for x_0 and noise (B, ...) and t (B,) in [0, 1]."""
    t = expand(t, x_0)
    return (1 - t) * x_0 + t * noise


def velocity(x_0: Tensor, noise: Tensor) -> Tensor:
    """Return `v = dx_t / dt = noise - x_0`, the target of conditional flow matching."""
    return noise - x_0
