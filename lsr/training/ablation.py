"""Ablations: train variants of experiments, and judge all of them in the same way."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml
from torch.utils._pytree import tree_leaves

from lsr.batch import Batch
from lsr.errors import DIVERGED, DONE
from lsr.experts.config import ExpertsConfig
from lsr.figures import save_png
from lsr.files import write_json
from lsr.flow.snr import PUBLISHED
from lsr.flow.timesteps import unshift_timesteps
from lsr.models.checkpoint import load_denoiser
from lsr.models.mixture import Model
from lsr.runs.history import RunLog, Scalars
from lsr.runs.plot import draw_runs
from lsr.training.cli import LinearSRCLI
from lsr.training.cli import main as train
from lsr.training.divergence import REPORT
from lsr.training.module import LinearSRModule
from lsr.training.scores import BICUBIC
from lsr.training.sigterm import interruptions_raised
from lsr.training.unstarted import read_settings
from lsr.training.validation_loss import OTHER_CONTEXT, loss_at_times
from lsr.training.variants import Variant

DEFAULT = ("psnr_y", "ssim_y", "niqe")
"""Metrics of a table whose command line names none."""

_TIMES_PER_RANGE = 4
"""Number of times at which the loss of each range is measured."""


def metrics_of_table(chosen: Sequence[Variant], wanted: Sequence[str] | None) -> Sequence[str]:
    """Check settings and metrics before anything is trained, and return the metrics.

    Args:
        chosen: The variants.
        wanted: Metrics, named as in `judge`. At least one variant must have each, unless its name
            has a slash: a callback may log it. None takes what the variants have of `DEFAULT`.

    Raises:
        ValueError: If a setting is unknown or has a wrong value, or no variant has a metric.
    """
    known: set[str] = set()
    for variant in chosen:
        try:
            known |= _metrics_of(variant)
        except ValueError as error:
            raise ValueError(f"{variant.config}: {error}") from error
    metrics = wanted or [metric for metric in DEFAULT if metric in known] or DEFAULT
    for metric in metrics:
        if "/" not in metric and metric not in known:
            raise ValueError(f"no metric {metric}: there are {', '.join(sorted(known))}")
    return metrics


def _metrics_of(variant: Variant) -> set[str]:
    """Return the names of the metrics and losses that the validation of a variant logs."""
    model = read_settings(variant.arguments({})).model
    names = {*model.val_metrics, BICUBIC, "loss"}
    if model.denoiser.guidance != "none":
        names.add(OTHER_CONTEXT)
    if model.get("experts") is not None:
        boundaries = ExpertsConfig(**model.experts).times()
        names |= {f"loss_expert_{i}" for i in range(len(boundaries) + 1)}
    return names


def judge(
    variant: Variant, folder: Path, checkpoint: Path, steps: Sequence[int], metrics: Sequence[str]
) -> dict[str, str | float]:
    """Return the row of a trained model.

    It has the sizes, the validation loss in each range between the published boundaries, the
    metrics for each number of sampling steps, and the time per image.

    Args:
        variant: The variant that was trained.
        folder: Its run folder.
        checkpoint: The weights to judge.
        steps: Numbers of sampling steps.
        metrics: Metrics to report: `psnr_y` stands for `val/psnr_y`; `val_real/niqe` stands for
            itself.

    Raises:
        ValueError: If the checkpoint or the experiment is unusable.
        KeyboardInterrupt: If the user pressed Ctrl-C, or the process got SIGTERM.
    """
    denoiser, shift = load_denoiser(checkpoint)
    sizes = [sum(p.numel() for p in each.parameters()) / 1e6 for each in denoiser.denoisers]
    row: dict[str, str | float] = {
        "model": variant.name,
        "parameters, M": sum(sizes),
        "active, M": max(sizes),
    }
    scores: dict[str, str | float] = {}
    for n in steps:
        cli = _prepared(variant, folder, n)
        with interruptions_raised():
            of_loaders = cli.trainer.validate(
                cli.model,
                cli.datamodule,
                ckpt_path=str(checkpoint),
                verbose=False,
                weights_only=True,
            )
        found = {name: value for scalars in of_loaders for name, value in scalars.items()}
        scores |= {f"{metric}, {n} steps": found.get(_logged(metric), "–") for metric in metrics}
    model: LinearSRModule = cli.model
    denoiser.to(model.device)
    # The first loader; photographs of a second one have no ground truth, and so no loss.
    pairs, *_ = tree_leaves(cli.datamodule.val_dataloader())
    batches = [model.transfer_batch_to_device(batch, model.device, 0) for batch in pairs]
    row |= _losses(denoiser, shift, model, batches)
    model.num_inference_steps = 5
    return row | scores | {"ms per image, 5 steps": _milliseconds(model, batches[0])}


def _losses(
    denoiser: Model, shift: float, model: LinearSRModule, batches: Sequence[Batch]
) -> dict[str, float]:
    """Return the mean loss in each range between the published boundaries."""
    times = list(_times(shift))
    losses = torch.cat(
        [
            loss_at_times(
                denoiser, batch, model.path_noise(batch), times, shift, model.guidance(batch)
            )
            for batch in batches
        ]
    )
    edges = (0.0, *PUBLISHED, 1.0)
    means = losses.mean(0).view(-1, _TIMES_PER_RANGE).mean(1).tolist()
    return {
        f"loss, t {low:g}-{high:g}": loss
        for low, high, loss in zip(edges, edges[1:], means, strict=False)
    }


def _prepared(variant: Variant, folder: Path, steps: int) -> LinearSRCLI:
    """Return a run of the variant that is ready for validation with a number of sampling steps."""
    settings = {
        "trainer.default_root_dir": folder,
        "model.num_inference_steps": steps,
        "trainer.logger": "false",
        "trainer.devices": 1,
    }
    cli = LinearSRCLI(variant.arguments(settings), run=False)
    cli.leave_cores_to_workers()
    return cli


def _times(shift: float) -> Iterator[float]:
    """Yield times before the shift, evenly spread within each range of the published boundaries.

    After the shift the ranges are the same for every model.
    """
    ends = [
        0.0,
        *unshift_timesteps(torch.tensor(PUBLISHED, dtype=torch.float64), shift).tolist(),
        1.0,
    ]
    for low, high in itertools.pairwise(ends):
        for k in range(_TIMES_PER_RANGE):
            yield low + (high - low) * (k + 0.5) / _TIMES_PER_RANGE


def _milliseconds(module: LinearSRModule, batch: Batch, repeats: int = 5) -> float:
    """Return the milliseconds per image of the fastest of some repetitions."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        module.super_resolve(batch).sum().item()  # waits for the GPU
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / len(batch["lr"])


