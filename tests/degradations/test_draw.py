"""The distribution of the drawn parameters, compared with the published one of Real-ESRGAN."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from lsr.degradations import PRESETS, DegradationConfig, DegradationParameters, draw

N = 20_000
CFG = DegradationConfig()


@pytest.fixture(scope="module")
def drawn():
    return [draw(CFG, 5, i % 3, i) for i in range(N)]


def assert_frequency(hits, p):
    hits = np.asarray(hits)
    assert abs(hits.mean() - p) <= 4 * math.sqrt(p * (1 - p) / len(hits)), (hits.mean(), p)


def assert_uniform(values, low, high):
    values = np.asarray(values)
    assert low <= values.min() and values.max() <= high
    distance = stats.kstest(values, "uniform", args=(low, high - low)).statistic
    assert distance <= 2 / math.sqrt(len(values)), (distance, len(values))


def test_stage_probabilities(drawn):
    for name, up, down, keep in (("first", 0.2, 0.7, 0.1), ("second", 0.3, 0.4, 0.3)):
        stages = [getattr(p, name) for p in drawn]
        assert_frequency([s.factor > 1 for s in stages], up)
        assert_frequency([s.factor < 1 for s in stages], down)
        assert_frequency([s.factor == 1 for s in stages], keep)
        for mode in ("area", "bilinear", "bicubic"):
            assert_frequency([s.mode == mode for s in stages], 1 / 3)
        assert_frequency([s.noise == "gaussian" for s in stages], 0.5)
        assert_frequency([s.grey for s in stages], 0.4)
    assert_frequency([p.second.kernel is not None for p in drawn], 0.8)
    assert_frequency([p.final_sinc is not None for p in drawn], 0.8)
    assert_frequency([p.jpeg_last for p in drawn], 0.5)
    assert not any(p.identity for p in drawn)


def test_stage_ranges(drawn):
    for name, low, high, gaussian, poisson in (
        ("first", 0.15, 1.5, 30, 3),
        ("second", 0.3, 1.2, 25, 2.5),
    ):
        stages = [getattr(p, name) for p in drawn]
        assert_uniform([s.factor for s in stages if s.factor < 1], low, 1)
        assert_uniform([s.factor for s in stages if s.factor > 1], 1, high)
        assert_uniform([s.amount * 255 for s in stages if s.noise == "gaussian"], 1, gaussian)
        assert_uniform([s.amount for s in stages if s.noise == "poisson"], 0.05, poisson)
    assert_uniform([p.quality_1 for p in drawn], 30, 95)
    assert_uniform([p.quality_2 for p in drawn], 30, 95)


def test_kernels(drawn):
    for kernels, sigma in (
        ([p.first.kernel for p in drawn], 3),
        ([p.second.kernel for p in drawn if p.second.kernel], 1.5),
    ):
        assert_frequency([k.family == "sinc" for k in kernels], 0.1)
        for size in range(7, 22, 2):
            assert_frequency([k.size == size for k in kernels], 1 / 8)
        sinc = [k for k in kernels if k.family == "sinc"]
        for size in range(7, 22, 2):
            lowest = math.pi / 3 if size < 13 else math.pi / 5
            assert_uniform([k.cutoff for k in sinc if k.size == size], lowest, math.pi)
        rest = [k for k in kernels if k.family != "sinc"]
        shares = {
            "iso": 0.45,
            "aniso": 0.25,
            "generalized_iso": 0.12,
            "generalized_aniso": 0.03,
            "plateau_iso": 0.12,
            "plateau_aniso": 0.03,
        }
        for family, share in shares.items():
            assert_frequency([k.family == family for k in rest], share)
        assert_uniform([k.sigma_x for k in rest], 0.2, sigma)
        isotropic = [k for k in rest if not k.family.endswith("aniso")]
        assert all(k.sigma_x == k.sigma_y and k.theta == 0 for k in isotropic)
        turned = [k for k in rest if k.family.endswith("aniso")]
        assert_uniform([k.sigma_y for k in turned], 0.2, sigma)
        assert_uniform([k.theta for k in turned], -math.pi, math.pi)
        sigmas = [k.sigma_x for k in turned], [k.sigma_y for k in turned]
        assert abs(stats.spearmanr(*sigmas).statistic) <= 4.5 / math.sqrt(len(turned))
        generalized = [k.beta for k in rest if k.family.startswith("generalized")]
        assert_frequency([b < 1 for b in generalized], 0.5)
        assert_uniform([b for b in generalized if b < 1], 0.5, 1)
        assert_uniform([b for b in generalized if b > 1], 1, 4)
        plateau = [k.beta for k in rest if k.family.startswith("plateau")]
        assert_frequency([b == 1 for b in plateau], 0.5)
        assert_uniform([b for b in plateau if b != 1], 1, 2)
        assert all(k.beta == 1 for k in rest if k.family in ("iso", "aniso"))
    final = [p.final_sinc for p in drawn if p.final_sinc]
    assert_uniform([k.cutoff for k in final], math.pi / 3, math.pi)
    for size in range(7, 22, 2):
        assert_frequency([k.size == size for k in final], 1 / 8)


def test_parameters_are_independent(drawn):
    columns = [
        [p.first.kernel.size for p in drawn],
        [p.first.kernel.sigma_x for p in drawn],
        [p.first.factor for p in drawn],
        [p.first.mode == "area" for p in drawn],
        [p.first.noise == "gaussian" for p in drawn],
        [p.first.amount if p.first.noise == "gaussian" else 15.5 / 255 for p in drawn],
        [p.first.grey for p in drawn],
        [p.second.kernel is None for p in drawn],
        [p.second.factor for p in drawn],
        [p.second.noise == "gaussian" for p in drawn],
        [p.quality_1 for p in drawn],
        [p.quality_2 for p in drawn],
        [p.jpeg_last for p in drawn],
        [p.noise_seed for p in drawn],
        [p.first.factor for p in drawn[1:] + drawn[:1]],
    ]
    ranks = np.array([stats.rankdata(column) for column in columns])
    correlation = np.corrcoef(ranks)
    for i, j in combinations(range(len(columns)), 2):
        assert abs(correlation[i, j]) <= 4.5 / math.sqrt(N), (i, j)
    assert len({p.noise_seed for p in drawn}) == N


@pytest.mark.parametrize("name", PRESETS)
def test_a_sample_can_be_made_again_from_its_line(name):
    cfg = DegradationConfig.preset(name)
    for index in range(50):
        parameters = draw(cfg, 1, 2, index)
        line = parameters.to_json()
        assert "\n" not in line
        assert DegradationParameters.from_json(line) == parameters == draw(cfg, 1, 2, index)


def test_seed_epoch_and_index_each_matter():
    addresses = list(product((0, 1), repeat=3))
    assert len({draw(CFG, *address) for address in addresses}) == len(addresses) == 8


def test_changing_one_setting_leaves_the_other_parameters():
    changed = DegradationConfig(jpeg_quality_1=(50, 60), blur_2_probability=0, sinc_probability=0.5)
    for index in range(100):
        a = draw(CFG, 0, 0, index)
        b = draw(changed, 0, 0, index)
        assert (a.second.factor, a.second.noise) == (b.second.factor, b.second.noise)
        assert (a.quality_2, a.noise_seed) == (b.quality_2, b.noise_seed)


def test_second_stage_and_identity_can_be_rare():
    cfg = DegradationConfig(second_stage_probability=0.5, identity_probability=0.1)
    drawn = [draw(cfg, 0, 0, i) for i in range(4000)]
    assert_frequency([p.second is None for p in drawn], 0.5)
    assert_frequency([p.identity for p in drawn], 0.1)


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (0, 2**64, 0), (0, 0, -1)])
def test_counters_outside_64_bits_are_refused(arguments):
    with pytest.raises(ValueError, match=r"2\*\*64"):
        draw(CFG, *arguments)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"first": 1}', "3"])
def test_a_foreign_line_is_refused(text):
    with pytest.raises(ValueError, match="degradation parameters"):
        DegradationParameters.from_json(text)
