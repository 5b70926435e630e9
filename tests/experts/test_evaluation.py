"""Evaluation of checkpoints of one expert, and of all, with and without `experts.expert`."""

import lightning as L
import pytest
import torch
from support.knee_folder import publish_knee
from support.stage2_run import Stage2, fit

from callbacks import EMA
from lsr.experts.config import ExpertsConfig
from lsr.models.checkpoint import EMA_STATE
from lsr.training.checkpoint_io import AtomicCheckpointIO


class Seen(Stage2):
    """Remembers the weights that a validation judges."""

    judged: dict[str, torch.Tensor]

    def __init__(self, knee: str, expert: int | None = None) -> None:
        super().__init__(knee, experts=ExpertsConfig(knee, expert=expert))

    def validation_step(self, batch, batch_idx):
        self.judged = {name: p.detach().clone() for name, p in self.named_parameters()}


@pytest.fixture(scope="module")
def knee(tmp_path_factory):
    return str(publish_knee(tmp_path_factory.mktemp("stage1")))


@pytest.fixture(scope="module")
def trained(knee, tmp_path_factory):
    def checkpoint(expert):
        folder = tmp_path_factory.mktemp("run")
        fit(folder, Seen(knee, expert), 8)
        return folder / "checkpoints" / "last.ckpt"

    return {expert: checkpoint(expert) for expert in (None, 2)}


def validate(module, path):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[EMA(0.9)],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(module, ckpt_path=path, verbose=False)
    return module.judged


@pytest.mark.parametrize("expert", [None, 1])
def test_a_checkpoint_of_one_expert_is_not_taken_for_another(trained, knee, expert):
    with pytest.raises(ValueError, match="of expert 2 alone: evaluate it with .*expert 2, or join"):
        validate(Seen(knee, expert), trained[2])


@pytest.mark.parametrize(("run", "expert"), [(None, None), (None, 2), (2, 2)])
def test_all_experts_are_judged_by_their_averages(trained, knee, run, expert):
    checkpoint = torch.load(trained[run], weights_only=True)
    wanted = checkpoint["state_dict"] | checkpoint[EMA_STATE]
    moved = [
        n for n, w in checkpoint[EMA_STATE].items() if not w.equal(checkpoint["state_dict"][n])
    ]
    assert {name.split(".")[2] for name in moved} == (set("0123") if run is None else {"2"})
    judged = validate(Seen(knee, expert), trained[run])
    assert all(torch.equal(weight, wanted[name]) for name, weight in judged.items())
