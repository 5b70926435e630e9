"""The part of the report about an evaluation: the contents of its `summary.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsr.images import UnreadableImage
from lsr.report.markup import details, heading, items, named_values, paragraphs, table, terms, text
from lsr.report.pictures import data_uri

SUMMARY = "summary.json"
"""Name of the file that every evaluation has."""

_WIDEST = 1600
"""Width of the contact sheet in pixels, at most."""


def evaluation_part(folder: Path, summary: Mapping[str, Any], room: int) -> str:
    """Return the results of an evaluation.

    Args:
        folder: Folder of the evaluation.
        summary: Contents of its `summary.json`.
        room: Characters that the picture may have.
    """
    images = summary["images"]
    return "".join(
        [
            f'<p class="verdict open">{_headline(summary)}</p>',
            paragraphs([f"{images['scored']} of {images['found']} images of {summary['data']}."]),
            _results(summary["results"]),
            *(_compared(name, found) for name, found in summary["beside"].items()),
            _reasons("Metrics that could not be computed", summary["unavailable"]),
            _reasons("Images that failed", summary["failed"]),
            _sheet(folder / "contact.png", room),
            _how(summary),
        ]
    )


def _headline(summary: Mapping[str, Any]) -> str:
    """Return the first means, which are the verdict of an evaluation."""
    means = [
        f"{name} {result['mean']:.4g}"
        for name, result in summary["results"].items()
        if result["mean"] is not None
    ]
    return text(", ".join(means[:3]) or "No metric could be computed")


def _results(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of means with their intervals; directions stand at the metrics below."""
    rows = [
        [name, found["mean"], found["std"], _interval(found["ci95"]), found["n"]]
        for name, found in results.items()
    ]
    head = ["metric", "mean", "std", "95 % interval of the mean", "images"]
    return table("Results", head, rows)


def _interval(bounds: Any) -> str:
    return "–" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _compared(method: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of differences to another method, for the images that both have."""
    rows = [
        [
            name,
            each["mean"],
            each["difference"],
            _interval(each["ci95"]),
            "–" if each["difference"] is None else f"{each['better_in']} of {each['n']}",
        ]
        for name, each in found.items()
    ]
    head = ["metric", method, f"ours - {method}", "95 % interval", "better in"]
    return table(f"Compared with {method}", head, rows)


def _reasons(title: str, reasons: Mapping[str, str]) -> str:
    lines = [f"{name}: {reason}" for name, reason in reasons.items()]
    return heading(title) + items(lines) if lines else ""


def _sheet(path: Path, room: int) -> str:
    """Return the picture of the worst, the median and the best image, if it fits."""
    try:
        picture = data_uri(path, _WIDEST)
    except (UnreadableImage, OSError):
        return paragraphs(["There is no picture of single images (contact.png)."])
    if len(picture) > room:
        return paragraphs([f"{path.name} is left out: it does not fit into this file."])
    words = "The worst, the median and the best image"
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{words}">'
        f'<img src="{picture}" alt="{words}; their names and scores stand above each"></div>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _how(summary: Mapping[str, Any]) -> str:
    """Return what determines the results: command, model, metrics, hardware, versions."""
    cards = [
        [name, card["direction"], card["range"], card["looks_at"]]
        for name, card in summary["metrics"].items()
    ]
    pairs = [
        ("command", summary["command"]),
        *(
            (name, named_values(summary[name] or {}) or "–")
            for name in ("model", "hardware", "versions")
        ),
        ("threads", summary["threads"]),
    ]
    head = ["metric", "direction", "range", "looks at"]
    return terms(pairs) + details(
        "Metrics and conventions",
        table("Metrics", head, cards) + items(summary["conventions"]),
    )
