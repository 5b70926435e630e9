"""What a run has come to: the knee or why there is none, a divergence, what experts gained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lsr.errors import first_clause
from lsr.knee.provisional import STATUS
from lsr.knee.replay import guess_metrics, replay
from lsr.knee.verdict import KneeVerdict, describe_interval, in_percent
from lsr.knee.words import describe_remaining, describe_verdict
from lsr.report.chart import Mark
from lsr.report.markup import number
from lsr.report.run_files import RunFiles
from lsr.runs.launches import FINISHED
from lsr.runs.settings import by_dotted_names

_CALLBACK = ".KneePointCallback"
"""End of the class path of the callback that looks for the knee."""

_DETECTOR = ("metrics", "min_step", "confidence", "wait", "max_candidates")
"""Names of the arguments of `KneeDetector`."""


@dataclass
class Finding:
    """The verdict on a run.

    Attributes:
        headline: The verdict in a few words.
        tone: "good", "bad" or "open".
        lines: Sentences that explain it.
        knee: Step of the published knee, None if there is none.
        marks: What the charts of the run mark.
        per_metric: What the detector found for each metric, see `KneeVerdict`.
    """

    headline: str = ""
    tone: Literal["good", "bad", "open"] = "open"
    lines: list[str] = field(default_factory=list)
    knee: int | None = None
    marks: list[Mark] = field(default_factory=list)
    per_metric: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def judge(run: RunFiles) -> Finding:
    """Return the verdict on a run from its files.

    What the run has written counts: `divergence.json`, `knee.json`. The detector is replayed over
    the log for what these do not tell: the interval, what is still to come, why there is no knee.
    """
    finding = Finding()
    settings = detector_settings(run)
    verdict = _replayed(run, settings, finding) if settings else None
    if run.knee is not None:
        _tell_knee(finding, run.knee, verdict)
    elif verdict is not None:
        _tell_no_knee(finding, run, verdict)
    if run.loss_by_time is not None:
        _tell_experts(finding, run.loss_by_time)
    if run.divergence is not None:
        _tell_divergence(finding, run.divergence)
    elif run.launches and run.launches[-1].ended != FINISHED:
        newest = run.launches[-1]
        ended = newest.ended or "no end is recorded, the run was killed or still trains"
        finding.lines.append(f"The newest launch, at step {newest.step:,}: {ended}.")
    if not finding.headline:
        step = run.last_step
        finding.headline = "Nothing is logged" if step is None else f"Trained to step {step:,}"
    return finding


def detector_settings(run: RunFiles) -> dict[str, Any] | None:
    """Return the arguments of the run's detector, None if the run looks for no knee.

    They stand in `knee.json`, else in the configuration. Without both, metrics are known by name,
    as in `lsr knee`.
    """
    found = run.knee.get("detector") if run.knee is not None else None
    if not isinstance(found, dict):
        flat = by_dotted_names(run.config)
        callback = next((n for n, v in flat.items() if str(v).endswith(_CALLBACK)), None)
        if run.config and callback is None:
            return None
        prefix = f"{callback}."
        parts = {n.removeprefix(prefix): v for n, v in flat.items() if n.startswith(prefix)}
        metrics = {n.removeprefix("metrics."): v for n, v in parts.items() if "metrics." in n}
        found = parts | {"metrics": metrics}
    settings = {name: found[name] for name in _DETECTOR if name in found}
    metrics = settings.get("metrics") or guess_metrics(run.curves)
    return settings | {"metrics": metrics} if metrics else None


def _replayed(run: RunFiles, settings: dict[str, Any], finding: Finding) -> KneeVerdict | None:
    """Replay the detector over the log; None if the log or the settings do not allow it."""
    if run.log is None:
        return None
    loss = "train/loss" if "train/loss" in run.curves else None
    try:
        history = run.log.validations(settings["metrics"], loss)
        if not history or history[0].step < 0:
            raise ValueError("validations are counted from 0 or 1")
        whole = replay(history, **settings)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        run.notices.append(f"{run.folder}: the knee is not looked for ({first_clause(error)})")
        return None
    finding.per_metric = whole.per_metric
    return whole.verdict


def _tell_knee(finding: Finding, knee: Mapping[str, Any], verdict: KneeVerdict | None) -> None:
    """Tell of a published knee; the replay adds its interval and what is still to come."""
    finding.knee = knee["step"]
    finding.headline = f"Knee at step {knee['step']:,}"
    finding.tone = "good"
    finding.marks.append(Mark("knee", finding.headline.lower(), knee["step"]))
    if isinstance(knee.get("reason"), str):
        finding.lines.append(_sentence(knee["reason"]))
    confirmed = knee.get("confirmed_at_step")
    if isinstance(confirmed, int):
        finding.lines.append(f"It was confirmed at step {confirmed:,}.")
        finding.marks.append(Mark("confirmed", f"confirmed at step {confirmed:,}", confirmed))
    if verdict is None:
        return
    if verdict.knee_step != knee["step"]:
        other = "no knee" if verdict.knee_step is None else f"a knee at step {verdict.knee_step:,}"
        finding.lines.append(f"This version of the detector finds {other} in the same log.")
    if verdict.interval is not None:
        finding.lines.append(_sentence(describe_interval(verdict.interval)))
    finding.lines += [_sentence(line) for line in describe_remaining(verdict)]
    _mark_interval(finding, verdict)


def _tell_no_knee(finding: Finding, run: RunFiles, verdict: KneeVerdict) -> None:
    """Tell why the run has published no knee, and which step is likeliest."""
    first, *others = describe_verdict(verdict)
    finding.headline = "No knee confirmed"
    finding.lines += [_sentence(line) for line in (first, *others)]
    if run.provisional is not None:
        likely = in_percent(run.provisional["probability"])
        step = run.provisional["step"]
        finding.lines.append(
            f"knee/provisional.json names step {step:,}, {likely} likely ({STATUS})."
        )
    if verdict.knee_step is not None:
        finding.headline = f"Knee at step {verdict.knee_step:,}, not published"
        finding.marks.append(Mark("knee", finding.headline.lower(), verdict.knee_step))
    elif verdict.candidate_step is not None:
        words = f"candidate: step {verdict.candidate_step:,}"
        finding.marks.append(Mark("candidate", words, verdict.candidate_step))
    _mark_interval(finding, verdict)


def _mark_interval(finding: Finding, verdict: KneeVerdict) -> None:
    low, high = verdict.interval or (None, None)
    if low is not None and low <= verdict.step:
        end = verdict.step if high is None else min(high, verdict.step)
        finding.marks.append(Mark("interval", describe_interval((low, high)), low, end))


def _tell_experts(finding: Finding, found: Mapping[str, Any]) -> None:
    """Tell by how much the experts' loss differs from that of the knee they have started from."""
    losses, knee = found["losses"], found["knee_losses"]
    if not losses or len(losses) != len(knee) or not sum(knee):
        return
    change = 100 * (sum(losses) / sum(knee) - 1)
    better = sum(each < before for each, before in zip(losses, knee, strict=True))
    side = "below" if change < 0 else "above"
    words = f"Experts {number(abs(round(change, 2)))} % {side} the loss of the knee"
    finding.headline = finding.headline or words
    finding.tone = "good" if change < 0 else "open"
    finding.lines.append(
        f"{words}: the mean over {len(losses)} flow times at step {found['step']:,}. The experts "
        f"are better than the knee at {better} of these times."
    )


def _tell_divergence(finding: Finding, report: Mapping[str, Any]) -> None:
    """Tell where a run has diverged, and why; this comes first."""
    step = report["step"]
    knee = f"; {finding.headline.lower()}" if finding.knee is not None else ""
    finding.headline = f"Diverged at step {step:,}{knee}"
    finding.tone = "bad"
    lines = [_sentence(report["reason"])]
    for name, words in (
        ("non_finite_gradients", "First gradients that are not finite"),
        ("non_finite_weights", "First weights that are not finite"),
    ):
        names = report.get(name)
        if isinstance(names, list) and names:
            lines.append(f"{words}: {', '.join(map(str, names))}.")
    finding.lines = lines + finding.lines
    finding.marks.append(Mark("diverged", f"diverged at step {step:,}", step))


def _sentence(words: str) -> str:
    """Return a line of the detector or of a message as a sentence; names stay as they are."""
    first = words if "/" in words.partition(" ")[0] else f"{words[:1].upper()}{words[1:]}"
    return first if first.endswith((":", ".")) else f"{first}."
