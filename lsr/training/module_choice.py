"""Choose the LightningModule of an experiment by the settings that it has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lsr.training.config_files import config_files
from lsr.training.module import LinearSRModule
from lsr.training.student import StudentModule


def module_of(arguments: Sequence[str]) -> type[LinearSRModule]:
    """Return `StudentModule` if the settings have `model.student`, else `LinearSRModule`.

    LightningCLI has to know the class before it reads the settings: their names are those of its
    arguments.

    Args:
        arguments: Options of `lsr fit`, such as `--config FILE` and `--model.student.l1_weight 2`.
    """
    chosen = any(each.startswith("--model.student") for each in arguments)
    if chosen or any("student" in _model(path) for path in config_files(arguments)):
        return StudentModule
    return LinearSRModule


def _model(path: Path) -> dict[str, Any]:
    """Return the key `model` of a YAML file; nothing if it cannot be read, which is told later."""
    try:
        content = yaml.safe_load(path.read_text())
        model = content["model"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    return model if isinstance(model, dict) else {}
