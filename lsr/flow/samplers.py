"""Samplers as pure functions: a velocity field, a start, a grid of times. No state, no schedule objects."""

from collections.abc import Callable

from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, ...), t (B,)) -> velocity (B, ...)."""

Sampler = Callable[[Velocity, Tensor, Tensor], Tensor]


def sample_euler(velocity: Velocity, x: Tensor, t_grid: Tensor) -> Tensor:
    """Integrate `dx/dt = v(x, t)` along the grid by Euler's method, one evaluation per step.

    Args:
        velocity: The field.
        x: State at `t_grid[0]`, (B, ...).
        t_grid: Decreasing times (S + 1,), float64; ends at 0 for a finished sample.

    Returns:
        State at `t_grid[-1]`, (B, ...).
    """
    for t, t_next in zip(t_grid.tolist(), t_grid.tolist()[1:], strict=False):
        x = x + (t_next - t) * velocity(x, x.new_full((len(x),), t))
    return x


def sample_heun(velocity: Velocity, x: Tensor, t_grid: Tensor) -> Tensor:
    """Integrate by Heun's method, second order, two evaluations per step (Karras et al., arXiv 2206.00364, algorithm 1).

    The step that ends at t = 0 is an Euler step: there the velocity is not defined by a prediction of the data.

    Args:
        velocity: The field.
        x: State at `t_grid[0]`, (B, ...).
        t_grid: Decreasing times (S + 1,), float64.

    Returns:
        State at `t_grid[-1]`, (B, ...).
    """
    for t, t_next in zip(t_grid.tolist(), t_grid.tolist()[1:], strict=False):
        v = velocity(x, x.new_full((len(x),), t))
        x_next = x + (t_next - t) * v
        if t_next > 0:
            x_next = x + (t_next - t) / 2 * (v + velocity(x_next, x.new_full((len(x),), t_next)))
        x = x_next
    return x


SAMPLERS: dict[str, Sampler] = {"euler": sample_euler, "heun": sample_heun}