def train_variant(variant: Variant, seed: int, folder: Path) -> int | None:
    """Train a variant, or continue its training; a trained one is left alone.

    Args:
        variant: The variant.
        seed: Seed of the training data.
        folder: The run folder.

    Returns:
        The step at which training diverged, or None if it did not.

    Raises:
        ValueError: If training fails, or the folder holds a run with other settings.
    """
    trained_as = {
        "experiment": yaml.safe_load(variant.config.read_text()),
        "settings": list(variant.settings),
    }
    record = folder / "variant.json"
    if not record.exists():
        write_json(record, trained_as)
    recorded = json.loads(record.read_text())
    if recorded != trained_as:
        settings = " ".join(recorded.get("settings", []))
        raise ValueError(
            f"{folder} holds a run of another experiment or of other settings "
            f"({settings or 'none'}): repeat these, or choose another --out"
        )
    if _diverged_at(folder) is None:
        settings = {
            "trainer.default_root_dir": folder,
            "data.init_args.seed": seed,
            "ckpt_path": "last",
        }
        code = train(["fit", *variant.arguments(settings)])
        if code not in (DONE, DIVERGED):
            raise ValueError(f"training ended with exit code {code}, see the lines above")
    return _diverged_at(folder)


def _diverged_at(folder: Path) -> int | None:
    """Return the step in the report of a divergence, or None if there is no report."""
    report = folder / REPORT
    return json.loads(report.read_text())["step"] if report.is_file() else None


def folder_of(out: Path, variant: Variant, seed: int) -> Path:
    """Return the run folder of a variant and a seed in the folder of the ablation."""
    return out / variant.folder / f"seed{seed}"


def draw_curves(
    out: Path, chosen: Sequence[Variant], seeds: Sequence[int], metrics: Sequence[str]
) -> None:
    """Draw the validation curves of all runs to `curves.png`; without logs nothing is drawn.

    Args:
        out: Folder of the ablation.
        chosen: The variants.
        seeds: The seeds of each variant.
        metrics: Metrics to draw, named as in `judge`.
    """
    logs: dict[str, list[Scalars]] = {}
    diverged: dict[str, list[int]] = {}
    for variant in chosen:
        for folder in (folder_of(out, variant, seed) for seed in seeds):
            with contextlib.suppress(ValueError):  # the experiment has no loggers
                scalars = RunLog.read(folder).scalars
                logs.setdefault(variant.name, []).append(scalars)
            if (step := _diverged_at(folder)) is not None:
                diverged.setdefault(variant.name, []).append(step)
    if logs:
        save_png(
            draw_runs(logs, [_logged(metric) for metric in metrics], diverged), out / "curves.png"
        )


def _logged(metric: str) -> str:
    """Return the name under which a metric is logged."""
    return metric if "/" in metric else f"val/{metric}"
