"""A run with naive sums ends in NaN; the health of its attention has warned long before."""

import json
import re

import pytest
import torch
from support.growing_attention import Growing, fit

from callbacks import AttentionHealth, DivergenceGuard, NaiveSums
from lsr.models.attention_health import HEADROOM, attentions
from lsr.ops.linear_attention import linear_attention
from lsr.training.divergence import REPORT, DivergenceError


def with_keys_times(size, growth=1.0):
    """Return a model whose W_k are so many times larger; the attention does not change."""
    module = Growing(growth)
    for attention in attentions(module.denoiser).values():
        width = attention.qkv.in_features
        attention.qkv.weight.data[width : 2 * width] *= size
    return module


@pytest.fixture(scope="module")
def headroom(tmp_path_factory):
    """The headroom of the model as it is at first."""
    health = AttentionHealth()
    fit(tmp_path_factory.mktemp("first"), Growing(), [health], steps=1, every=1)
    return health.health[HEADROOM]


def test_the_warning_comes_at_least_100_steps_before_nan(tmp_path, caplog, headroom):
    """The keys double in 231 steps, and their sums with them; real runs are slower."""
    callbacks = [NaiveSums("float16"), AttentionHealth(), DivergenceGuard()]
    module = with_keys_times(headroom / 2.1, growth=1.003)
    with pytest.raises(DivergenceError):
        fit(tmp_path, module, callbacks, steps=500, every=7)
    found = (re.match(r"step (\d+): float16", line) for line in caplog.messages)
    (warned,) = [int(match[1]) for match in found if match]
    assert 0 < warned <= json.loads((tmp_path / REPORT).read_text())["step"] - 100


@pytest.mark.parametrize(
    "sums", [{}, {"dtype": "bfloat16"}, {"dtype": "float16", "scaling": "keys"}], ids=str
)
def test_other_sums_go_on_where_float16_ends(tmp_path, sums, headroom):
    fit(tmp_path, with_keys_times(4 * headroom), [NaiveSums(**sums), DivergenceGuard()], steps=2)
    module = with_keys_times(4 * headroom)
    with pytest.raises(DivergenceError, match="step 0"):
        fit(tmp_path, module, [NaiveSums("float16"), DivergenceGuard()])
    assert all(each.operator is linear_attention for each in attentions(module).values())


def test_the_attention_gets_its_own_operator_back(tmp_path):
    used = []

    class Looks(Growing):
        def training_step(self, batch, batch_idx):
            used.append(next(iter(attentions(self).values())).operator)
            return super().training_step(batch, batch_idx)

    module = Looks()
    fit(tmp_path, module, [NaiveSums("bfloat16")], steps=2)
    assert linear_attention not in used and len(used) == 2
    assert all(each.operator is linear_attention for each in attentions(module).values())


@pytest.mark.parametrize(
    "settings", [{"dtype": "float8"}, {"stored": "all"}, {"scaling": "heads"}], ids=str
)
def test_an_unknown_setting_is_one_line(settings):
    with pytest.raises(ValueError, match="must be one of"):
        NaiveSums(**settings)


def test_training_with_naive_sums_differs_and_model_files_do_not_know(tmp_path):
    naive, ours = Growing(), Growing()
    fit(tmp_path, naive, [NaiveSums("bfloat16")], steps=2)
    fit(tmp_path, ours, [], steps=2)
    assert not all(
        torch.equal(a, b) for a, b in zip(naive.parameters(), ours.parameters(), strict=True)
    )
    assert naive.exported()[1] == ours.exported()[1]
