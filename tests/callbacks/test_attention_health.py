"""The health of the attention is measured in validation, logged, and warns long before NaN."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.growing_attention import Growing, fit
from support.plain_module import Plain
from support.tiny import TINY

from callbacks import EMA, AttentionHealth, DivergenceGuard, KneePointCallback
from lsr.models.attention_health import HEADROOM, attentions, sums_of_attention
from lsr.models.denoiser import Denoiser
from lsr.runs.csv_logger import MetricsCSVLogger
from lsr.runs.history import RunLog
from lsr.training.divergence import REPORT, DivergenceError
from lsr.training.weight_noise import noisy_weights

NAMES = {
    "health/largest_sum",
    HEADROOM,
    "health/bfloat16_error",
    "health/smallest_denominator",
    "health/dead_keys",
    "health/weight_product",
    "health/noise_loss_rise",
}


def test_the_sums_are_those_of_the_definition(generator):
    q, k, v = torch.randn(3, 2, 600, 2, 8, generator=generator)
    k[:, 5] = -1.0  # a dead key in both heads
    q[:, ::2] = -1.0  # dead queries
    found = sums_of_attention(q, k, v)
    s = torch.einsum("bnae,bnaf->baef", k.relu(), v)
    denominators = torch.einsum("bnae,bae->bna", q.relu(), k.relu().mean(1))
    assert found.largest == pytest.approx(float(s.abs().max()), rel=1e-5)
    assert found.dead_keys >= 1 / 600 and found.tokens == 600
    # of the queries 0, 3, 6, ... those with an odd number are not dead
    live = denominators[:, 3::6]
    assert found.smallest_denominator == pytest.approx(float(live[live > 0].min()), rel=1e-4)
    assert 0 < found.bfloat16_error < 0.1


def test_sums_without_a_live_query_are_numbers():
    minus = -torch.ones(1, 4, 1, 8)
    found = sums_of_attention(minus, minus, minus)
    assert found.largest == found.smallest_denominator == 0 and found.dead_keys == 1
    assert sums_of_attention(minus, -minus, minus).dead_keys == 0


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_the_sums_are_float32_under_autocast(generator, precision):
    q, k, v = 100 * torch.rand(3, 1, 600, 1, 8, generator=generator)
    exact = sums_of_attention(q, k, v)
    with torch.autocast("cpu", precision):
        assert sums_of_attention(q, k, v) == exact


def test_noise_changes_all_weights_and_leaves_no_trace(generator):
    model = Denoiser(replace(TINY, context_dim=0)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 3, generator=generator)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(KeyError), noisy_weights(model):
        for name, p in model.named_parameters():
            size = (p - before[name]).square().mean().sqrt() / before[name].square().mean().sqrt()
            if p.numel() > 500:
                assert float(size) == pytest.approx(0.05, rel=0.15), name
        raise KeyError
    assert all((p == before[name]).all() for name, p in model.named_parameters())


def test_every_validation_logs_all_values_and_training_is_not_changed(tmp_path):
    logger = MetricsCSVLogger(tmp_path)
    health = AttentionHealth()
    with_it = Growing()
    fit(tmp_path, with_it, [health], logger=logger, num_sanity_val_steps=1)
    logged = RunLog.read(tmp_path / "metrics.csv").scalars
    assert {name: list(logged[name]) for name in NAMES} == dict.fromkeys(NAMES, [2, 4, 6])
    assert health.health == {name: pytest.approx(logged[name][6], rel=1e-4) for name in NAMES}
    without = Growing()
    fit(tmp_path, without, [])
    same = zip(with_it.parameters(), without.parameters(), strict=True)
    assert all((a == b).all() for a, b in same)
    assert not any(each.qkv._forward_hooks for each in attentions(with_it).values())


def test_it_sees_the_averaged_weights(tmp_path):
    """A W_k that doubles at each step has an average far below its last value."""
    found = []
    for callbacks in ([], [EMA(0.9)]):
        health = AttentionHealth()
        fit(tmp_path, Growing(2.0), [*callbacks, health])
        found.append(health.health["health/largest_sum"])
    assert found[1] < 0.8 * found[0]


def test_a_compiled_network_is_measured_too(tmp_path):
    module = Growing()
    module.denoiser.net.compile(backend="eager")
    health = AttentionHealth()
    fit(tmp_path, module, [health])
    plain = AttentionHealth()
    fit(tmp_path, Growing(), [plain])
    assert health.health == {name: pytest.approx(x, rel=1e-3) for name, x in plain.health.items()}


def test_a_compiled_network_is_not_compiled_for_the_measurement(tmp_path):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    counts = []
    for callbacks, batches in (([], 0), ([AttentionHealth()], 1)):
        torch.compiler.reset()
        compiled.clear()
        module = Growing()
        module.denoiser.net.compile(backend=backend)
        fit(tmp_path, module, callbacks, steps=3, limit_val_batches=batches)
        counts.append(len(compiled))
    assert counts[0] == counts[1] > 0


def test_the_warning_comes_once_and_again_in_another_run(tmp_path, caplog):
    health = AttentionHealth()
    module = Growing(1e3)
    fit(tmp_path, module, [health])
    (line,) = [line for line in caplog.messages if "headroom" in line]
    assert "step 2:" in line and "qk_norm" in line and len(line) <= 200
    resumed = AttentionHealth()
    resumed.load_state_dict(health.state_dict())
    caplog.clear()
    fit(tmp_path, Growing(1e3), [health])
    assert sum("headroom" in line for line in caplog.messages) == 1


def test_the_warning_follows_the_worst_of_all_ranks(caplog):
    health = AttentionHealth()
    health.health = {HEADROOM: 50.0}  # of this rank
    trainer = SimpleNamespace(callback_metrics={HEADROOM: torch.tensor(1.5)}, global_step=4)
    for _ in range(2):
        health.on_validation_end(trainer, Plain())
    (line,) = caplog.messages
    assert "ends at 1.5 times" in line and health.state_dict() == {"has_warned": True}


def test_a_healthy_run_has_no_warning(tmp_path, caplog):
    fit(tmp_path, Growing(), [AttentionHealth()])
    assert not any("headroom" in line for line in caplog.messages)


def test_the_report_of_a_divergence_has_the_latest_values(tmp_path):
    class Spoilt(Growing):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * torch.nan if self.global_step == 5 else loss

    health = AttentionHealth()
    with pytest.raises(DivergenceError):
        fit(tmp_path, Spoilt(), [health, DivergenceGuard()])
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["health"] == health.health and set(report["health"]) == NAMES


def test_the_knee_knows_the_headroom(tmp_path):
    knee = KneePointCallback({"val/psnr_y": "max"})
    health = AttentionHealth()
    fit(tmp_path, Growing(), [health, knee])
    found = [validation.headroom for validation in knee.history]
    assert len(found) == 3 and found[-1] == pytest.approx(health.health[HEADROOM], rel=1e-5)
    alone = KneePointCallback({"val/psnr_y": "max"})
    fit(tmp_path / "alone", Growing(), [alone])
    assert [validation.headroom for validation in alone.history] == [None] * 3


def test_another_module_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a LinearSRModule, not Plain"):
        fit(tmp_path, Plain(), [AttentionHealth()])
