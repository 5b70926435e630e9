"""Every experiment file parses and builds what it names."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from lsr.flow.timesteps import timestep_grid
from lsr.module import LinearSRModule
from lsr.sizes import named_size
from lsr.training import LinearSRCLI

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
TINY = ROOT / "experiments" / "tiny" / "stage1.yaml"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT / "experiments")))
def test_parses_and_builds(path):
    # One narrow block, so that the full size fits four times; its weights are the user's.
    sizes = {"depth": "1", "width": "64", "cross_heads": "2"}
    small = [part for name, value in sizes.items() for part in (f"--model.denoiser.{name}", value)] + ["--model.init_from", "null"]
    cli = LinearSRCLI(["--config", str(path), "--trainer.max_steps", "7", *small], run=False)
    assert isinstance(cli.model, LinearSRModule)
    assert cli.trainer.max_steps == 7, "the command line wins"
    cli.model.configure_optimizers()


def test_there_are_experiments():
    assert TINY in EXPERIMENTS


def test_the_full_size_experiment_describes_a_named_size():
    cli = LinearSRCLI(
        ["--config", str(ROOT / "experiments/linearsr/stage1.yaml"), "--model.init_from", "null", "--model.denoiser.depth", "1"], run=False
    )
    assert cli.model.denoiser.config == named_size("sana-1.6b", depth=1, guidance="text", guidance_encoder="weights/sana")


def test_stage_2_at_the_full_size_goes_on_with_the_model_of_stage_1():
    one, two = (yaml.safe_load((ROOT / "experiments" / "linearsr" / f"stage{n}.yaml").read_text()) for n in (1, 2))
    for key in ("denoiser", "shift", "val_metrics"):
        assert one["model"][key] == two["model"][key]
    assert two["model"]["experts"]["seed"] == one["trainer"]["default_root_dir"] + "/knee"
    assert one["data"]["init_args"] | {"batch_size": 2} == two["data"]["init_args"], "the validation is that of stage 1"


def test_the_run_folder_is_one_setting():
    cli = LinearSRCLI(["--config", str(TINY), "--trainer.default_root_dir", "elsewhere"], run=False)
    assert {logger.save_dir for logger in cli.trainer.loggers} == {"elsewhere"}
    checkpoint = next(callback for callback in cli.trainer.callbacks if isinstance(callback, ModelCheckpoint))
    assert str(checkpoint.dirpath).endswith("elsewhere/checkpoints")


def test_command_line_beats_file():
    cli = LinearSRCLI(["--config", str(TINY), "--model.denoiser.width", "96", "--data.init_args.batch_size", "3"], run=False)
    assert cli.model.denoiser.config.width == 96 and cli.datamodule.batch_size == 3


def test_stage_2_goes_on_with_the_model_of_stage_1():
    one, two = (LinearSRCLI(["--config", str(path)], run=False).model for path in (TINY, TINY.with_name("stage2.yaml")))
    assert two.denoiser.config == one.denoiser.config and two.shift == one.shift
    visited = two.denoiser.route(timestep_grid(two.num_inference_steps, two.shift)[:-1])
    assert visited.unique().tolist() == [1, 2, 3], "as its header says"
