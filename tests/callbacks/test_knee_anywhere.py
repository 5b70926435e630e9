"""KneePointCallback with plain modules, other callbacks, and metrics that come and go."""

import json
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors import safe_open
from safetensors.torch import load_file
from support.scripted import METRICS, Scripted, curve, fit

from callbacks import KneePointCallback
from lsr.knee.folder import read_manifest


class Plain(L.LightningModule):
    """A module that knows nothing of LinearSR, with tied weights and a buffer."""

    def __init__(self, manual=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(2, 2)
        self.tied = self.net
        self.register_buffer("count", torch.tensor(0))
        self.automatic_optimization = not manual
        self.judged = {}

    def training_step(self, batch, batch_idx):
        self.count += 1
        loss = self.net(batch).square().mean()
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def validation_step(self, batch, batch_idx):
        self.judged[self.global_step] = {k: v.clone() for k, v in self.state_dict().items()}
        self.log_dict(curve(self.global_step))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-2)


def trainer_with(folder, *callbacks, **options):
    settings = {"logger": False, "max_epochs": 60} | options
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def data():
    return torch.utils.data.DataLoader(torch.ones(1, 2))


@pytest.mark.parametrize("manual", [False, True])
def test_the_seed_of_a_plain_module_is_the_state_dict_that_validation_judged(tmp_path, manual):
    module = Plain(manual)
    knee = KneePointCallback(METRICS)
    trainer_with(tmp_path, knee).fit(module, data(), data())
    manifest = read_manifest(tmp_path / "knee")
    seed = load_file(knee.best_model_path)
    judged = module.judged[manifest["step"]]
    assert seed.keys() == judged.keys() and all(torch.equal(seed[k], judged[k]) for k in seed)
    Plain().load_state_dict(seed)


def test_a_plain_module_may_choose_what_is_exported(tmp_path):
    class Chooses(Plain):
        def exported(self):
            return {"only": self.net.weight}, {"width": 2}

    knee = KneePointCallback(METRICS)
    trainer_with(tmp_path, knee).fit(Chooses(), data(), data())
    with safe_open(knee.best_model_path, "pt") as file:
        assert list(file.keys()) == ["only"]
        assert file.metadata() == {"model_config": '{"width": 2}'}


@pytest.mark.parametrize("logger", [CSVLogger, TensorBoardLogger])
def test_by_default_every_run_of_a_plain_module_has_a_knee_in_its_log_folder(tmp_path, logger):
    for version in range(2):
        knee = KneePointCallback(METRICS)
        trainer_with(tmp_path, knee, logger=logger(tmp_path)).fit(Plain(), data(), data())
        folder = tmp_path / "lightning_logs" / f"version_{version}"
        assert read_manifest(folder / "knee")["step"] == knee.verdict.knee_step
    assert not (tmp_path / "knee").exists() and not (tmp_path / "checkpoints").exists()


def test_the_checkpoints_of_the_trainer_stay_what_they_would_be(tmp_path):
    found = {}
    for name, knees in (("with", [KneePointCallback(METRICS, stop=False)]), ("without", [])):
        trainer = trainer_with(tmp_path / name, *knees, max_epochs=25)
        trainer.fit(Plain(), data(), data())
        assert type(trainer.checkpoint_callback) is ModelCheckpoint
        best = trainer.checkpoint_callback.best_model_path
        trainer.validate(Plain(), data(), ckpt_path="best", verbose=False)
        found[name] = (
            best.removeprefix(str(tmp_path / name)),
            torch.load(best, weights_only=True)["state_dict"],
        )
    assert found["with"][0] == found["without"][0]
    assert all(torch.equal(found["with"][1][k], v) for k, v in found["without"][1].items())


def test_users_own_checkpoints_and_early_stopping_work_next_to_the_knee(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="val/a", mode="max")
    patience = EarlyStopping("val/a", mode="max", patience=1)
    trainer = trainer_with(tmp_path, KneePointCallback(METRICS), best, patience)
    trainer.fit(Plain(), data(), data())
    assert patience.stopped_epoch and trainer.checkpoint_callback is best
    assert trainer.global_step == patience.stopped_epoch + 1


def test_a_resumed_run_in_another_log_folder_takes_its_candidates_along(tmp_path):
    whole = KneePointCallback(METRICS)
    trainer_with(tmp_path, whole, logger=CSVLogger(tmp_path, "whole")).fit(Plain(), data(), data())
    part = KneePointCallback(METRICS)
    first = trainer_with(tmp_path, part, logger=CSVLogger(tmp_path, "part"), max_epochs=13)
    first.fit(Plain(), data(), data())
    again = KneePointCallback(METRICS)
    second = trainer_with(tmp_path, again, logger=CSVLogger(tmp_path, "part"))
    second.fit(Plain(), data(), data(), ckpt_path=first.checkpoint_callback.best_model_path)
    one, two = (read_manifest(tmp_path / n / "knee") for n in ("whole/version_0", "part/version_1"))
    assert one.pop("run") != two.pop("run") and one == two


def test_two_knees_in_one_trainer_have_names_of_their_own(tmp_path):
    knees = [KneePointCallback({"val/a": "max"}, stop=False, dirpath=str(tmp_path / "here"))]
    knees += [KneePointCallback({"val/b": "min"}, stop=False, name="knee_of_b")]
    trainer_with(tmp_path, *knees, max_epochs=40).fit(Plain(), data(), data())
    for knee, folder in zip(knees, ("here/knee", "knee_of_b"), strict=True):
        assert read_manifest(tmp_path / folder)["step"] == knee.verdict.knee_step
    with pytest.raises(RuntimeError, match="more than one stateful callback"):
        trainer_with(tmp_path, KneePointCallback(METRICS), KneePointCallback(METRICS))
    with pytest.raises(ValueError, match="must be that of a folder"):
        KneePointCallback(METRICS, name="a/b")


