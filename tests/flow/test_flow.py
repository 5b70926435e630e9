import pytest
import torch
from support.apple_gpu import apple_gpu, on_gpu

from lsr.flow.noise import seeded_normal
from lsr.flow.path import interpolate, velocity
from lsr.flow.samplers import SAMPLERS, sample_euler, sample_heun
from lsr.flow.snr import PUBLISHED, log_snr
from lsr.flow.timesteps import (
    logit_normal_between,
    logit_normal_cdf,
    logit_normal_timesteps,
    shift_timesteps,
    timestep_grid,
    unshift_timesteps,
)

CPU = torch.device("cpu")


def test_the_path_runs_from_data_to_noise(generator):
    x_0, noise = torch.randn(2, 4, 3, 5, 5, generator=generator)
    assert torch.equal(interpolate(x_0, noise, torch.zeros(4)), x_0)
    assert torch.equal(interpolate(x_0, noise, torch.ones(4)), noise)


def test_velocity_is_the_derivative_of_the_path(generator):
    x_0, noise = torch.randn(2, 4, 3, 5, 5, generator=generator, dtype=torch.float64)
    t = torch.rand(4, generator=generator, dtype=torch.float64)
    slope = (interpolate(x_0, noise, t + 1e-6) - interpolate(x_0, noise, t)) / 1e-6
    torch.testing.assert_close(slope, velocity(x_0, noise), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shift_keeps_the_ends_and_the_order(shift):
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    t = shift_timesteps(u, shift)
    assert t[0] == 0 and t[-1] == 1 and (t.diff() > 0).all()
    # On the log-SNR axis a shift is a translation by 2 ln(shift).
    moved = torch.from_numpy(log_snr(u[1:-1].numpy()) - log_snr(t[1:-1].numpy()))
    torch.testing.assert_close(
        moved, torch.full_like(moved, 2.0) * torch.tensor(shift, dtype=torch.float64).log()
    )


def test_training_times_have_the_density_of_the_shifted_logit_normal(generator):
    z = torch.randn(100_000, generator=generator)
    t = logit_normal_timesteps(z, mean=0.2, std=0.8, shift=3.0)
    # The shift adds ln f on the logit axis.
    back = torch.logit(t.double()) - torch.tensor(3.0).log()
    assert back.mean() == pytest.approx(0.2, abs=0.01)
    assert back.std() == pytest.approx(0.8, abs=0.01)


def test_unshifting_undoes_the_shift():
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(unshift_timesteps(shift_timesteps(u, 6.0), 6.0), u)


def test_the_distribution_function_is_that_of_the_times(generator):
    t = logit_normal_timesteps(torch.randn(100_000, generator=generator), 0.2, 0.8, 3.0)
    for at in (0.1, 0.5, 0.9):
        assert logit_normal_cdf(at, 0.2, 0.8, 3.0) == pytest.approx(
            (t < at).float().mean().item(), abs=0.005
        )
    assert logit_normal_cdf(0.0) == 0 and logit_normal_cdf(1.0) == 1


def test_between_all_times_the_draws_are_left_alone(generator):
    z = torch.randn(1000, generator=generator)
    torch.testing.assert_close(
        logit_normal_between(z, 0, 1, 0.2, 0.8, 3.0), logit_normal_timesteps(z, 0.2, 0.8, 3.0)
    )


@pytest.mark.parametrize("low, high", [(0.0, 1e-6), (0.223, 0.2231), (0.999999, 1.0)])
def test_no_draw_leaves_even_a_small_interval(low, high):
    t = logit_normal_between(torch.tensor([-40.0, -6, 0, 6, 40]), low, high)
    assert (
        t.isfinite().all()
        and (t >= torch.tensor(low)).all()
        and (t < torch.tensor(high)).all()
        and (t.diff() >= 0).all()
    )


def test_times_of_an_expert_are_drawn_without_float64_on_apple_gpus():
    with apple_gpu() as mode:
        t = logit_normal_between(on_gpu(mode, 5), 0.2, 0.8)
    assert (t.device.type, t.dtype) == ("mps", torch.float32)


def test_sampler_visits_the_times_of_training():
    """The median of the training times is the middle of the sampler's grid, whatever the shift."""
    for shift in (1.0, 3.0, 6.0):
        assert logit_normal_timesteps(torch.zeros(1), shift=shift).item() == pytest.approx(
            timestep_grid(2, shift)[1].item()
        )


def test_grid_runs_from_noise_to_data():
    grid = timestep_grid(7, 3.0)
    assert len(grid) == 8 and grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()
    with pytest.raises(ValueError, match="at least 1"):
        timestep_grid(0)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_samplers_are_exact_on_a_straight_path(generator, name, steps):
    x_0, noise = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    out = SAMPLERS[name](lambda x, t: noise - x_0, noise, timestep_grid(steps))
    torch.testing.assert_close(out, x_0)


def test_orders_of_convergence(generator):
    """Halving the step divides the error by 2 (Euler) and by 4 (Heun).

    The test equation dx/dt = x has the solution x(t) = x(1) exp(t - 1).
    """
    x_1 = torch.ones(1, 1, dtype=torch.float64)

    def error(sampler, steps):
        grid = torch.linspace(1, 0.001, steps + 1, dtype=torch.float64)
        return (sampler(lambda x, t: x, x_1, grid) - torch.exp(grid[-1] - 1)).abs().item()

    assert error(sample_euler, 20) / error(sample_euler, 40) == pytest.approx(2, rel=0.1)
    assert error(sample_heun, 20) / error(sample_heun, 40) == pytest.approx(4, rel=0.1)


def test_noise_belongs_to_its_seed_alone():
    seeds = torch.tensor([5, 2**31 - 1, 9])
    together = seeded_normal(seeds, (3, 4), 1, CPU)
    assert torch.equal(together[1], seeded_normal(seeds[1:2], (3, 4), 1, CPU)[0])
    assert torch.equal(together[2], seeded_normal(seeds.flip(0), (3, 4), 1, CPU)[0])


def test_noise_fields_are_independent_standard_normals():
    fields = torch.stack(
        [seeded_normal(torch.arange(40), (5000,), stream, CPU) for stream in range(4)]
    ).flatten(0, 1)
    correlation = torch.corrcoef(fields) - torch.eye(160)
    assert correlation.abs().max() < 0.08
    assert fields.mean().abs() < 0.01 and (fields.std() - 1).abs() < 0.01


@pytest.mark.parametrize("steps", [4, 5, 7, 20, 40])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_no_aligned_step_straddles_a_boundary(steps, shift):
    edges = torch.tensor(PUBLISHED, dtype=torch.float32)
    grid = timestep_grid(steps, shift, PUBLISHED)
    assert grid.shape == (steps + 1,) and grid[0] == 1 and grid[-1] == 0 and (grid.diff() < 0).all()
    for start, end in zip(grid.tolist(), grid.tolist()[1:], strict=False):
        holder = torch.bucketize(torch.tensor(start), edges, right=True)
        # A step may end one float32 number below the interval of the expert that computes it.
        inside = torch.nextafter(torch.tensor(end), torch.tensor(1.0))
        assert torch.bucketize(inside, edges, right=True) == holder, (start, end)


def test_steps_that_are_not_aligned_straddle():
    grid = timestep_grid(7, 6.0).float()
    assert not torch.isin(torch.tensor(PUBLISHED), grid).any()


def test_aligning_moves_what_is_nearest_and_spaces_the_rest_evenly():
    grid = timestep_grid(10, 1.0, (0.32, 0.68)).flip(0)
    torch.testing.assert_close(grid[[0, 3, 7, 10]].float(), torch.tensor([0, 0.32, 0.68, 1]))
    for part in (grid[:4], grid[3:8], grid[7:]):
        torch.testing.assert_close(
            part.diff(), part.diff()[:1].expand(len(part) - 1), rtol=1e-5, atol=1e-6
        )
    crowded = timestep_grid(4, 1.0, (0.97, 0.98, 0.99))
    torch.testing.assert_close(crowded.float(), torch.tensor([1, 0.99, 0.98, 0.97, 0]))


def test_too_few_steps_to_align_are_refused():
    with pytest.raises(
        ValueError,
        match="3 sampling steps are too few: with align_steps each of the 4 experts needs one; "
        "set num_inference_steps to at least 4, or align_steps to false",
    ):
        timestep_grid(3, 6.0, PUBLISHED)
