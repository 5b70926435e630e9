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


def test_a_run_shows_figures_verdict_and_pictures_to_all(tmp_path):
    class Upscales(Scripted):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            return batch["hr"]

    loggers = [FakeWandb(), FakeMLflow()]
    knee = KneePointCallback(METRICS)
    fit(
        tmp_path,
        Upscales(),
        steps=4,
        knee=knee,
        logger=loggers,
        callbacks=lambda knee, checkpoint: [ImageGrid(2), checkpoint, knee],
    )
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


def test_the_real_mlflow_takes_picture_and_text(tmp_path):
    pytest.importorskip("mlflow")
    logger = MLFlowLogger(
        tracking_uri=f"sqlite:///{tmp_path}/runs.db",
        artifact_location=f"file://{tmp_path}/artifacts",
    )
    show(trainer_of(logger))
    assert list(tmp_path.rglob("images/a~b+step+7*.png"))
    text = next(tmp_path.rglob("a/words.txt")).read_text()
    assert text == "step 7: why\n"
