"""The fresh metrics and the weights of a validation, of any LightningModule."""

from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
from torch import Tensor

from lsr.distributed.tensors import gather


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


def check_logged(watched: Iterable[str], logged: Mapping[str, float]) -> None:
    """Raise ValueError if a metric that the knee watches is not among the logged values."""
    missing = [name for name in watched if name not in logged]
    if missing:
        raise ValueError(
            f"the knee watches {', '.join(missing)}, but validation does not log it; "
            f"it logs {', '.join(sorted(logged))}"
        )


def exported_weights(
    trainer: L.Trainer, module: L.LightningModule
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the current weights of a module and its configuration, see `KneePointCallback`.

    Every rank has to call this: sharded weights are gathered, see `gather`.
    """
    exported: Any = getattr(module, "exported", None)
    if callable(exported):
        weights, config = exported()  # pyright: ignore[reportGeneralTypeIssues]
        return weights, config
    state = trainer.strategy.lightning_module_state_dict()
    return gather({name: value for name, value in state.items() if isinstance(value, Tensor)}), {}
