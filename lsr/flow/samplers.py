"""Integrate a velocity field from noise (t = 1) to data (t = 0); `lsr.flow.path` defines both.

Samplers are pure functions of a velocity field, a start and a grid of times: they hold no state.
They sample whole batches, in validation for example. `lsr.inference.picture_sampler` has its own
Euler step, for one picture of any size in bands of rows.
"""

from collections.abc import Callable

from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Function that maps x_t (B, ...) and t (B,) to the velocity (B, ...)."""

Sampler = Callable[[Velocity, Tensor, Tensor], Tensor]
"""Function such as `sample_euler`."""


def sample_euler(velocity: Velocity, x: Tensor, t_grid: Tensor) -> Tensor:
    """Integrate `dx/dt = v(x, t)` along the grid by Euler's method, one evaluation per step.

    Args:
        velocity: Velocity field v.
        x: State at `t_grid[0]`, (B, ...).
        t_grid: Decreasing times (S + 1,) of S steps, float64. The last is 0 for a finished sample.

    Returns:
        State at `t_grid[-1]`, (B, ...).
    """
    for t, t_next in zip(t_grid.tolist(), t_grid.tolist()[1:], strict=False):
        x = x + (t_next - t) * velocity(x, x.new_full((len(x),), t))
    return x


def sample_heun(velocity: Velocity, x: Tensor, t_grid: Tensor) -> Tensor:
    """Integrate `dx/dt = v(x, t)` along the grid by Heun's method, two evaluations per step.

    The method is of second order (Karras et al., arXiv 2206.00364, algorithm 1). The step that ends
    at t = 0 is an Euler step: at t = 0 the velocity (x_t - x_0) / t of a network that predicts x_0
    would be 0 / 0.

    Args:
        velocity: Velocity field v.
        x: State at `t_grid[0]`, (B, ...).
        t_grid: Decreasing times (S + 1,) of S steps, float64. The last is 0 for a finished sample.

    Returns:
        State at `t_grid[-1]`, (B, ...).
    """
    for t, t_next in zip(t_grid.tolist(), t_grid.tolist()[1:], strict=False):
        v = velocity(x, x.new_full((len(x),), t))
        x_next = x + (t_next - t) * v
        # An Euler step predicts x_next; the mean of the velocities at both ends corrects it.
        if t_next > 0:
            x_next = x + (t_next - t) / 2 * (v + velocity(x_next, x.new_full((len(x),), t_next)))
        x = x_next
    return x


SAMPLERS: dict[str, Sampler] = {"euler": sample_euler, "heun": sample_heun}
"""All samplers by name."""
