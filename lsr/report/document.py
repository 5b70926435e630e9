"""Compose the report of runs and evaluations, and write it to one HTML file of bounded size."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsr import __version__
from lsr.errors import first_clause
from lsr.files import atomic_path
from lsr.report.curves import curves_section
from lsr.report.evaluation import SUMMARY, evaluation_part
from lsr.report.experts import experts_section
from lsr.report.facts import circumstances, overview, settings_section, values_table
from lsr.report.finding import Finding, judge
from lsr.report.markup import details, heading, items, paragraphs, text
from lsr.report.page import page
from lsr.report.pictures import pictures_section
from lsr.report.run_files import RunFiles, is_run, read_run

REPORT = "report.html"
"""Name of the report in the folder of a run."""

LARGEST = 5_000_000
"""Size of a report in bytes, at most."""

_SHARE_OF_CURVES = 0.4
"""Share of the size that the curves may have."""

_SPARE = 100_000
"""Characters that are kept free for text in scripts of several bytes a character."""

_MOST_NAMES = 3
"""Names in the title, at most."""

Section = tuple[str, str, str]
"""Anchor, heading and content."""


def write_report(folders: Sequence[Path], target: Path) -> None:
    """Write the report.

    Args:
        folders: Folders of runs, of evaluations, or of both, at least one.
        target: The HTML file.

    Raises:
        ValueError: If a folder holds neither.
        OSError: If the file cannot be written.
    """
    for folder in folders:
        if not is_run(folder) and not (folder / SUMMARY).is_file():
            raise ValueError(f"{folder}: no run and no evaluation in this folder")
    named = _named(folders)
    runs = [read_run(folder, name) for folder, name in named if is_run(folder)]
    evaluations = [(folder, name) for folder, name in named if (folder / SUMMARY).is_file()]
    sections = _of_runs(runs) if runs else []
    notices = [notice for run in runs for notice in run.notices]
    for number, (folder, name) in enumerate(evaluations):
        left = LARGEST - _SPARE - _size(sections)
        content, notice = _of_evaluation(folder, left // (len(evaluations) - number))
        sections.append((f"evaluation-{number}", f"Evaluation {name}", content))
        notices += notice
    if notices:
        told = f'<div class="notices">{items(dict.fromkeys(notices))}</div>'
        sections.insert(1, ("notices", "What could not be read", told))
    _cut(sections)
    names = [name for _, name in named]
    title = f"Report of {', '.join(names) if len(names) <= _MOST_NAMES else f'{len(names)} runs'}"
    with atomic_path(target) as temporary:
        temporary.write_text(page(title, f"Written by LinearSR {__version__}.", sections), "utf-8")


def _named(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return each folder with the shortest end of its path that tells it from all others."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(2, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(set(parts)):
            break
    return list(zip(folders, names, strict=True))


def _size(sections: Sequence[Section]) -> int:
    return sum(len(content.encode()) for _, _, content in sections)


def _cut(sections: list[Section]) -> None:
    """Leave out the longest sections as long as the whole is too large: of very many runs."""
    while _size(sections) > LARGEST - _SPARE:
        place = max(range(len(sections)), key=lambda i: _size(sections[i : i + 1]))
        anchor, words, _ = sections[place]
        told = paragraphs(["This section is left out: it is too long. Name fewer runs."])
        sections[place] = (anchor, words, told)


def _of_runs(runs: Sequence[RunFiles]) -> list[Section]:
    """Return the sections about runs: verdict, curves, pictures, experts, cost, settings."""
    findings = [judge(run) for run in runs]
    pairs = list(zip(runs, findings, strict=True))
    verdict = "".join(_verdict(run, finding, len(runs) > 1) for run, finding in pairs)
    if len(runs) > 1:
        verdict = overview(runs, findings) + verdict
    curves = curves_section(runs, findings, int(_SHARE_OF_CURVES * LARGEST))
    experts = _each(runs, [experts_section(run) for run in runs])
    costs = _each(runs, [circumstances(run) for run in runs])
    sections = [
        ("verdict", "Verdict", verdict),
        ("curves", "Curves", curves),
        ("experts", "Experts", experts),
        ("cost", "Cost, hardware, versions, command", costs),
        ("settings", "Settings", settings_section(runs)),
    ]
    room = (LARGEST - _SPARE - _size(sections)) // len(runs)
    pictures = _each(runs, [pictures_section(run, finding, room) for run, finding in pairs])
    sections.insert(2, ("pictures", "Pictures over time", pictures))
    return [section for section in sections if section[2]]


def _each(runs: Sequence[RunFiles], contents: Sequence[str]) -> str:
    """Return the contents of several runs below their names; a single run needs no name."""
    if len(runs) == 1:
        return contents[0]
    return "".join(
        details(run.name, content) for run, content in zip(runs, contents, strict=True) if content
    )


def _verdict(run: RunFiles, finding: Finding, is_named: bool) -> str:
    """Return the verdict on a run and the values that it is based on."""
    name = heading(run.name) if is_named else ""
    headline = f'<p class="verdict {finding.tone}">{text(finding.headline)}</p>'
    more = values_table(run, finding) + _divergence(run)
    if is_named and more:
        more = details("Values", more)
    return name + headline + paragraphs(finding.lines) + more


def _divergence(run: RunFiles) -> str:
    """Return the whole of `divergence.json` on demand: samples, health, the latest steps."""
    if run.divergence is None:
        return ""
    whole = text(json.dumps(run.divergence, indent=1), 50_000)
    return details("divergence.json", f'<pre class="scroll" tabindex="0">{whole}</pre>')


def _of_evaluation(folder: Path, room: int) -> tuple[str, list[str]]:
    """Return the content of an evaluation, and what could not be read."""
    path = folder / SUMMARY
    try:
        summary: dict[str, Any] = json.loads(path.read_text())
        return evaluation_part(folder, summary, room), []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        why = f"{type(error).__name__}: {first_clause(error)}"
        words = f"{path}: not as lsr eval writes it ({why})"
        return paragraphs(["The results could not be read."]), [words]