def test_a_callback_that_watches_a_second_project_begins_anew(tmp_path):
    knee = KneePointCallback(METRICS)
    seen = []
    for project in ("one", "two"):
        trainer_with(tmp_path / project, knee).fit(Plain(), data(), data())
        seen.append((knee.verdict, [v.step for v in knee.history]))
        assert (tmp_path / project / "knee").is_dir()
    assert seen[0] == seen[1]


def test_a_knee_whose_run_broke_before_it_was_published_is_not_published_by_another(tmp_path):
    class Breaks(L.Callback):
        def on_validation_end(self, trainer, pl_module):
            if knee.verdict and knee.verdict.knee_step:
                raise OSError

    knee = KneePointCallback(METRICS)
    with pytest.raises(OSError):
        fit(tmp_path / "first", Scripted(), knee=knee, callbacks=lambda *both: [*both, Breaks()])
    fit(tmp_path / "second", Scripted(), steps=3, knee=knee)
    assert knee.best_model_path == "" and not list(tmp_path.rglob("knee.json"))


def test_only_metrics_of_this_validation_count(tmp_path):
    def sometimes(step, rank):
        values = curve(step, rank)
        return values if step % 3 == 1 or step == 0 else {"val/b": values["val/b"]}

    knee, _ = fit(tmp_path, Scripted(sometimes), steps=12)
    assert [v.step for v in knee.history if "val/a" in v.values] == [1, 4, 7, 10]
    assert all("val/b" in v.values and v.loss is not None for v in knee.history)


def test_a_resumed_knee_does_not_clear_the_stop_of_another_callback(tmp_path):
    class StopsAtOnce(L.Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.should_stop = True

    knee, trainer = fit(tmp_path, Scripted(), steps=30, knee=KneePointCallback(METRICS, stop=False))
    _, resumed = fit(
        tmp_path,
        Scripted(),
        knee=KneePointCallback(METRICS, stop=False),
        callbacks=lambda knee, checkpoint: [StopsAtOnce(), knee, checkpoint],
        ckpt_path=tmp_path / "checkpoints" / "30.ckpt",
    )
    assert knee.verdict.knee_step is not None and resumed.global_step == 30


def test_a_confirmation_does_not_clear_the_stop_of_another_callback(tmp_path):
    _, whole = fit(tmp_path / "whole", Scripted())

    class StopsThen(L.Callback):
        def on_validation_end(self, trainer, pl_module):
            if trainer.global_step == whole.global_step:
                trainer.should_stop = True

    knee, trainer = fit(
        tmp_path / "other",
        Scripted(),
        knee=KneePointCallback(METRICS, stop=False),
        callbacks=lambda knee, checkpoint: [StopsThen(), knee],
    )
    assert trainer.global_step == knee.verdict.confirmed_at_step == whole.global_step


def test_after_the_confirmation_no_weights_are_copied(tmp_path):
    class Counts(Scripted):
        def exported(self):
            self.exports = getattr(self, "exports", 0) + 1
            return super().exported()

    module = Counts()
    knee, _ = fit(tmp_path, module, steps=30, knee=KneePointCallback(METRICS, stop=False))
    assert module.exports == knee.verdict.confirmed_at_step < 30


@pytest.mark.parametrize("where", [{"dirpath": "here"}, {}])
def test_a_change_of_the_working_folder_does_not_scatter_the_files(tmp_path, monkeypatch, where):
    class Moves(Plain):
        def on_train_epoch_start(self):
            (tmp_path / "elsewhere").mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / "elsewhere")

    monkeypatch.chdir(tmp_path)
    knee = KneePointCallback(METRICS, **where)
    trainer_with("here", knee, enable_checkpointing=False).fit(Moves(), data(), data())
    assert knee.best_model_path == str(tmp_path / "here" / "knee" / "seed.safetensors")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_folder_may_begin_with_the_home_folder_but_must_be_local(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    knee = KneePointCallback(METRICS, dirpath="~/here")
    trainer_with(tmp_path, knee, fast_dev_run=True).fit(Plain(), data(), data())
    assert knee._files.root == tmp_path / "here"
    knee = KneePointCallback(METRICS, dirpath="s3://bucket/run")
    with pytest.raises(ValueError, match="cannot be written to s3://bucket/run: set dirpath"):
        trainer_with(tmp_path, knee, fast_dev_run=True).fit(Plain(), data(), data())


def test_a_module_may_log_nothing_in_the_sanity_check(tmp_path):
    class OnlyInFull(Plain):
        def validation_step(self, batch, batch_idx):
            if not self.trainer.sanity_checking:
                super().validation_step(batch, batch_idx)

    knee = KneePointCallback(METRICS)
    trainer_with(tmp_path, knee, max_epochs=2).fit(OnlyInFull(), data(), data())
    assert [v.step for v in knee.history] == [1, 2]


def test_the_manifest_is_json_although_a_metric_is_infinite_at_the_knee(tmp_path):
    class Infinite(Plain):
        def validation_step(self, batch, batch_idx):
            values = curve(self.global_step)
            even = self.global_step % 2 == 0
            self.log_dict(values | {"val/b": math.inf if even else values["val/b"]})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    knee = KneePointCallback(METRICS)
    trainer_with(tmp_path, knee, check_val_every_n_epoch=2).fit(Infinite(), data(), data())
    text = (tmp_path / "knee" / "knee.json").read_text()
    assert json.loads(text, parse_constant=refuse)["metrics"].keys() == {"val/a"}
