"""Write `report.md`, the results of an evaluation for human readers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.evaluation.comparison import in_words
from lsr.evaluation.protocols import PROTOCOLS
from lsr.evaluation.published import METRICS, PUBLISHED
from lsr.files import atomic_path
from lsr.metrics.cards import CARDS
from lsr.runs.table import markdown_table


def write_markdown_report(out: Path, summary: Mapping[str, Any], pictured: str | None) -> None:
    """Write the report.

    Args:
        out: Folder of the evaluation.
        summary: Contents of `summary.json`.
        pictured: Metric that orders the images of the contact sheet; None if there is no sheet.
    """
    parts = [
        f"# {summary['source']}",
        _introduction(summary),
        _results_table(summary["results"]),
        *_comparison_with_methods(summary),
        *_comparison_with_published(summary),
        *_reasons("Unavailable metrics", summary["unavailable"]),
        *_reasons("Failed images", summary["failed"]),
        *_reasons(
            "Images without a value",
            {name: ", ".join(metrics) for name, metrics in summary["without_value"].items()},
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


def _introduction(summary: Mapping[str, Any]) -> str:
    """Return the protocol, the numbers of images, and the folder of the data."""
    images = summary["images"]
    description = PROTOCOLS[summary["protocol"]].description
    return (
        f"{description[0].upper()}{description[1:]}. "
        f"{images['scored']} of {images['found']} images; data `{summary['data']}`, whose "
        f"photographs have the SHA-256 `{summary['photographs'][:16]}…` together."
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    """Return a heading and a list, or nothing if the list is empty."""
    return [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _reasons(title: str, reasons: Mapping[str, str]) -> list[str]:
    """Return a section that lists a reason for each name."""
    return _section(title, [f"`{name}`: {reason}" for name, reason in reasons.items()])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _results_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of the means, standard deviations and intervals of all metrics."""

    def cells(name: str, result: Mapping[str, Any]) -> list[str]:
        if result["mean"] is None:
            return [name, "–", "–", "–", "0"]
        interval = "–"
        if result["ci95"] is not None:
            interval = " to ".join(_number(bound) for bound in result["ci95"])
        numbers = [_number(result["mean"]), _number(result["std"]), interval, str(result["n"])]
        return [_with_arrow(name), *numbers]

    if not results:
        return "No metric could be computed."
    return markdown_table(
        ["metric", "mean", "std", "95 % interval of the mean", "n"],
        [cells(*pair) for pair in results.items()],
    )


def _with_arrow(name: str) -> str:
    """Return the name of a metric with an arrow in the direction of better values."""
    return f"{name} {'↑' if CARDS[name].higher_is_better else '↓'}"


def _comparison_with_methods(summary: Mapping[str, Any]) -> list[str]:
    """Return the section that compares our method with other methods.

    The list is empty if there are no other methods.
    """
    methods = summary["beside"]
    results = summary["results"]
    if not methods:
        return []
    means = [
        [
            _with_arrow(name),
            _number(ours["mean"]),
            *(_mean_of_method(theirs[name], ours["n"]) for theirs in methods.values()),
        ]
        for name, ours in results.items()
    ]
    differences = [
        [_with_arrow(name), *(in_words(theirs[name]) for theirs in methods.values())]
        for name in results
    ]
    missing = [
        f"`{name}`, {method}: {reason}"
        for method, reasons in summary["missing_beside"].items()
        for name, reason in reasons.items()
    ]
    return [
        "## Comparison with other methods",
        markdown_table(["mean", "ours", *methods], means),
        "Ours minus theirs for the images that both methods have: the mean difference and its 95 % "
        "percentile bootstrap interval (10,000 resamples of the images, fixed seed). If the "
        "interval does not contain 0, these images show a difference between the methods.",
        markdown_table(["ours - theirs", *methods], differences),
        *_section("Missing from other methods", missing),
    ]


def _mean_of_method(theirs: Mapping[str, Any], n: int) -> str:
    """Return the mean of another method, with its number of images if that differs from ours."""
    mean = _number(theirs["mean"])
    if theirs["mean"] is None or theirs["mean_n"] == n:
        return mean
    return f"{mean} (n {theirs['mean_n']})"


def _comparison_with_published(summary: Mapping[str, Any]) -> list[str]:
    """Return the section with the published values and ours in the last row of the table.

    The table has the metrics whose mean over every image of the protocol we have. The list is empty
    if no values are published for the protocol.
    """
    rows = PUBLISHED.get(summary["protocol"], ())
    if not rows:
        return []
    results = summary["results"]
    found = summary["images"]["found"]
    metrics = [name for name in METRICS if name in results and results[name]["n"] == found]
    title = "## Comparison with published values"
    if not metrics:
        return [title, f"None: none of {', '.join(METRICS)} has a value for every image."]
    table: list[Sequence[str]] = []
    for row in rows:
        values = [getattr(row, name) for name in metrics]
        if any(value is not None for value in values):
            table.append([row.method, *map(_published_number, values), row.source])
    ours = [f"**{results[name]['mean']:.4g}**" for name in metrics]
    table.append(["**this evaluation**", *ours, ""])
    note = (
        "The published values hold for the photographs of RealLQ250; ours compare with them only "
        f"if `{summary['data']}` holds the same. Sources contradict each other: they used other "
        "versions of methods and metrics. A method can be tuned to no-reference metrics: look at "
        "the pictures too, and at PSNR, LPIPS and DISTS."
    )
    return [title, markdown_table(["method", *map(_with_arrow, metrics), "source"], table), note]


def _published_number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _cards(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the section with the definitions of the metrics, an empty list if there are none."""

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

    if not cards:
        return []
    header = ["metric", "in pyiqa", "direction", "range", "looks at", "weights"]
    return [markdown_table(header, [cells(*pair) for pair in cards.items()])]


def _circumstances(summary: Mapping[str, Any]) -> str:
    """Return a list of the command, the model, the versions and the hardware."""
    lines = [f"`{summary['command']}`"]
    model = summary["model"]
    if model is not None:
        settings = ("steps", "seed", "color_fix", "scale")
        sampling = ", ".join(f"{name} {model[name]}" for name in settings)
        lines.append(f"model sha256 `{model['sha256']}`, {sampling}")
    lines.append(", ".join(f"{name} {value}" for name, value in summary["versions"].items()))
    hardware = ", ".join(f"{name} {value}" for name, value in summary["hardware"].items())
    lines.append(f"{hardware}, {summary['threads']} threads")
    return "\n".join(f"- {line}" for line in lines)
