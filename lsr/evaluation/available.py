"""Find out which metrics can be computed on this machine, and why the others cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.evaluation.summary import card_document
from lsr.metrics.cards import CARDS
from lsr.metrics.fid import FrechetInceptionDistance
from lsr.metrics.quality import Quality
from lsr.metrics.weights import MissingWeights


@dataclass(frozen=True)
class AvailableMetrics:
    """The requested metrics, divided into available and unavailable ones.

    Attributes:
        cards: Cards of the available metrics as JSON values, by name.
        unavailable: Reasons why the other metrics cannot be computed, by name.
    """

    cards: dict[str, dict[str, Any]]
    unavailable: dict[str, str]


def available_metrics(names: Sequence[str], paired: bool, weights: Path | None) -> AvailableMetrics:
    """Build each metric once to find out whether it can be computed.

    Args:
        names: Keys of `CARDS`.
        paired: Whether there are HR photographs.
        weights: Folder with files of weights, searched before torch's cache.
    """
    cards: dict[str, dict[str, Any]] = {}
    unavailable: dict[str, str] = {}
    for name in names:
        if CARDS[name].of_hr and not paired:
            unavailable[name] = (
                "compares with HR photographs, and there are none: name their folder by --targets"
            )
            continue
        try:
            cards[name] = card_document(name, _weights_files(name, weights))
        except MissingWeights as error:
            unavailable[name] = f"its weights are not on this machine: fetch {error.recipe}"
        except ValueError as error:
            unavailable[name] = str(error)
    return AvailableMetrics(cards, unavailable)


def _weights_files(name: str, weights: Path | None) -> list[Path]:
    """Return the files of weights that a metric uses."""
    if CARDS[name].of_sets:
        return FrechetInceptionDistance(weights).files
    return Quality((name,), weights=weights).files[name]
