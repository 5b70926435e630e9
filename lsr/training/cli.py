"""`lsr fit|validate|test|predict`: a thin LightningCLI. What is composed stands in the experiment file alone."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import ArgumentError, Namespace, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.strategies import StrategyRegistry

from lsr.distributed.fsdp import ShardedStrategy, check_strategy
from lsr.exit_codes import DIVERGED, DONE
from lsr.files import atomic_path
from lsr.knee.folder import SEED
from lsr.models.denoiser import DenoiserConfig
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.divergence import DivergenceError
from lsr.training.module import LinearSRModule

StrategyRegistry.register("sharded", ShardedStrategy, "The weights spread over all ranks (FSDP)")


class SaveConfigPerLaunch(SaveConfigCallback):
    """Writes the resolved configuration to `config.yaml`, and the one of every earlier launch stays as `config-<n>.yaml`."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write on rank 0; only training changes a run folder."""
        if stage != "fit":
            return
        target = Path(trainer.default_root_dir) / "config.yaml"
        if target.is_file():
            earlier = len(list(target.parent.glob("config-*.yaml"))) + 1
            target.rename(target.with_name(f"config-{earlier}.yaml"))
        with atomic_path(target) as temporary:
            temporary.write_text(self.parser.dump(self.config, skip_none=False))


class LinearSRCLI(LightningCLI):
    """LightningCLI whose command line always wins, also over the checkpoint that a run continues."""

    def __init__(self, arguments: Sequence[str], run: bool = True) -> None:
        # Interpolations resolve after all files and the command line are merged.
        set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
        super().__init__(
            model_class=LinearSRModule,
            datamodule_class=L.LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=SaveConfigPerLaunch,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "use_distributed_sampler": False
            },  # the DataModules shard by themselves
            seed_everything_default=0,
            parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
            args=list(arguments),
            run=run,
            auto_configure_optimizers=False,
        )

    def init_parser(self, **kwargs: object) -> LightningArgumentParser:
        """Make errors exceptions in the parsers of the subcommands too, so that they become one line."""
        return super().init_parser(**{"parser_mode": "omegaconf+", "exit_on_error": False} | kwargs)

    def _parse_ckpt_path(self) -> None:
        """Do not let hyper-parameters saved in a checkpoint overrule the command line."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Write checkpoints atomically, whatever other plugins the experiment asks for; log nothing but training to its logs."""
        if self.subcommand not in (None, "fit"):
            kwargs["logger"] = False
        plugins = self._get(self.config_init, "trainer")["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        return super().instantiate_trainer(plugins=[*plugins, AtomicCheckpointIO()], **kwargs)

    def _needs_checkpoint(self) -> None:
        """Refuse to score weights that were never trained; "best" is the published knee, known before any callback is asked."""
        if isinstance(self.trainer.strategy, ShardedStrategy):
            raise ValueError(
                f"{self.subcommand} does not shard: leave out --trainer.strategy sharded"
            )
        chosen = self.config_init[str(self.subcommand)]
        if chosen["ckpt_path"] is None:
            raise ValueError(
                f"{self.subcommand} needs a checkpoint: --ckpt_path last, --ckpt_path best (the knee) or --ckpt_path FILE"
            )
        folder = Path(self.trainer.default_root_dir)
        named = {"last": folder / "checkpoints" / "last.ckpt", "best": folder / "knee" / SEED}
        path = named.get(chosen["ckpt_path"], Path(chosen["ckpt_path"]))
        if not path.is_file():
            raise ValueError(f"{path}: no such checkpoint")
        chosen["ckpt_path"] = str(path)

    before_validate = before_test = before_predict = _needs_checkpoint

    def before_fit(self) -> None:
        """Refuse to start a second run in the folder of the first, and to continue from weights alone."""
        check_strategy(self.trainer.strategy)
        checkpoint = self.config_init["fit"]["ckpt_path"]
        folder = Path(self.trainer.default_root_dir)
        if checkpoint is None and (folder / "checkpoints" / "last.ckpt").exists():
            raise ValueError(
                f"{folder} already holds a run: continue it with --ckpt_path last, or choose another folder with --trainer.default_root_dir"
            )
        if checkpoint == "best" or Path(checkpoint or "").suffix == ".safetensors":
            raise ValueError(
                f"--ckpt_path {checkpoint}: holds weights alone; training continues from --ckpt_path last"
            )
        self.leave_cores_to_workers()

    def leave_cores_to_workers(self) -> None:
        """On a CPU lower the number of threads: those that wait for a core which a data worker has are slower than no such threads."""
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            workers = getattr(self.datamodule, "num_workers", 0)
            torch.set_num_threads(
                min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - workers))
            )


