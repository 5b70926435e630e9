"""Which metrics can be computed here, and why the others cannot."""

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
    """Metrics that were asked for.

    Attributes:
        cards: The cards of those that can be computed, as JSON values.
        unavailable: Why the others cannot, by name.
    """

    cards: dict[str, dict[str, Any]]
    unavailable: dict[str, str]


def available_metrics(names: Sequence[str], paired: bool, weights: Path | None) -> AvailableMetrics:
    """Build each metric once to see whether it can be computed.

    Args:
        names: Keys of `CARDS`.
        paired: Whether there are HR photographs.
        weights: Folder with weights that go before those of torch's cache.
    """
    cards, unavailable = {}, {}
    for name in names:
        if CARDS[name].full_reference and not paired:
            unavailable[name] = (
                "compares with HR photographs, and there are none: --targets names them"
            )
            continue
        try:
            files = (
                FrechetInceptionDistance(weights).files
                if CARDS[name].of_sets
                else Quality((name,), weights=weights).files[name]
            )
        except MissingWeights as error:
            unavailable[name] = f"its weights are not on this machine: fetch {error.recipe}"
        except ValueError as error:
            unavailable[name] = str(error)
        else:
            cards[name] = card_document(name, files)
    return AvailableMetrics(cards, unavailable)
