"""The settings of a run: read from YAML, and by dotted names as on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lsr.errors import first_clause


def settings_of(text: str, path: Path) -> dict[str, Any]:
    """Return the settings in the text of a `config.yaml`.

    Args:
        text: The text.
        path: The file that it comes from, for messages.

    Raises:
        ValueError: If the text is not YAML, or something else than settings.
    """
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not YAML ({first_clause(error)})") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: not the settings of a run")
    return settings


def by_dotted_names(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names; members of a list by their class.

    Args:
        value: Settings as a YAML file gives them, or a part of them.
        name: Dotted name of this part; "" for the whole.
    """
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for key, each in value.items():
            found |= by_dotted_names(each, f"{name}.{key}" if name else str(key))
        return found
    if isinstance(value, list) and value and all(_is_class(each) for each in value):
        found = {}
        for each in value:
            member = f"{name}.{each['class_path'].rpartition('.')[2]}"
            while member in found:
                member += "'"
            found[member] = each["class_path"]
            found |= by_dotted_names(each.get("init_args", {}), member)
        return found
    return {name: value}


def _is_class(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("class_path"), str)
