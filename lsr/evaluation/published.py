"""Published values of metrics, by protocol and by metric."""

from collections.abc import Mapping

_METHODS = (
    "raw LQ",
    "SeeSR",
    "SUPIR",
    "DreamClear",
    "OSEDiff",
    "AdcSR",
    "InvSR",
    "TSD-SR",
    "LinearSR",
    "FluxSR",
    "LucidFlux (12 B)",
)


def _column(*values: float | None) -> dict[str, float]:
    """Return the values by method, without the methods that have none."""
    return {
        method: value for method, value in zip(_METHODS, values, strict=True) if value is not None
    }


# From arXiv 2510.08771; FluxSR and LucidFlux from the papers of their authors. `maniqa` was trained
# on KonIQ-10k, like the metric of this name in `lsr.metrics.cards`.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "reallq250": {
        "maniqa": _column(
            0.372, 0.502, 0.393, 0.450, 0.433, 0.450, 0.421, 0.470, 0.515, 0.549, 0.559
        ),
        "musiq": _column(
            44.15, 70.912, 65.476, 67.126, 70.013, 70.534, 66.831, 71.505, 71.914, 72.65, 73.01
        ),
        "clipiqa": _column(
            0.608, 0.703, 0.574, 0.688, 0.692, 0.677, 0.704, None, 0.720, None, 0.712
        ),
    }
}
"""Mapping of protocol -> metric -> method -> value."""


def published_methods(protocol: str) -> list[str]:
    """Return the methods with a published value under a protocol, in the order of the table."""
    named = {method for column in PUBLISHED.get(protocol, {}).values() for method in column}
    return [method for method in _METHODS if method in named]
