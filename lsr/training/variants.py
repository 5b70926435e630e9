"""The variants of an ablation: experiments, with every combination of chosen settings."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Variant:
    """A variant of an experiment: a row of the table.

    Attributes:
        name: Name of the row.
        config: YAML file of the experiment.
        settings: Options of `lsr fit` that change the experiment.
    """

    name: str
    config: Path
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of the folder of the variant's runs."""
        return self.name.replace(" ", "_")

    def arguments(self, settings: Mapping[str, object]) -> list[str]:
        """Return the options of `lsr fit` for this variant, with some more settings."""
        return [
            "--config",
            str(self.config),
            *self.settings,
            *(f"--{key}={value}" for key, value in settings.items()),
        ]


def variants(experiments: Path, vary: Sequence[str], common: Sequence[str]) -> list[Variant]:
    """Return every combination of the values of settings, for every experiment.

    Args:
        experiments: A YAML file, or a folder of them.
        vary: Settings with a YAML list of values, such as `model.optimizer.lr=[1e-3, 1e-2]`.
        common: Options of `lsr fit` for all variants.

    Raises:
        ValueError: If there are no experiments, if a setting is not followed by a list, or if two
            variants have the same name.
    """
    configs = sorted(experiments.glob("*.yaml")) if experiments.is_dir() else [experiments]
    if not configs:
        raise ValueError(f"{experiments}: no experiments in this folder")
    if not configs[0].is_file():
        raise ValueError(f"{experiments}: no such file or folder of experiments (.yaml)")
    axes = [_axis(text) for text in vary]
    keys = [key for key, _ in axes]
    found = []
    for config in configs:
        for values in itertools.product(*(values for _, values in axes)):
            chosen = dict(zip(keys, values, strict=True))
            words = [config.stem] if len(configs) > 1 or not axes else []
            words += [f"{key.rpartition('.')[2]}={_word(value)}" for key, value in chosen.items()]
            settings = [
                f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
                for key, value in chosen.items()
            ]
            found.append(Variant(" ".join(words), config, (*common, *settings)))
    if len({variant.folder for variant in found}) < len(found):
        raise ValueError(
            "--vary: two variants have the same name; give values that differ in their names"
        )
    return found


def _word(value: Any) -> str:
    """Return a value as it appears in the name of a variant: of a path only the file's name."""
    if not isinstance(value, str):
        return json.dumps(value)
    return Path(value).stem if "/" in value else value


def _axis(text: str) -> tuple[str, list[Any]]:
    """Return the setting and the values of an option `--vary KEY=[A, B]`."""
    key, _, values = text.partition("=")
    try:
        listed = yaml.safe_load(values)
    except yaml.YAMLError:
        listed = None
    if not isinstance(listed, list) or not listed:
        raise ValueError(
            f"--vary {text}: must be a setting and a YAML list of its values, KEY=[A, B]"
        )
    return key, listed
