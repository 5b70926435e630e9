"""Errors of the options and the YAML file of `lsr fit`: one line that begins with the reason.

jsonargparse reports one reason for each type that it has tried, and the value of the whole setting.
"""

import re
from collections.abc import Sequence

from lsr.training.config_files import config_files

_LONGEST = 200
"""Most characters of a message."""

_MOVED = {
    "lsr.metrics_csv.MetricsCSVLogger:": "it is lsr.runs.csv_logger.MetricsCSVLogger now",
    "callbacks.KneePointCallback: Option 'action'": "it belongs to callbacks.DivergenceGuard",
    "callbacks.KneePointCallback: Option 'threshold'": "it belongs to callbacks.DivergenceGuard",
    "callbacks.KneePointCallback: Option 'max_skips'": "it belongs to callbacks.DivergenceGuard",
}
"""Hints for YAML files of older versions, by the start of the error message."""

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "Sequence": "a list such as [a, b]",
    "list": "a list such as [a, b]",
    "tuple": "a list such as [a, b]",
}
"""How a type is called in a message."""

_WRONG_TYPE = re.compile(r"Expected an? (?P<type>.+?)(?:\. Got value: (?P<value>.*))?")


def one_line(error: Exception, arguments: Sequence[str]) -> ValueError:
    """Return an error of one line for a report of jsonargparse, any other error as it is.

    Args:
        error: The error: an `ArgumentError` of the parser, or a ValueError.
        arguments: The command line.
    """
    if isinstance(error, ValueError) and "Given value type:" not in str(error):
        return error
    line = _reason(" ".join(str(error).split()))
    hints = [f"; {hint}" for start, hint in _MOVED.items() if line.startswith(start)]
    if not any(config_files(arguments)):
        hints.append("; name an experiment with --config FILE")
    return ValueError(shortened(line, _LONGEST - sum(map(len, hints))) + "".join(hints))


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a message of another library in one line, without the end of a long one."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."


def _reason(report: str) -> str:
    """Return the reason in a report of jsonargparse, without those about other types.

    Args:
        report: The report in one line.
    """
    # Of several reports, the one that names a class is about the user's mistake.
    named = re.search(
        r"Problem with given class_path '([^']+)': (.+?)(?= - [A-Z]| Given value type:|$)", report
    )
    if named:
        return f"{named[1]}: {_requirement(_reason(named[2]))}"
    key = re.match(r'Parser key "([^"]+)": ', report)
    if key:
        return f"{key[1]}: {_reason(report[key.end() :])}"
    reports, _, given = report.partition(" Given value type:")
    _, _, several = reports.partition("Errors: - ")
    entries = several.split(" - ") if several else [report]
    wrong = [_WRONG_TYPE.fullmatch(entry) for entry in entries]
    for entry, match in zip(entries, wrong, strict=True):
        if match is None and not entry.startswith("Not a valid subclass"):
            return entry
    found = [match for match in wrong if match]
    value = given.partition("Given value: ")[2] or found[0]["value"]
    return _wrong_type([match["type"] for match in found], value)


def _requirement(reason: str) -> str:
    """Return what to install if the reason is a package that is not installed."""
    missing = re.search(r"Requirement '([^']+)' not met", reason)
    if missing is None:
        return reason
    return f"{missing[1]} is not installed: pip install '{missing[1]}'"


def _wrong_type(types: Sequence[str], value: str | None) -> str:
    """Return a message about a value of a wrong type.

    Args:
        types: The types that are accepted, as jsonargparse writes them.
        value: The value.
    """
    names: list[str] = []
    for each in types:
        literal = re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", each)
        plain = re.fullmatch(r"<class '(?:.*\.)?(\w+)'>", each)
        if literal:
            names += [choice.strip("'") for choice in literal[1].split(", ")]
        else:
            name = plain[1] if plain else each.partition(":")[0]
            names.append(_TYPES.get(name, name))
    names = list(dict.fromkeys(names))
    wanted = " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"must be {wanted}" + (f", not {value}" if value else "")
