"""The fresh metrics of a validation, of any LightningModule."""

from collections.abc import Iterable
from typing import Any

import lightning as L


def fresh_metrics(trainer: L.Trainer, loss: str) -> dict[str, float]:
    """Return the values that this validation has logged, and the latest training loss.

    `callback_metrics` would also hold values of earlier validations.
    """
    run: Any = trainer  # Lightning does not declare the attribute `_results`
    results = run._results
    logged: dict[str, float] = {}
    # With several loaders Lightning shows the values of one loader at a time. The index None
    # stands for a single loader, and for what the module logs at the end of the validation.
    for index in {None, *(item.meta.dataloader_idx for item in results.values())}:
        results.dataloader_idx = index
        values = results.metrics(on_step=False)["callback"]
        logged |= {name: float(value) for name, value in values.items()}
    results.dataloader_idx = None
    if loss in trainer.callback_metrics:
        logged.setdefault(loss, float(trainer.callback_metrics[loss]))
    return logged


def check_logged(watched: Iterable[str], logged: Iterable[str], where: str) -> None:
    """Check that the watched metrics are logged.

    Args:
        watched: Names of the metrics that a knee needs.
        logged: Names of the values that were logged.
        where: What has logged them: "validation" or "the sanity check".

    Raises:
        ValueError: If a watched metric is missing.
    """
    missing = [name for name in watched if name not in logged]
    if missing:
        raise ValueError(
            f"the knee watches {', '.join(missing)}, but {where} does not log it; "
            f"it logs {', '.join(sorted(logged)) or 'nothing'}"
        )
