"""Pieces of HTML. Every text that they get is escaped: names come from strangers."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LONGEST = 300
"""Characters to which a text of a stranger is cut."""

_NUMBER = r"–|[-+]?[\d,.]+ ?%?"
"""Pattern of a text that is a number, such as `1.3 %`, or stands for a missing one."""


def text(value: Any, longest: int = _LONGEST) -> str:
    """Return a value as escaped text; a long one is cut."""
    words = value if isinstance(value, str) else number(value)
    if len(words) > longest:
        words = f"{words[: longest - 4]} ..."
    # A lone surrogate, which Python makes of a file name that is no UTF-8, cannot be written.
    return html.escape(words.encode(errors="replace").decode())


def number(value: Any) -> str:
    """Return a number with at most five significant digits; any other value as Python writes it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.5g}"


def named_values(values: Mapping[str, Any]) -> str:
    """Return names and values in one line, not escaped: `cores 2, device cpu`."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def paragraphs(lines: Iterable[str]) -> str:
    """Return a paragraph for each line."""
    return "".join(f"<p>{text(line, 1000)}</p>" for line in lines)


def items(lines: Iterable[str]) -> str:
    """Return a list with an item for each line."""
    return f"<ul>{''.join(f'<li>{text(line, 1000)}</li>' for line in lines)}</ul>"


def terms(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return a list of names and values; a value that is a list of texts has a line for each."""
    found = []
    for name, value in pairs:
        lines = value if isinstance(value, list) else [value]
        found.append(f"<dt>{text(name)}</dt>")
        found += [f"<dd>{text(line, 2000)}</dd>" for line in lines]
    return f"<dl>{''.join(found)}</dl>"


def table(caption: str, head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table that scrolls sideways where it is too wide; the first cell names its row."""
    numbers = [all(_is_number(row[place]) for row in rows) for place in range(len(head))]
    top = "".join(
        f'<th scope="col"{_aligned(right)}>{text(cell)}</th>'
        for cell, right in zip(head, numbers, strict=True)
    )
    body = "".join(_row(row, numbers) for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Any], numbers: Sequence[bool]) -> str:
    cells = "".join(
        f"<td{_aligned(right)}>{text(cell)}</td>"
        for cell, right in zip(row[1:], numbers[1:], strict=True)
    )
    return f'<tr><th scope="row"{_aligned(numbers[0])}>{text(row[0])}</th>{cells}</tr>'


def _is_number(cell: Any) -> bool:
    """Return whether a cell is a number, which is aligned right, or stands for a missing one."""
    return cell is None or isinstance(cell, int | float) or re.fullmatch(_NUMBER, cell) is not None


def _aligned(right: bool) -> str:
    return ' class="number"' if right else ""


def details(summary: str, content: str) -> str:
    """Return content that is shown on demand."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def heading(words: str) -> str:
    """Return a heading inside a section."""
    return f"<h3>{text(words)}</h3>"
