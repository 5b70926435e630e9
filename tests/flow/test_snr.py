import itertools

import numpy as np
import pytest

from lsr.flow.snr import ANCHOR, PUBLISHED, expert_boundaries, log_snr, time_of, uniform_boundaries

SCHEDULES = ("rectified", "ddpm_scaled_linear", "ddpm_linear", "ddpm_cosine")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_log_snr_falls_and_maps_back(schedule):
    t = np.linspace(0.002, 0.998, 4000)
    ratio = log_snr(t, schedule)
    assert (np.diff(ratio) < 0).all()
    np.testing.assert_allclose(time_of(ratio, schedule), t, atol=1e-12)


def test_the_straight_path_has_the_ratio_of_its_own_definition():
    t = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(log_snr(t), np.log((1 - t) ** 2 / t**2), atol=1e-12)
    assert log_snr(0.0) == np.inf and log_snr(1.0) == -np.inf


def test_stable_diffusion_ends_where_its_schedule_is_known_to_end():
    signal = 1 / (1 + np.exp(-log_snr(1.0, "ddpm_scaled_linear")))
    assert signal == pytest.approx(0.0047, abs=1e-4)
    assert 1 / (1 + np.exp(-log_snr(1.0, "ddpm_linear"))) == pytest.approx(4.04e-5, rel=0.01)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PUBLISHED),
        ({"schedule": "ddpm_scaled_linear", "t_range": (0.001, 1.0)}, (0.153, 0.875, 0.940)),
        ({"schedule": "ddpm_linear", "t_range": (0.001, 1.0)}, (0.194, 0.875, 0.939)),
    ],
)
def test_the_published_boundaries_follow_from_schedule_and_range(options, expected):
    assert expert_boundaries(4, **options) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_every_part_is_halved_in_log_snr_and_the_anchor_stays(schedule, n):
    t_range = (0.02, 0.98)
    boundaries = expert_boundaries(n, t_range=t_range, schedule=schedule)
    assert len(boundaries) == n - 1 and list(boundaries) == sorted(set(boundaries))
    assert n == 1 or ANCHOR in boundaries
    widths = -np.diff(log_snr(np.array([t_range[0], *boundaries, t_range[1]]), schedule))
    for half in (widths[: n // 2], widths[n // 2 :]):
        np.testing.assert_allclose(half, half.mean() if len(half) else 0, rtol=1e-6)


def test_uniform_boundaries():
    assert uniform_boundaries(4) == (0.25, 0.5, 0.75) and uniform_boundaries(1) == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_experts": 3}, "power of two, not 3"),
        ({"n_experts": 0}, "power of two, not 0"),
        ({"n_experts": 4, "anchor": 0.99}, "anchor"),
        ({"n_experts": 4, "t_range": (0.0, 0.9)}, "finite log SNR"),
        ({"n_experts": 4, "schedule": "magic"}, "unknown schedule 'magic'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        expert_boundaries(**arguments)


def test_moving_the_anchor_moves_every_boundary():
    one, other = expert_boundaries(8, anchor=0.5), expert_boundaries(8, anchor=0.6)
    assert all(a < b for a, b in itertools.zip_longest(one, other))
