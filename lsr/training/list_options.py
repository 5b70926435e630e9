"""Options that address a callback or a logger of the YAML file's list by the name of its class.

`--trainer.callbacks.KneePointCallback.stop false` changes one argument of one member. jsonargparse
itself can only replace a list, add to it, or change its last member.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

_OPTION = re.compile(r"--trainer\.(callbacks|logger)\.([A-Z]\w*)\.(?:init_args\.)?([^=]+)(=.*)?")


def split_options(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str, str, str]]]:
    """Take the options that address a member of a list out of a command line.

    Returns:
        The other arguments, and for each option that was taken out its list, the name of the class,
        the argument, and the value as text.

    Raises:
        ValueError: If an option has no value.
    """
    others: list[str] = []
    found = []
    rest = iter(arguments)
    for argument in rest:
        option = _OPTION.fullmatch(argument)
        if option is None:
            others.append(argument)
            continue
        value = next(rest, None) if option[4] is None else option[4][1:]
        if value is None:
            raise ValueError(f"{argument} needs a value")
        found.append((option[1], option[2], option[3], value))
    return others, found


def whole_lists(
    options: Sequence[tuple[str, str, str, str]], current: Callable[[str], Any]
) -> list[str]:
    """Return options that replace the lists by lists with the changes.

    Args:
        options: Second result of `split_options`.
        current: Function that returns the value of `trainer.callbacks` or `trainer.logger`, given
            its name: a list of dictionaries with `class_path` and `init_args`, or one of them.

    Raises:
        ValueError: If not exactly one member is of the class, or the value is no YAML.
    """
    lists: dict[str, list[dict[str, Any]]] = {}
    for name, class_name, key, text in options:
        if name not in lists:
            value = current(name)
            lists[name] = value if isinstance(value, list) else [value]
        member = _member(lists[name], name, class_name)
        arguments = member.setdefault("init_args", {})
        *parents, last = key.split(".")
        for parent in parents:
            arguments = arguments.setdefault(parent, {})
        try:
            arguments[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--trainer.{name}.{class_name}.{key}: {text} is no value") from error
    return [f"--trainer.{name}={json.dumps(value)}" for name, value in lists.items()]


def _member(members: list[Any], name: str, class_name: str) -> dict[str, Any]:
    """Return the only member of a class."""
    classes = [each["class_path"].rpartition(".")[2] for each in members if isinstance(each, dict)]
    if classes.count(class_name) != 1:
        raise ValueError(
            f"--trainer.{name}.{class_name}: there must be exactly one {class_name} in the list, "
            f"which has {', '.join(classes) or 'nothing'}"
        )
    return next(
        each
        for each in members
        if isinstance(each, dict) and each["class_path"].rpartition(".")[2] == class_name
    )
