"""`python -m lsr.ablation FOLDER`: train every experiment of a folder, judge all alike, write one table."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from lsr.checkpoint import load_denoiser
from lsr.exit_codes import BAD_USAGE, DONE, SOME_FAILED
from lsr.experts import ExpertMixture
from lsr.flow.snr import PUBLISHED
from lsr.flow.timesteps import unshift_timesteps
from lsr.run_table import write_table
from lsr.training import LinearSRCLI
from lsr.training import main as train
from lsr.validation_loss import loss_at_times

_TIMES_PER_RANGE = 4


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lsr.ablation", description="Train every experiment of a folder and compare them.")
    parser.add_argument("folder", type=Path, help="of YAML files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of table.md and runs.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of training; a run for each (default 1)")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 5, 20], help="numbers of sampling steps to judge at")
    parser.add_argument("--metrics", nargs="+", default=["psnr_y", "ssim_y", "niqe"], help="of the experiments' val_metrics")
    parser.add_argument("--reference", nargs=2, metavar=("YAML", "FILE"), help="a trained model to put above the others")
    return parser


def judge(name: str, config: Path, folder: Path, checkpoint: Path, steps: Sequence[int], metrics: Sequence[str]) -> dict[str, str | float]:
    """Return a row about a trained model: sizes, validation loss by range of time, metrics by sampling steps, time for an image.

    Args:
        name: Of the row.
        config: The experiment.
        folder: Its run folder.
        checkpoint: The weights to judge.
        steps: Numbers of sampling steps.
        metrics: Those to report, such as `psnr_y`, which is `val/psnr_y`, or `val_real/niqe`.
    """
    denoiser, shift = load_denoiser(checkpoint)
    experts = [denoiser.expert(i) for i in range(len(denoiser.experts))] if isinstance(denoiser, ExpertMixture) else [denoiser]
    sizes = [sum(p.numel() for p in expert.parameters()) / 1e6 for expert in experts]
    row: dict[str, str | float] = {"model": name, "parameters, M": sum(sizes), "active, M": max(sizes)}
    scores: dict[str, str | float] = {}
    for n in steps:
        cli = _prepared(config, folder, n)
        of_loaders = cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=str(checkpoint), verbose=False, weights_only=True)
        found = {name: value for scalars in of_loaders for name, value in scalars.items()}
        scores |= {f"{metric}, {n} steps": found.get(metric if "/" in metric else f"val/{metric}", "–") for metric in metrics}
    denoiser.to(cli.model.device)
    pairs, *_ = tree_leaves(cli.datamodule.val_dataloader())  # photographs without ground truth have no loss
    batches = [cli.model.transfer_batch_to_device(batch, cli.model.device, 0) for batch in pairs]
    model, times = cli.model, list(_times(shift))
    losses = torch.cat([loss_at_times(denoiser, batch, model.path_noise(batch), times, shift, model.guidance(batch)) for batch in batches])
    edges = (0.0, *PUBLISHED, 1.0)
    for i, loss in enumerate(losses.mean(0).view(-1, _TIMES_PER_RANGE).mean(1).tolist()):
        row[f"loss, t {edges[i]:g}-{edges[i + 1]:g}"] = loss
    cli.model.num_inference_steps = 5
    return row | scores | {"ms per image, 5 steps": _milliseconds(cli.model, batches[0])}


def _prepared(config: Path, folder: Path, steps: int) -> LinearSRCLI:
    settings = {"trainer.default_root_dir": folder, "model.num_inference_steps": steps, "trainer.logger": "false", "trainer.devices": 1}
    cli = LinearSRCLI(["--config", str(config), *(str(part) for key, value in settings.items() for part in (f"--{key}", value))], run=False)
    cli.leave_cores_to_workers()
    return cli


def _times(shift: float) -> Iterator[float]:
    """Yield times before the shift, evenly spread in each range of the published boundaries, the same for every model."""
    ends = [0.0, *unshift_timesteps(torch.tensor(PUBLISHED, dtype=torch.float64), shift).tolist(), 1.0]
    for low, high in zip(ends, ends[1:], strict=False):
        yield from (low + (high - low) * (k + 0.5) / _TIMES_PER_RANGE for k in range(_TIMES_PER_RANGE))


def _milliseconds(module: Any, batch: dict[str, Any], repeats: int = 5) -> float:
    """Return the least time for an image of some repetitions, the weights being there already."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        module.super_resolve(batch).sum().item()  # waits for a device
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / len(batch["lr"])


def main(arguments: Sequence[str]) -> int:
    """Train, judge, write; returns the exit code. A run that was trained already is only judged."""
    options = _parser().parse_args(arguments)
    configs = sorted(options.folder.glob("*.yaml"))
    if not configs:
        raise ValueError(f"{options.folder}: no experiments in this folder")
    reference = [Path(path) for path in options.reference or ()]
    for path in reference:
        if not path.is_file():
            raise ValueError(f"{path}: no such reference")
    rows: list[dict[str, str | float]] = []
    failed: list[str] = []
    for seed in options.seeds:
        for config in configs:
            folder = options.out / config.stem / f"seed{seed}"
            settings = {"trainer.default_root_dir": folder, "data.init_args.seed": seed, "ckpt_path": "last"}
            arguments = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
            last = folder / "checkpoints" / "last.ckpt"
            try:
                if (code := train(["fit", "--config", str(config), *arguments])) != DONE:
                    raise ValueError(f"exit code {code}")
                rows.append(judge(config.stem, config, folder, last, options.steps, options.metrics))
            except ValueError as error:  # weights that are not here, for one: the others go on
                failed.append(f"{folder}: {' '.join(str(error).split())}")
    if options.reference:
        config, checkpoint = reference
        # Its run folder has what its metrics need.
        rows.insert(0, judge("reference", config, checkpoint.parent.parent, checkpoint, options.steps, options.metrics))
    sys.stdout.write(write_table(rows, options.out, "model") if rows else "")
    sys.stdout.writelines(f"failed: {folder}\n" for folder in failed)
    return SOME_FAILED if failed else DONE


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as mistake:
        sys.stderr.write(f"lsr.ablation: {mistake}\n")
        sys.exit(BAD_USAGE)
