"""Build an experiment, or only its data, without running it: for other commands and benchmarks."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError, Namespace

from lsr.models.config import DenoiserConfig
from lsr.training.cli import LinearSRCLI
from lsr.training.messages import quieten
from lsr.training.option_errors import one_line


class _Settings(LinearSRCLI):
    """Reads the settings of an experiment only."""

    def _set_seed(self) -> None:
        """Do nothing: nothing is drawn."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


class _Data(LinearSRCLI):
    """Builds the data of an experiment only: its network may need more memory than there is."""

    def instantiate_classes(self) -> None:
        """Build the DataModule."""
        built = self.parser.instantiate(Namespace(data=self.config.data))
        self.datamodule = self._get(built, "data")


def read_settings(arguments: Sequence[str]) -> Namespace:
    """Return the checked settings of an experiment, of which nothing is built.

    Args:
        arguments: Options as of `lsr fit`, such as `--config FILE`.

    Raises:
        ValueError: If an option or the YAML file is invalid.
    """
    return _read(_Settings, arguments).config


def read_data(arguments: Sequence[str]) -> tuple[Any, DenoiserConfig]:
    """Return the DataModule of an experiment and the configuration of its denoiser.

    Args:
        arguments: Options as of `lsr fit`, such as `--config FILE`.

    Raises:
        ValueError: If an option or the YAML file is invalid.
    """
    cli = _read(_Data, arguments)
    return cli.datamodule, DenoiserConfig(**cli.config.model.denoiser)


def prepare_run(config: str, folder: str, **settings: object) -> LinearSRCLI:
    """Build a run of an experiment without starting it; used by benchmarks.

    The number of threads is set as by `lsr fit`.

    Args:
        config: YAML file of the experiment.
        folder: Run folder, instead of the one in the file.
        settings: Settings of the trainer, instead of those in the file.

    Raises:
        ValueError: If the YAML file is missing or invalid.
    """
    changes = {"default_root_dir": folder} | settings
    options = [f"--trainer.{name}={value}" for name, value in changes.items()]
    cli = _read(LinearSRCLI, ["--config", config, *options])
    cli.leave_cores_to_workers()
    return cli


def _read(kind: type[LinearSRCLI], arguments: Sequence[str]) -> LinearSRCLI:
    """Return what a class reads from options; a mistake in them is a ValueError of one line."""
    quieten()
    try:
        return kind(arguments, run=False)
    except (ArgumentError, ValueError) as error:
        raise one_line(error, arguments) from error
