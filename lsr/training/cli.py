"""The commands `lsr fit`, `validate`, `test` and `predict`: a LightningCLI with few changes.

The YAML file of an experiment alone decides which model, data, callbacks and loggers are composed.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import ArgumentError, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import StrategyRegistry

from lsr.distributed.fsdp import ShardedStrategy, check_strategy
from lsr.errors import DIVERGED, DONE, first_clause
from lsr.files import remove_leftovers
from lsr.knee.folder import SEED
from lsr.report.at_end import report_at_end
from lsr.training.checkpoint_io import AtomicCheckpointIO
from lsr.training.config_files import refuse_repeated_keys
from lsr.training.continuing import check_accumulation, checkpoint_folders, last_checkpoint
from lsr.training.divergence import DivergenceError
from lsr.training.launch_record import LaunchRecord
from lsr.training.launcher import check_cores, check_one_run, devices_of_torchrun
from lsr.training.list_options import split_options, whole_lists
from lsr.training.messages import quieten
from lsr.training.module_choice import module_of
from lsr.training.option_errors import one_line, shortened
from lsr.training.refused_run import left_as_found
from lsr.training.run_lock import locked
from lsr.training.same_run import SameRun
from lsr.training.saved_config import SaveConfigPerLaunch
from lsr.training.sigterm import interruptions_raised, left_to_lightning
from lsr.training.supported import check_manual, check_signs

StrategyRegistry.register("sharded", ShardedStrategy, "The weights spread over all ranks (FSDP)")


class LinearSRCLI(LightningCLI):
    """LightningCLI whose command line overrides the YAML file and a resumed run's checkpoint.

    Args:
        arguments: The subcommand and its options; without the subcommand if `run` is False.
        run: Whether to run the subcommand, or only to build trainer, model and data.
    """

    def __init__(self, arguments: Sequence[str], run: bool = True) -> None:
        _find_own_classes()
        self._arguments = list(arguments)
        # Interpolations resolve after all files and the command line are merged.
        set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
        super().__init__(
            model_class=module_of(arguments),
            datamodule_class=L.LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=SaveConfigPerLaunch,
            save_config_kwargs={"save_to_log_dir": False},
            # The DataModules give each rank its share themselves.
            trainer_defaults={"use_distributed_sampler": False},
            seed_everything_default=0,
            parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
            args=list(arguments),
            run=run,
            auto_configure_optimizers=False,
        )

    def init_parser(self, **kwargs: object) -> LightningArgumentParser:
        """Let the parsers of subcommands raise errors too: each becomes a message of one line."""
        return super().init_parser(**{"parser_mode": "omegaconf+", "exit_on_error": False} | kwargs)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Let the help list the checkpoints that are accepted here; Lightning lists other ones."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        best = "" if subcommand == "fit" else "best (the weights of the published knee), "
        option = next(each for each in parser._actions if each.dest == "ckpt_path")
        option.help = f"Checkpoint: last (the newest one of the run folder), {best}or a file"
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the command line, and options such as `--trainer.callbacks.EMA.decay 0.9`."""
        refuse_repeated_keys(args)
        arguments, options = split_options(args)
        if options:
            super().parse_arguments(
                parser, [each for each in arguments if not each.startswith("--print_config")]
            )
            arguments += whole_lists(options, self.settings()["trainer"].get)
        super().parse_arguments(parser, arguments)

    def settings(self) -> dict[str, Any]:
        """Return all settings of the subcommand as plain values."""
        subcommand = self.config.get("subcommand")
        config = self.config if subcommand is None else self.config[subcommand]
        return yaml.safe_load(self._parser(subcommand).dump(config, skip_none=False))

    def _parse_ckpt_path(self) -> None:
        """Do nothing: hyper-parameters saved in a checkpoint do not override the command line."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Add `AtomicCheckpointIO` to the plugins, and remove the loggers unless this is `fit`.

        The processes of torchrun become the ranks of one run.
        """
        chosen = self._get(self.config_init, "trainer")
        if self.subcommand is not None:
            kwargs |= devices_of_torchrun(chosen)
        if self.subcommand == "fit":
            self.same_run = SameRun(self.settings(), self._may_differ())
            callbacks = chosen["callbacks"] or []
            callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
            kwargs["callbacks"] = [*callbacks, self.same_run, LaunchRecord(self._arguments)]
        elif self.subcommand is not None:
            kwargs["logger"] = False
        plugins = chosen["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        try:
            return super().instantiate_trainer(plugins=[*plugins, AtomicCheckpointIO()], **kwargs)
        except TypeError as error:  # Lightning's answer to `devices: x`
            raise ValueError(f"trainer: {shortened(str(error))}") from error
        except RuntimeError as error:  # its answer to a callback that is listed twice
            raise ValueError(f"trainer: {first_clause(error)}") from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the option that lets a run continue as another one."""
        parser.add_argument(
            "--may_differ",
            type=list[str] | str,
            default=[],
            help="Settings that may differ from those of the run that is continued, although this "
            "changes its samples, such as [global_batch, data]",
        )

    def _may_differ(self) -> list[str]:
        chosen = self.config_init["fit"]["may_differ"]
        return [chosen] if isinstance(chosen, str) else chosen

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a subcommand; training holds the lock of its run folder, and ends with a report."""
        check_one_run(self.trainer)
        check_cores(self.trainer)
        with contextlib.ExitStack() as self._held:
            try:
                super()._run_subcommand(subcommand)
            finally:
                self._report()

    def _report(self) -> None:
        """Write the report of a run that has begun, however it has ended."""
        run: Any = self.trainer  # Lightning does not declare the attribute `fast_dev_run`
        is_training = self.subcommand == "fit" and self.same_run.begun
        if is_training and run.is_global_zero and not run.fast_dev_run:
            report_at_end(Path(self.trainer.default_root_dir), "fit")

    def _needs_checkpoint(self) -> None:
        """Find the checkpoint: "last", "best" (the published knee), or a file.

        Raises:
            ValueError: If no checkpoint is named, it does not exist, or the strategy is sharded.
        """
        if isinstance(self.trainer.strategy, ShardedStrategy):
            raise ValueError(
                f"lsr {self.subcommand} cannot shard weights: leave out --trainer.strategy sharded"
            )
        chosen = self.config_init[str(self.subcommand)]
        if chosen["ckpt_path"] is None:
            raise ValueError(
                "needs a checkpoint: "
                "--ckpt_path last, --ckpt_path best (the knee) or --ckpt_path FILE"
            )
        folder = Path(self.trainer.default_root_dir)
        named = {"last": folder / "checkpoints" / "last.ckpt", "best": folder / "knee" / SEED}
        path = named.get(chosen["ckpt_path"], Path(chosen["ckpt_path"]))
        if not path.is_file():
            why = f": lsr knee {folder} tells why, --ckpt_path last has the newest weights"
            raise ValueError(
                f"{path}: no such checkpoint{why if chosen['ckpt_path'] == 'best' else ''}"
            )
        chosen["ckpt_path"] = str(path)

    before_validate = before_test = before_predict = _needs_checkpoint

    def before_fit(self) -> None:
        """Check strategy, run folder and checkpoint, and delete half files of a killed run.

        Raises:
            ValueError: If the folder holds another run already, if the checkpoint has weights but
                no state of the optimiser, or if the strategy does not support this run.
        """
        self._held.enter_context(left_to_lightning())
        check_strategy(self.trainer.strategy)
        check_signs(self.trainer)
        check_manual(self.trainer, self.model)
        check_accumulation(self.trainer)
        self._find_checkpoint()
        if self.trainer.is_global_zero:
            self._held.enter_context(left_as_found(self.trainer, lambda: self.same_run.begun))
            self._held.enter_context(locked(Path(self.trainer.default_root_dir)))
            for place in checkpoint_folders(self.trainer):
                remove_leftovers(place)
        self.leave_cores_to_workers()

    def _find_checkpoint(self) -> None:
        """Find the checkpoint that training continues from, and compare the settings with it."""
        chosen = self.config_init["fit"]
        checkpoint = chosen["ckpt_path"]
        folder = Path(self.trainer.default_root_dir)
        if checkpoint is None and (folder / "checkpoints" / "last.ckpt").exists():
            raise ValueError(
                f"{folder} already holds a run: continue it with --ckpt_path last, "
                "or choose another folder with --trainer.default_root_dir"
            )
        if checkpoint == "best" or Path(checkpoint or "").suffix == ".safetensors":
            raise ValueError(
                f"--ckpt_path {checkpoint} has weights but no state of the optimiser: "
                "continue training with --ckpt_path last"
            )
        if checkpoint == "last":
            found = last_checkpoint(self.trainer)
            chosen["ckpt_path"] = None if found is None else str(found)
            self.same_run.notice = f"no checkpoint in {folder}: training begins at step 0"
        if chosen["ckpt_path"] not in (None, "hpc"):
            self.same_run.continue_from(self.trainer, Path(chosen["ckpt_path"]), self.datamodule)

    def leave_cores_to_workers(self) -> None:
        """On a CPU, use only the cores that the data workers leave.

        A thread that waits for a core of a worker delays all other threads.
        """
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            workers = getattr(self.datamodule, "num_workers", 0)
            torch.set_num_threads(
                min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - workers))
            )


