"""EMA with manual optimisation, weights that are unfrozen during training, and several runs."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from support.plain_module import Plain, fit, loader

from callbacks import EMA, DivergenceGuard, LastCheckpoint


class ZeroesAfterTheStep(Plain):
    """Two optimisers, whose gradients are gone at the end of the batch."""

    def __init__(self) -> None:
        super().__init__(manual=True)
        self.judge = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            loss = self.judge(self.net(batch["x"])).square().mean()
            self.manual_backward(loss)
            optimizer.step()
            self.zero_grad()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), 1e-2) for part in (self.net, self.judge)]


def test_gradients_may_be_gone_at_the_end_of_the_batch(tmp_path):
    module = ZeroesAfterTheStep()
    ema = EMA(0.5)
    fit(tmp_path, module, ema, steps=16)
    assert ema.state_dict() == {"updates": 8}
    first = dict(ZeroesAfterTheStep().named_parameters())
    for name in ("net.2.weight", "judge.weight"):
        weight = module.get_parameter(name)
        assert not torch.equal(ema._average[name], first[name])
        assert (ema._average[name] - weight).abs().max() < (first[name] - weight).abs().max() / 2


class Unfreezes(BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.net[0])

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.net[0], optimizer, lr=1e-2)


class Finetuned(Plain):
    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 1e-2)


@pytest.mark.parametrize("first", [True, False])
def test_weights_may_become_trainable_during_the_run(tmp_path, first):
    module = Finetuned()
    ema = EMA(0.5)
    fit(tmp_path, module, *((Unfreezes(), ema) if first else (ema, Unfreezes())), steps=24)
    updates = ema.state_dict()["updates"]
    assert updates["net.2.weight"] == 24 and updates["net.0.weight"] == 15  # from step 9 on
    assert ema._average.keys() == dict(module.named_parameters()).keys()


def test_an_object_begins_anew_in_a_second_run(tmp_path):
    ends = []
    ema, guard = EMA(0.9), DivergenceGuard()
    for run in range(2):
        module = Plain()
        module.net[0].weight.data += 10 * run
        fit(tmp_path / str(run), module, ema, guard, steps=3)
        ends.append((ema.state_dict(), len(guard.recent_steps), guard.state_dict()["norms"]))
        assert torch.allclose(ema._average["net.0.weight"], module.net[0].weight, atol=0.5)
    assert ends[0][:2] == ends[1][:2] == ({"updates": 3}, 3)
    assert all(len(norms[0]) == 3 for *_, norms in ends)


def test_a_validated_checkpoint_leaves_nothing_to_a_new_run(tmp_path):
    guard = DivergenceGuard()
    trainer = fit(tmp_path, Plain(), EMA(0.9), guard, LastCheckpoint(str(tmp_path)), steps=5)
    path = str(tmp_path / "last.ckpt")
    ema, other = EMA(0.9), DivergenceGuard()
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=1,
        accelerator="cpu",
        callbacks=[ema, other],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(Plain(), loader(), ckpt_path=path, verbose=False)
    trainer.validate(Plain(), loader(), ckpt_path=path, verbose=False)
    assert other.state_dict() == guard.state_dict(), "restored in place of the first, not added"
    trainer.fit(Plain(), loader())
    assert ema.state_dict() == {"updates": 1} and len(other.state_dict()["norms"][0]) == 1


class SavesInValidation(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.shared = self.net[0]

    def validation_step(self, batch, batch_idx):
        self.trainer.save_checkpoint(self.trainer.default_root_dir + "/within.ckpt")

    val_dataloader = staticmethod(loader)


def test_a_shared_weight_is_raw_under_both_names_in_a_checkpoint_of_validation(tmp_path):
    module = SavesInValidation()
    fit(str(tmp_path), module, EMA(0.5), limit_val_batches=1)
    saved = torch.load(tmp_path / "within.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["net.0.weight"], module.net[0].weight)
    assert torch.equal(saved["shared.weight"], module.net[0].weight)
