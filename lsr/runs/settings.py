"""The settings of a run as one table of dotted names, as they are written on the command line."""

from collections.abc import Mapping
from typing import Any


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
