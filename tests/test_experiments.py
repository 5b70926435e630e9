"""Every experiment file parses and builds what it names."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from support.processes import ROOT

from lsr.experts.config import ExpertsConfig
from lsr.flow.timesteps import timestep_grid
from lsr.models.initialisation import initialise
from lsr.models.sizes import named_size
from lsr.student.start import start_file
from lsr.training.cli import LinearSRCLI
from lsr.training.module import LinearSRModule
from lsr.training.student import StudentModule

EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
TINY = ROOT / "experiments" / "tiny" / "stage1.yaml"
SMALL_ONE = ["--model.denoiser.depth", "1", "--model.denoiser.width", "64"]
SMALL_ONE += ["--model.denoiser.cross_heads", "2"]
"""Options of a narrow network of one block, which fits where the full size does not."""


@pytest.mark.parametrize(
    "path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT / "experiments"))
)
def test_parses_and_builds(path):
    # One narrow block, so that the full size fits four times; its weights are the user's.
    sizes = {"depth": "1", "width": "64", "cross_heads": "2"}
    small = [
        part for name, value in sizes.items() for part in (f"--model.denoiser.{name}", value)
    ] + ["--model.init_from", "null"]
    denoiser = yaml.safe_load(path.read_text())["model"]["denoiser"]
    if (
        denoiser.get("guidance") == "tags" and "vocabulary" not in denoiser
    ):  # it comes with the user's photographs
        small += ["--model.denoiser.vocabulary", "[sky]"]
    cli = LinearSRCLI(["--config", str(path), "--trainer.max_steps", "7", *small], run=False)
    assert isinstance(cli.model, LinearSRModule)
    assert cli.trainer.max_steps == 7, "the command line wins"
    cli.model.configure_optimizers()


def test_there_are_experiments():
    assert TINY in EXPERIMENTS


def test_the_full_size_experiment_describes_a_named_size():
    cli = LinearSRCLI(
        [
            "--config",
            str(ROOT / "experiments/linearsr/stage1.yaml"),
            "--model.init_from",
            "null",
            "--model.denoiser.depth",
            "1",
        ],
        run=False,
    )
    assert cli.model.denoiser.config == named_size(
        "sana-1.6b", depth=1, guidance="text", guidance_encoder="weights/sana"
    )


def test_stage_2_at_the_full_size_goes_on_with_the_model_of_stage_1():
    one, two = (
        yaml.safe_load((ROOT / "experiments" / "linearsr" / f"stage{n}.yaml").read_text())
        for n in (1, 2)
    )
    for key in ("denoiser", "shift", "val_metrics"):
        assert one["model"][key] == two["model"][key]
    assert two["model"]["experts"]["seed"] == one["trainer"]["default_root_dir"] + "/knee"
    assert one["data"]["init_args"] | {"seed": 1} == two["data"]["init_args"], (
        "other samples, the same validation"
    )


def test_the_run_folder_is_one_setting():
    cli = LinearSRCLI(["--config", str(TINY), "--trainer.default_root_dir", "elsewhere"], run=False)
    assert {logger.save_dir for logger in cli.trainer.loggers} == {"elsewhere"}
    checkpoint = next(
        callback for callback in cli.trainer.callbacks if isinstance(callback, ModelCheckpoint)
    )
    assert str(checkpoint.dirpath).endswith("elsewhere/checkpoints")


def test_command_line_beats_file():
    cli = LinearSRCLI(
        ["--config", str(TINY), "--model.denoiser.width", "96", "--data.init_args.batch_size", "3"],
        run=False,
    )
    assert cli.model.denoiser.config.width == 96 and cli.datamodule.batch_size == 3


STAGE_2 = [path for path in EXPERIMENTS if yaml.safe_load(path.read_text())["model"].get("experts")]


@pytest.mark.parametrize(
    "path", STAGE_2, ids=lambda path: str(path.relative_to(ROOT / "experiments"))
)
def test_stage_2_goes_on_with_the_model_of_stage_1(path):
    two = yaml.safe_load(path.read_text())["model"]
    one = yaml.safe_load(
        (ROOT / "experiments" / Path(two["experts"]["seed"]).relative_to("runs").parent)
        .with_suffix(".yaml")
        .read_text()
    )
    assert two["denoiser"] == one["model"]["denoiser"] and two["shift"] == one["model"]["shift"]


STAGE_3 = [
    path
    for path in EXPERIMENTS
    if path.name == "stage3.yaml" and path.with_name("stage1.yaml").exists()
]


@pytest.mark.parametrize("path", STAGE_3, ids=lambda path: path.parent.name)
def test_stage_3_goes_on_with_the_model_of_stage_1(path):
    three = yaml.safe_load(path.read_text())
    one = yaml.safe_load(path.with_name("stage1.yaml").read_text())
    for key in ("denoiser", "shift", "val_metrics"):
        assert one["model"][key] == three["model"][key]
    assert three["model"]["init_from"] == one["trainer"]["default_root_dir"] + "/knee"
    assert isinstance(
        LinearSRCLI(["--config", str(path)] + SMALL_ONE, run=False).model, StudentModule
    )


def test_the_embedded_model_is_trained_from_itself():
    """The file describes the very model that comes with the package."""
    path = ROOT / "experiments" / "embedded" / "stage3.yaml"
    model = LinearSRCLI(["--config", str(path)], run=False).model
    assert isinstance(model, StudentModule)
    initialise(model.student, start_file("perceptual"))
    initialise(model.student, start_file("faithful"))


def test_the_ablation_of_experts_changes_the_experts_alone():
    folder = ROOT / "experiments" / "ablations" / "experts"
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    meetings = {
        name: ExpertsConfig(**config["model"].pop("experts")).times()
        for name, config in configs.items()
    }
    assert {name: len(times) + 1 for name, times in meetings.items()} == {
        "single": 1, "two": 2, "four_uniform": 4, "four_published": 4, "four_bisected": 4
    }  # fmt: skip
    assert len(set(meetings.values())) == 5
    for config in configs.values():
        config["trainer"].pop("default_root_dir")
    assert all(config == configs["two"] for config in configs.values())


def test_tiny_stage_2_asks_the_experts_that_its_file_says():
    model = LinearSRCLI(["--config", str(TINY.with_name("stage2.yaml"))], run=False).model
    asked = {
        steps: model.denoiser.route(timestep_grid(steps, model.shift)[:-1]).unique().tolist()
        for steps in (1, 5)
    }
    assert model.num_inference_steps == 1 and asked == {1: [3], 5: [1, 2, 3]}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_health_and_guard_are_listed_and_the_guard_before_the_knee(path):
    callbacks = yaml.safe_load(path.read_text())["trainer"]["callbacks"]
    names = [each["class_path"] for each in callbacks]
    assert names.count("callbacks.DivergenceGuard") == 1
    # not in stage 3, whose one-step student has no flow matching loss
    assert names.count("callbacks.AttentionHealth") == (path.stem != "stage3")
    if "callbacks.KneePointCallback" in names:
        guard = names.index("callbacks.DivergenceGuard")
        assert names.index("callbacks.KneePointCallback") == guard + 1
