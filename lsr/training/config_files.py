"""The YAML files that a command line of `lsr fit` names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

_OPTIONS = ("--config", "-c")


def config_files(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the files of `--config FILE`, `--config=FILE` and `-c FILE`; they may be missing.

    Args:
        arguments: The command line.
    """
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option in _OPTIONS:
            yield Path(value)
        elif option.startswith("--config="):
            yield Path(option.removeprefix("--config="))


def refuse_repeated_keys(arguments: Sequence[str]) -> None:
    """Check that no mapping in a YAML file of the command line has a key twice.

    YAML's readers keep the last value and say nothing.

    Args:
        arguments: The command line.

    Raises:
        ValueError: If a key is given twice.
    """
    for path in config_files(arguments):
        if path.is_file():
            try:
                root = yaml.compose(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                continue  # the parser names the place
            _check_node(path, root)


def _check_node(path: Path, node: yaml.Node | None) -> None:
    """Check a node of a YAML file and all nodes below it."""
    if isinstance(node, yaml.SequenceNode):
        for member in node.value:
            _check_node(path, member)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if str(key.value) in lines:
            raise ValueError(
                f"{path}: lines {lines[str(key.value)]} and {line} both set {key.value}: "
                "remove one of them"
            )
        lines[str(key.value)] = line
        _check_node(path, value)
