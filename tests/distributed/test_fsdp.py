"""Training with weights that are sharded over two ranks equals training with full weights."""

import csv
import json
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from support.knee_folder import publish_knee
from support.patience import PATIENCE_S
from support.processes import SUPPORT, TINY_STAGE1, environment
from support.stage2_run import Stage2, fit
from support.tiny import SyntheticPairs
from torch.utils.data import DataLoader, Subset

from lsr.distributed.fsdp import ShardedStrategy, check_strategy
from lsr.knee.folder import SEED, read_manifest
from lsr.models.checkpoint import EMA_STATE, read_model
from lsr.training.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    knee = publish_knee(folder / "stage1")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        SUPPORT / "sharded_run.py",
        folder,
        knee,
    ]
    done = subprocess.run(
        list(map(str, command)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return folder


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_alike(checkpoint, other, atol):
    for part in ("state_dict", EMA_STATE, "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(checkpoint[part], other[part], rtol=0, atol=atol)


def test_every_step_is_that_of_whole_weights_on_all_ranks(runs):
    sharded, other_rank, whole = (
        torch.load(runs / name, weights_only=True)
        for name in ("sharded/rank0.pt", "sharded/rank1.pt", "ddp/rank0.pt")
    )
    torch.testing.assert_close(sharded, other_rank, rtol=0, atol=0)
    torch.testing.assert_close(sharded, whole, rtol=0, atol=1e-6)
    assert_alike(last(runs / "sharded"), last(runs / "ddp"), 1e-6)


def test_losses_and_gradient_norms_are_those_of_whole_weights(runs):
    sharded, whole = (
        list(csv.DictReader((runs / name / "metrics.csv").open())) for name in ("sharded", "ddp")
    )
    assert len(whole) >= 6 and len(sharded) == len(whole)
    for row, expected in zip(sharded, whole, strict=True):
        known = {name: float(value) for name, value in expected.items() if value}
        assert {name: float(value) for name, value in row.items() if value} == pytest.approx(
            known, rel=1e-5, abs=1e-6
        )


def test_a_resumed_run_is_the_unbroken_one(runs):
    assert_alike(last(runs / "sharded-sharded"), last(runs / "sharded"), 0)


@pytest.mark.parametrize("run", ["sharded-ddp", "ddp-sharded"])
def test_whole_and_sharded_weights_continue_each_other(runs, run):
    assert_alike(last(runs / run), last(runs / "ddp"), 1e-6)


class BothShares(Stage2):
    """Trains on the samples of both ranks in one process."""

    def train_dataloader(self):
        return DataLoader(Subset(SyntheticPairs(), range(4)), batch_size=4)


def test_one_device_continues_what_two_began(runs, tmp_path):
    fit(tmp_path, BothShares(str(runs / "stage1" / "knee")), 6, runs / "sharded" / "step4.ckpt")
    # A batch of four is summed in another order than two batches of two.
    assert_alike(last(tmp_path), last(runs / "ddp"), 1e-5)


def test_the_knee_is_published_whole(runs):
    knees = [runs / f"stage1-{strategy}" / "knee" for strategy in ("sharded", "ddp")]
    sharded, whole = (read_model(knee / SEED) for knee in knees)
    assert read_manifest(knees[0])["step"] == read_manifest(knees[1])["step"]
    assert sharded.config == whole.config
    torch.testing.assert_close(sharded.weights, whole.weights, rtol=0, atol=1e-6)


def test_all_ranks_see_what_one_has(runs):
    outcomes, of_other_rank = (
        json.loads((runs / f"outcomes{rank}.json").read_text()) for rank in range(2)
    )
    assert outcomes == of_other_rank
    part, shares = outcomes
    assert "diverged at step 2: the weights are not finite" in part
    assert json.loads((runs / "NanInOnePart" / "divergence.json").read_text())[
        "non_finite_weights"
    ] == ["denoiser.experts.2.net.embed.weight"]
    assert "the same number of validation images" in shares


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_other_ways_of_sharding_are_refused(strategy):
    with pytest.raises(ValueError, match="--trainer.strategy sharded"):
        check_strategy(strategy())


def test_gradients_that_each_rank_scales_for_itself_are_refused():
    strategy = ShardedStrategy()
    strategy.precision_plugin = MixedPrecision("16-mixed", "cpu")
    with pytest.raises(ValueError, match="bf16-mixed"):
        check_strategy(strategy)


@pytest.mark.parametrize("strategy", [ShardedStrategy, DDPStrategy])
def test_these_are_not(strategy):
    check_strategy(strategy())


def test_evaluation_does_not_shard(tmp_path):
    experiment = str(TINY_STAGE1)
    command = [
        "validate",
        "--config",
        experiment,
        "--trainer.default_root_dir",
        str(tmp_path),
        "--trainer.strategy",
        "sharded",
    ]
    with pytest.raises(ValueError, match="validate cannot shard weights"):
        main([*command, "--ckpt_path", "last", "--trainer.accelerator", "cpu"])