def _find_own_classes() -> None:
    """Let a YAML file name classes in the working folder, as `python -m lsr` does.

    The folder comes last: its files do not hide modules that are installed.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _first(error: BaseException) -> BaseException:
    """Return what broke first: on a full disk, the loggers break as well when they are closed."""
    before = error.__context__
    if not isinstance(before, OSError) or error.__suppress_context__:
        return error
    # `Path.mkdir` tries to create a folder, finds no folder above it, and then creates that one.
    return error if isinstance(before, FileNotFoundError) else _first(before)


def main(arguments: Sequence[str]) -> int:
    """Run `fit`, `validate`, `test` or `predict`.

    Args:
        arguments: The subcommand and its options.

    Returns:
        The exit code.

    Raises:
        ValueError: If an option, the YAML file, a data set or a checkpoint is unusable.
        KeyboardInterrupt: If the user pressed Ctrl-C, or the process got SIGTERM.
    """
    quieten()
    try:
        with interruptions_raised():
            LinearSRCLI(arguments)
    except (ArgumentError, ValueError) as error:
        raise one_line(error, arguments) from error
    except DivergenceError as error:
        sys.stderr.write(f"lsr {arguments[0]}: {error}\n")
        return DIVERGED
    except (MisconfigurationException, OSError) as error:
        raise ValueError(shortened(str(_first(error)))) from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ValueError(
            "the checkpoint belongs to a model of another configuration: give the experiment "
            "(--config) that it was trained with"
        ) from error
    return DONE
