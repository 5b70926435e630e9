"""Define the straight path between data and noise, and the symbols that the whole project uses.

Rectified flow (Liu et al., arXiv 2209.03003; Lipman et al., arXiv 2210.02747):

    t          flow time in [0, 1]: t = 0 is data, t = 1 is noise
    x_0        data: the image or latent that the flow generates
    eps        noise, standard normal, of the same shape; `noise` in the code
    x_t        state at time t: x_t = (1 - t) x_0 + t eps
    v          velocity dx_t / dt = eps - x_0, constant along the path of one pair (x_0, eps)

A network learns the expected velocity given x_t, t and a condition. A sampler starts from noise at
t = 1 and integrates the network's velocity down to t = 0. Diffusion papers often count time the
other way round or use another path; formulas taken from them are converted to these symbols.
"""

from torch import Tensor


def expand(t: Tensor, like: Tensor) -> Tensor:
    """Return times (B,) as a view (B, 1, ..., 1) that broadcasts over `like` (B, ...)."""
    return t.view(-1, *[1] * (like.dim() - 1))


def interpolate(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return `x_t = (1 - t) x_0 + t noise` for x_0 and noise (B, ...) and t (B,) in [0, 1]."""
    t = expand(t, x_0)
    return (1 - t) * x_0 + t * noise


def velocity(x_0: Tensor, noise: Tensor) -> Tensor:
    """Return `v = dx_t / dt = noise - x_0`, the target of conditional flow matching."""
    return noise - x_0
