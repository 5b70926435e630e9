"""`report.md`: the figures for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.evaluation.beside import in_words
from lsr.evaluation.protocols import PROTOCOLS
from lsr.evaluation.published import PUBLISHED, methods
from lsr.files import atomic_path
from lsr.metrics.cards import CARDS


def write_report(out: Path, summary: Mapping[str, Any], pictured: str | None) -> None:
    """Write the report.

    Args:
        out: Folder of the evaluation.
        summary: Contents of `summary.json`.
        pictured: The metric that the contact sheet is sorted by; None where there is no sheet.
    """
    images = summary["images"]
    parts = [
        f"# {summary['source']}",
        f"{PROTOCOLS[summary['protocol']].description[0].upper()}{PROTOCOLS[summary['protocol']].description[1:]}. "
        f"{images['scored']} of {images['found']} images; data `{summary['data']}`.",
        _figures(summary["results"]),
        *_beside_others(summary),
        *_beside_published(summary),
        *_section(
            "Unavailable metrics",
            [f"`{name}`: {reason}" for name, reason in summary["unavailable"].items()],
        ),
        *_section(
            "Failed images", [f"`{name}`: {reason}" for name, reason in summary["failed"].items()]
        ),
        *_section(
            "Images without a value",
            [f"`{name}`: {', '.join(these)}" for name, these in summary["without_value"].items()],
        ),
    ]
    if pictured is not None:
        parts += [f"## Worst, median and best by {pictured}", "![contact sheet](contact.png)"]
    parts += [
        "## How",
        "\n".join(f"- {line}" for line in summary["conventions"]),
        *_cards(summary["metrics"]),
        _circumstances(summary),
    ]
    with atomic_path(out / "report.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", errors="surrogateescape")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _figures(results: Mapping[str, Mapping[str, Any]]) -> str:
    def cells(name: str, result: Mapping[str, Any]) -> list[str]:
        if result["mean"] is None:
            return [name, "–", "–", "–", "0"]
        interval = (
            "–"
            if result["ci95"] is None
            else " to ".join(f"{bound:.4f}" for bound in result["ci95"])
        )
        return [
            _with_arrow(name),
            f"{result['mean']:.4f}",
            "–" if result["std"] is None else f"{result['std']:.4f}",
            interval,
            str(result["n"]),
        ]

    if not results:
        return "No metric could be computed."
    return _table(
        ["metric", "mean", "std", "95 % interval of the mean", "n"],
        [cells(*pair) for pair in results.items()],
    )


def _with_arrow(name: str) -> str:
    return f"{name} {'↑' if CARDS[name].higher_is_better else '↓'}"


def _beside_others(summary: Mapping[str, Any]) -> list[str]:
    """Return the means of other methods, the paired differences, and what is missing from these."""
    beside, results = summary["beside"], summary["results"]
    if not beside:
        return []

    def mean(result: Mapping[str, Any]) -> str:
        return "–" if result["mean"] is None else f"{result['mean']:.4f}"

    def mean_of_theirs(theirs: Mapping[str, Any], n: int) -> str:
        return (
            mean(theirs)
            if theirs["mean"] is None or theirs["mean_n"] == n
            else f"{mean(theirs)} (n {theirs['mean_n']})"
        )

    means = [
        [
            _with_arrow(name),
            mean(ours),
            *(mean_of_theirs(theirs[name], ours["n"]) for theirs in beside.values()),
        ]
        for name, ours in results.items()
    ]
    differences = [
        [_with_arrow(name), *(in_words(theirs[name]) for theirs in beside.values())]
        for name in results
    ]
    missing = [
        f"`{name}`, {method}: {reason}"
        for method, these in summary["missing_beside"].items()
        for name, reason in these.items()
    ]
    return [
        "## Beside other methods",
        _table(["mean", "ours", *beside], means),
        "Ours minus theirs, image by image over those that both have: mean, and the 95 % percentile bootstrap interval of that mean "
        "(10,000 resamples of the images, fixed seed); an interval on one side of 0 is a difference that these images show.",
        _table(["ours - theirs", *beside], differences),
        *_section("Missing from other methods", missing),
    ]


def _beside_published(summary: Mapping[str, Any]) -> list[str]:
    """Return the published table with ours as its last row, where every image of the protocol has been scored."""
    columns = PUBLISHED.get(summary["protocol"], {})
    if not columns:
        return []
    results = summary["results"]
    complete = {
        name
        for name in columns
        if name in results and results[name]["n"] == summary["images"]["found"]
    }
    rows = [
        [
            method,
            *(f"{column[method]:g}" if method in column else "–" for column in columns.values()),
        ]
        for method in methods(summary["protocol"])
    ]
    ours = [
        "**this evaluation**",
        *(f"**{results[name]['mean']:.4g}**" if name in complete else "–" for name in columns),
    ]
    note = (
        "Same protocol, same metrics by name. No-reference scores can be gamed: look at the pictures, and beside PSNR, LPIPS and DISTS."
        if complete == set(columns)
        else "A metric of ours is missing here unless it has been computed for every image of the protocol."
    )
    return ["## Beside published figures", _table(["method", *columns], [*rows, ours]), note]


def _cards(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    def cells(name: str, card: Mapping[str, Any]) -> list[str]:
        arguments = ", ".join(f"{key}={value!r}" for key, value in card["arguments"].items())
        weights = ", ".join(
            f"{file['file']} (sha256 {file['sha256'][:12]}…)" for file in card["weights"]
        )
        return [
            name,
            f"`{card['pyiqa_name']}({arguments})`",
            card["direction"],
            card["range"],
            card["looks_at"],
            weights or "none",
        ]

    rows = [cells(*pair) for pair in cards.items()]
    return (
        [_table(["metric", "in pyiqa", "direction", "range", "looks at", "weights"], rows)]
        if rows
        else []
    )


def _circumstances(summary: Mapping[str, Any]) -> str:
    model = summary["model"]
    lines = [
        f"`{summary['command']}`",
        ", ".join(f"{name} {value}" for name, value in summary["versions"].items()),
    ]
    lines.append(
        ", ".join(f"{name} {value}" for name, value in summary["hardware"].items())
        + f", {summary['threads']} threads"
    )
    if model is not None:
        sampling = ", ".join(
            f"{name} {model[name]}" for name in ("steps", "seed", "tile", "color_fix", "scale")
        )
        lines.insert(1, f"model sha256 `{model['sha256']}`, {sampling}")
    return "\n".join(f"- {line}" for line in lines)
