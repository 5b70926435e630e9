"""The suite training of `lsr bench`: figures that a count or a smaller run can check."""

import csv
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lsr.bench import training as bench_training
from lsr.bench.flops import forward_flops
from lsr.bench.training import Workload, bytes_per_token, saved_bytes, time_step
from lsr.cli import main
from lsr.nn.dit import LinearDiT

CPU = torch.device("cpu")
SMALL = Workload(
    "small",
    width=64,
    depth=3,
    channels=6,
    side=6,
    batch=2,
    context=5,
    cross_heads=2,
    context_dim=12,
)


@pytest.mark.parametrize("context", [0, 5])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_formula_counts_what_torch_counts(context, qk_norm, generator):
    net = LinearDiT(7, 5, 64, 3, 16, 2, 2.5, 12 if context else 0, qk_norm)
    x, t = torch.randn(2, 7, 6, 8, generator=generator), torch.rand(2, generator=generator)
    words = torch.randn(2, context, 12, generator=generator) if context else None
    # torch does not count its fused softmax attention on a CPU
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(x, t, words)
    assert forward_flops(net, 2, 48, context) == counter.get_total_flops()


def test_a_saved_storage_counts_once_and_weights_do_not_count(generator):
    layer = torch.nn.Linear(8, 8, bias=False)
    x = torch.randn(4, 8, generator=generator, requires_grad=True)

    def loss():
        y = layer(x)  # keeps x and the weight
        return (y.view(2, 16) * y.view(16, 2).T).sum()  # keeps y, twice

    assert saved_bytes(layer, loss) == x.nbytes + 4 * 8 * 4


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_blocks_predict_the_memory_of_three(checkpointing, dtype):
    work = replace(SMALL, checkpointing=checkpointing)
    net = work.build(CPU)

    def kept(side):
        large = replace(work, side=side, batch=1)
        return saved_bytes(net, lambda: large.loss(net, large.draw(CPU), dtype))

    assert bytes_per_token(work, CPU, dtype) == (kept(10) - kept(6)) / (10**2 - 6**2)


def test_checkpointing_keeps_a_fraction():
    plain, checkpointed = (
        bytes_per_token(replace(SMALL, checkpointing=c), CPU, torch.float32) for c in (False, True)
    )
    assert 4 * 64 * SMALL.depth < checkpointed < plain / 8


def test_a_step_is_its_parts_and_trains(monkeypatch):
    step = time_step(SMALL, CPU, torch.float32, 0.0)
    assert min(step.forward, step.backward, step.optimiser) > 0 and step.peak_bytes is None
    assert step.seconds == step.forward + step.backward + step.optimiser


def test_the_table_times_what_fits_and_counts_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(
        bench_training,
        "workloads",
        lambda large: [(SMALL, True), (replace(SMALL, name="large"), False)],
    )
    command = ["bench", "training", "--out", str(tmp_path), "--seconds", "0", "--device", "cpu"]
    assert main(command) == 0
    rows = list(csv.DictReader((tmp_path / "training.csv").open()))
    assert [(row["transformer"], row["checkpointing"]) for row in rows] == [
        (n, c) for n in ("small", "large") for c in ("no", "yes")
    ]
    timed, counted = rows[0], rows[2]
    assert float(timed["images/s"]) > 0
    assert timed["peak MiB"] == counted["images/s"] == counted["MFU %"] == ""
    assert timed["KiB/token kept"] == counted["KiB/token kept"]
    assert float(rows[1]["KiB/token kept"]) < float(timed["KiB/token kept"])


def test_the_named_sizes_are_those_of_sana():
    for work, _ in bench_training.workloads(large=False)[2:]:
        with torch.device("meta"):
            net = work.build(torch.device("meta"))
        millions = sum(p.numel() for p in net.parameters()) / 1e6
        published = {"sana-0.6b": 591.7, "sana-1.6b": 1604.5}
        assert millions == pytest.approx(published[work.name], abs=0.1)
