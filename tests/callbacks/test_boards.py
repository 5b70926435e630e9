"""Pictures and the verdict reach every logger that takes them; none of their packages is needed."""

import inspect

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from support.scripted import METRICS, Scripted, fit

from callbacks import ImageGrid, KneePointCallback
from callbacks.boards import boards, show_picture, show_text

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Numbers(Logger):
    """The part of a logger that Lightning asks for."""

    name, version = "fake", "0"

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list = []
        self.texts: list = []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class FakeWandb(Numbers):
    """Has the methods of `WandbLogger`, with its names of arguments."""

    experiment = object()

    def log_image(self, key, images, step=None, **kwargs):
        assert isinstance(images, list)
        self.pictures += [(key, image, step) for image in images]

    def log_text(self, key, columns=None, data=None, dataframe=None, step=None):
        self.texts.append((key, dict(zip(columns, data[0], strict=True)), step))


class Client:
    """The methods of `mlflow.MlflowClient` that are used."""

    def __init__(self) -> None:
        self.pictures: list = []
        self.texts: list = []

    def log_image(self, run_id, image, artifact_file=None, key=None, step=None):
        assert run_id == "r1" and artifact_file is None
        self.pictures.append((key, image, step))

    def log_text(self, run_id, text, artifact_file):
        assert run_id == "r1"
        self.texts.append((artifact_file, text))


class FakeMLflow(Numbers):
    """Has the attributes of `MLFlowLogger`."""

    run_id = "r1"

    def __init__(self) -> None:
        super().__init__()
        self.experiment = Client()
        self.pictures = self.experiment.pictures
        self.texts = self.experiment.texts


class Broken(FakeWandb):
    """Its server cannot be reached."""

    def log_image(self, key, **kwargs):
        raise ConnectionError("no route to host")

    log_text = log_image


def trainer_of(*loggers):
    return L.Trainer(accelerator="cpu", logger=list(loggers))


def show(trainer):
    show_picture(boards(trainer), "a/b", PIXELS, 7)
    show_text(boards(trainer), "a/words", "why", 7)


def test_fakes_have_the_methods_of_the_real_loggers():
    for name in ("log_image", "log_text"):
        real = inspect.signature(inspect.unwrap(getattr(WandbLogger, name))).parameters
        fake = inspect.signature(getattr(FakeWandb, name)).parameters
        assert list(fake) == list(real)
        assert not hasattr(MLFlowLogger, name)
    assert hasattr(MLFlowLogger, "run_id") and hasattr(MLFlowLogger, "experiment")


def test_each_kind_of_logger_gets_picture_and_text(tmp_path):
    wandb, mlflow = FakeWandb(), FakeMLflow()
    show(trainer_of(wandb, CSVLogger(tmp_path), mlflow, Numbers()))
    for logger in (wandb, mlflow):
        (name, picture, step) = logger.pictures[0]
        assert (name, step) == ("a/b", 7) and np.array_equal(picture, PIXELS)
        assert len(logger.pictures) == len(logger.texts) == 1
    assert wandb.texts == [("a/words", {"step": 7, "text": "why"}, 7)]
    assert mlflow.texts == [("a/words.txt", "step 7: why\n")]


def test_a_logger_that_fails_is_a_warning_and_the_others_get_theirs(caplog):
    wandb = FakeWandb()
    show(trainer_of(Broken(), wandb))
    assert len(wandb.pictures) == len(wandb.texts) == 1
    assert sum("no route to host" in line for line in caplog.messages) == 2


class Upscales(Scripted):
    """Returns pictures from validation, as a module of an experiment does."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        return batch["hr"]


def run_stage1(folder, loggers, steps):
    """Train with the callbacks of stage 1 that show something."""
    knee = KneePointCallback(METRICS)
    fit(
        folder,
        Upscales(),
        steps=steps,
        knee=knee,
        logger=loggers,
        callbacks=lambda knee, checkpoint: [ImageGrid(2), checkpoint, knee],
    )
    return knee


def test_a_run_shows_figures_verdict_and_pictures_to_all(tmp_path):
    loggers = [FakeWandb(), FakeMLflow()]
    knee = run_stage1(tmp_path, loggers, steps=4)
    for logger in loggers:
        names = {name for name, _, _ in logger.pictures}
        assert names == {"val/lr_bicubic_sr_hr", "knee/figure"}
        assert all(p.dtype == np.uint8 and p.shape[2] == 3 for _, p, _ in logger.pictures)
        grids = [step for name, _, step in logger.pictures if name.startswith("val/")]
        assert grids == [1, 2, 3, 4]
        assert len(logger.texts) == 4 and knee.verdict.reason in str(logger.texts[-1])


def test_the_real_wandb_takes_picture_and_text(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    show(trainer_of(logger))
    assert {"a/b", "a/words"} <= set(logger.experiment.summary.keys())
    wandb.finish()
    assert list(tmp_path.rglob("media/images/**/*.png"))


@pytest.mark.parametrize("store", ["sqlite:///{}/runs.db", "file://{}/runs"])
def test_the_real_mlflow_has_curves_pictures_and_the_knee_of_stage_1(store, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for it
    logger = MLFlowLogger(
        tracking_uri=store.format(tmp_path), artifact_location=f"file://{tmp_path}/artifacts"
    )
    knee = run_stage1(tmp_path / "run", [logger], steps=60)

    def curve(name):
        history = logger.experiment.get_metric_history(logger.run_id, name)
        return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]

    assert curve("val/a") == pytest.approx([each.values["val/a"] for each in knee.history])
    assert set(curve("knee/knee_step")) == {knee.verdict.knee_step}
    for name in ("val~lr_bicubic_sr_hr", "knee~figure"):
        assert list(tmp_path.rglob(f"images/{name}+step+{knee.verdict.step}*.png"))
    text = next(tmp_path.rglob("knee/verdict.txt")).read_text()
    assert f"knee at step {knee.verdict.knee_step}" in text