class _Data(LinearSRCLI):
    """An experiment of which only the data are built: the network may be larger than this machine."""

    def instantiate_classes(self) -> None:
        """Build the data."""
        self.datamodule = self._get(
            self.parser.instantiate(Namespace(data=self.config.data)), "data"
        )


def read_data(arguments: Sequence[str]) -> tuple[Any, DenoiserConfig]:
    """Return the data of an experiment, and what its denoiser would be, from a command line such as that of `lsr fit`.

    Raises:
        ValueError: If the command line or the experiment is none.
    """
    try:
        cli = _Data(arguments, run=False)
    except ArgumentError as error:
        raise _mistake(error, arguments) from error
    return cli.datamodule, DenoiserConfig(**cli.config.model.denoiser)


def prepare_run(config: str, folder: str, **settings: object) -> LinearSRCLI:
    """Build a run of an experiment in another folder without starting it, on the cores that `lsr fit` would use; for measurements.

    Args:
        config: The experiment file.
        folder: The run folder.
        settings: Of the trainer, in place of the file's.
    """
    changes = {"default_root_dir": folder} | settings
    cli = LinearSRCLI(
        [
            "--config",
            config,
            *(
                part
                for name, value in changes.items()
                for part in (f"--trainer.{name}", str(value))
            ),
        ],
        run=False,
    )
    cli.leave_cores_to_workers()
    return cli


def _quieten() -> None:
    """Leave out what Lightning says that is an advertisement, about its own code, or not so here."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    for message in (
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*your dataloader is not resumable.*",  # the DataModule resumes its stream itself
        ".*there is no last checkpoint available.*",  # `make stage1` always asks to continue
        ".*does not have many workers.*",
        ".*the same hyperparameters.*",
        ".*exists and is not empty.*",  # so it is when a run is continued
        ".*use `self.log\\('step', ..., sync_dist=True\\)`.*",  # it is the same on all ranks
        "Grad strides do not match bucket view strides.*",  # depth-wise convolutions under DDP: one copy
        "LightningCLI's args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message)


def _mistake(error: ArgumentError, arguments: Sequence[str]) -> ValueError:
    hint = (
        ""
        if any(argument.startswith("--config") for argument in arguments)
        else "; name an experiment with --config FILE"
    )
    # Of jsonargparse's account of every type it tried the one that names the class is what the user did.
    problem = re.search(
        r"Problem with given class_path '([^']+)': (.+?)(?: - |$)", " ".join(str(error).split())
    )
    return ValueError(f"{problem[1]}: {problem[2]}" if problem else f"{error}{hint}")


def main(arguments: Sequence[str]) -> int:
    """Run `fit`, `validate`, `test` or `predict`; returns the exit code."""
    _quieten()
    try:
        LinearSRCLI(arguments)
    except ArgumentError as error:
        raise _mistake(error, arguments) from error
    except DivergenceError as error:
        sys.stderr.write(f"lsr {arguments[0]}: {error}\n")
        return DIVERGED
    except (MisconfigurationException, OSError) as error:
        raise ValueError(str(error)) from error
    except SystemExit as end:
        if end.code != 1:  # Lightning's way to end after Ctrl-C; help and the like end with 0
            raise
        raise KeyboardInterrupt from end
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ValueError("the checkpoint belongs to a model of another configuration") from error
    return DONE
