"""Published values of metrics, by protocol, each with the paper or page that it was read in.

Papers contradict each other: the MUSIQ of OSEDiff on RealLQ250 is 70.0 in one and 61.2 in another.
So every source has rows of its own.
"""

from collections.abc import Mapping
from typing import NamedTuple

_LINEARSR = "LinearSR, arXiv 2510.08771"
_FLUXSR = "FluxSR's authors"
_DREAMCLEAR = "DreamClear, arXiv 2410.18666, table 1"
_LUCIDFLUX = "README of github.com/W2GenAI-Lab/LucidFlux"
_STRSR = "StrSR (ECCV 2026), table 3"

METRICS = ("maniqa", "musiq", "clipiqa", "niqe")
"""Metrics of the columns, keys of `lsr.metrics.cards.CARDS`. `maniqa` is that of KonIQ-10k."""


class Published(NamedTuple):
    """Values of a method in a source; None for a value that the source does not have.

    Attributes:
        source: Paper or page.
        method: Name of the method.
        maniqa: MANIQA, trained on KonIQ-10k.
        musiq: MUSIQ.
        clipiqa: CLIPIQA.
        niqe: NIQE.
    """

    source: str
    method: str
    maniqa: float | None = None
    musiq: float | None = None
    clipiqa: float | None = None
    niqe: float | None = None


# The MANIQA of StrSR's table is left out: it is 0.1 to 0.2 above the other tables for the same
# methods, as the variant trained on PIPAL would be.
PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "reallq250": (
        Published(_LINEARSR, "raw LQ", 0.372, 44.15, 0.608),
        Published(_LINEARSR, "SeeSR", 0.502, 70.912, 0.703),
        Published(_LINEARSR, "SUPIR", 0.393, 65.476, 0.574),
        Published(_LINEARSR, "DreamClear", 0.450, 67.126, 0.688),
        Published(_LINEARSR, "OSEDiff", 0.433, 70.013, 0.692),
        Published(_LINEARSR, "AdcSR", 0.450, 70.534, 0.677),
        Published(_LINEARSR, "InvSR", 0.421, 66.831, 0.704),
        Published(_LINEARSR, "TSD-SR", 0.470, 71.505),
        Published(_LINEARSR, "LinearSR", 0.515, 71.914, 0.720),
        Published(_FLUXSR, "FluxSR", 0.549, 72.65),
        Published(_DREAMCLEAR, "SeeSR", 0.4992, 70.57, 0.7104, 4.4126),
        Published(_DREAMCLEAR, "SUPIR", 0.3926, 66.03, 0.5800, 3.6336),
        Published(_DREAMCLEAR, "DreamClear", 0.4351, 66.76, 0.7116, 3.5556),
        Published(_LUCIDFLUX, "SeeSR", 0.4895, 70.38, 0.7063, 4.4383),
        Published(_LUCIDFLUX, "SUPIR", 0.3826, 65.81, 0.5767, 3.6591),
        Published(_LUCIDFLUX, "DreamClear", 0.4400, 67.08, 0.6950, 3.8700),
        Published(_LUCIDFLUX, "LucidFlux (12 B)", 0.5589, 73.01, 0.7122, 3.6742),
        Published(_STRSR, "SUPIR", musiq=66.11),
        Published(_STRSR, "OSEDiff", musiq=61.21),
        Published(_STRSR, "InvSR", musiq=64.80),
        Published(_STRSR, "TSD-SR", musiq=71.05, niqe=3.49),
        Published(_STRSR, "PiSA-SR", musiq=69.41, niqe=4.21),
        Published(_STRSR, "HYPIR", musiq=69.71, niqe=4.20),
        Published(_STRSR, "DiT4SR", musiq=70.95, niqe=3.55),
    ),
}
"""The rows of each protocol that has published values."""
