"""`lsr eval`: evaluate a model, or the results of any method, by reproducible metrics."""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.commands.evaluate_options import DEFAULT_METRICS, MAX_THREADS, parser
from lsr.commands.max_pixels_option import pixel_limit_of
from lsr.commands.memory_option import memory_of
from lsr.commands.out_option import check_out_folder
from lsr.commands.start_processes import in_one_or_several
from lsr.errors import DONE
from lsr.files import check_folder
from lsr.models.pretrained import EMBEDDED

if TYPE_CHECKING:
    from lsr.distributed.processes import Processes
    from lsr.evaluation.data import Item
    from lsr.evaluation.results import Evaluation
    from lsr.evaluation.scoring import Job
    from lsr.inference.config import SamplingConfig


def main(arguments: Sequence[str]) -> int:
    """Run `lsr eval`.

    Args:
        arguments: Command line, beginning with the verb.

    Returns:
        The exit code.

    Raises:
        ValueError: If the options or the files they name cannot be used.
    """
    options = parser().parse_args(arguments[1:])
    if options.predictions is None and options.model is None:
        options.model = EMBEDDED
    _check_folders_and_counts(options)
    # In each of several processes OMP_NUM_THREADS is its share of the cores, but the values, which
    # depend on the number of threads, must not depend on the number of processes.
    options.threads = options.threads or _default_threads()
    with pixel_limit_of(options):
        return in_one_or_several("eval", _evaluate, (options, arguments), options.devices)


def _check_folders_and_counts(options: argparse.Namespace) -> None:
    """Raise ValueError if `--out` cannot be used, or a number is out of range."""
    check_folder(options.data, option="--data")
    check_out_folder(options.out)
    if options.data.resolve() in options.out.resolve().parents:
        raise ValueError(
            f"--out {options.out} lies inside --data, where the next evaluation would take its "
            "pictures for photographs: choose a folder outside"
        )
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads must be at least 1, not {options.threads}")


def _evaluate(
    command_line: tuple[argparse.Namespace, Sequence[str]], processes: "Processes"
) -> int:
    """Evaluate the share of this process; process 0 writes the results.

    Args:
        command_line: The command line, parsed and as it is.
        processes: The processes.

    Returns:
        The exit code.
    """
    from lsr.evaluation.processes import score_together
    from lsr.evaluation.results import write_results

    options, arguments = command_line
    with contextlib.ExitStack() as claims:
        with processes.together():
            evaluation = _evaluation(options, arguments, processes.rank)
            if processes.leads:
                for name, reason in evaluation.metrics.unavailable.items():
                    sys.stderr.write(f"unavailable: {name}: {reason}\n")
                # Before the first image, so that a refusal does not come after hours.
                claims.enter_context(_claimed_folders(evaluation, options.overwrite))
        score_together([evaluation.job, *evaluation.others.values()], processes)
        return write_results(evaluation) if processes.leads else DONE


def _evaluation(options: argparse.Namespace, arguments: Sequence[str], rank: int) -> "Evaluation":
    """Find and check everything that the options name, for process `rank`."""
    from lsr.evaluation.available import available_metrics
    from lsr.evaluation.data import find_items
    from lsr.evaluation.methods import jobs_of_methods
    from lsr.evaluation.per_image import PREDICTIONS
    from lsr.evaluation.protocols import check_protocol
    from lsr.evaluation.results import Evaluation
    from lsr.guidance.upscale_texts import note_missing_tags
    from lsr.models.checkpoint import read_model
    from lsr.models.pretrained import find_model

    sampling = _sampling(options)
    config = model = scale = None
    if options.model is not None:
        options.model = find_model(options.model)
        # Read the model before its digest, because an unusable file gives a clearer error then.
        found = read_model(options.model)
        sampling.check_steps(found.one_step)
        config = found.config
        scale = config.scale
        model = _model_document(options.model, scale, sampling)
    items = find_items(
        options.data, options.targets, options.predictions, options.out / PREDICTIONS, scale
    )
    if rank == 0 and config is not None and config.takes_tags:
        note_missing_tags({item.lr: item.tags for item in items})
    check_protocol(options.protocol, items, scale)
    paired = any(item.hr is not None for item in items)
    metrics = available_metrics(_names(options.metrics), paired, options.weights)
    job = _job(options, items, [name for name in metrics.cards if name != "fid"], sampling)
    others = {}
    if options.beside is not None:
        others = jobs_of_methods(options.beside, job, options.protocol, scale)
    return Evaluation(
        job=job,
        others=others,
        settings=_settings(options.protocol, model, metrics.cards, job),
        metrics=metrics,
        metrics_named=options.metrics is not None,
        data=options.data,
        predictions=options.predictions,
        command=shlex.join(["lsr", *arguments]),
    )


def _settings(
    protocol: str, model: dict[str, Any] | None, cards: dict[str, Any], job: "Job"
) -> dict[str, Any]:
    """Return the contents of evaluation.json; a folder continues only if they are unchanged."""
    from lsr.evaluation.summary import PACKAGES
    from lsr.runs.machine import device_name, versions

    return {
        "protocol": protocol,
        "model": model,
        "metrics": cards,
        "versions": versions(PACKAGES),
        "device": device_name(job.device),
        "threads": job.threads,
    }


@contextlib.contextmanager
def _claimed_folders(evaluation: "Evaluation", overwrite: bool) -> Iterator[None]:
    """Claim the folders of all methods inside the block, see `lsr.evaluation.per_image.claimed`."""
    from lsr.evaluation.per_image import claimed

    with contextlib.ExitStack() as claims:
        claims.enter_context(claimed(evaluation.job.out, evaluation.settings, overwrite))
        for other in evaluation.others.values():
            changes = {"model": None, "upsampling": other.upsampling}
            claims.enter_context(claimed(other.out, {**evaluation.settings, **changes}, overwrite))
        yield


def _names(metrics: str | None) -> list[str]:
    """Return the keys of `CARDS` that `--metrics` names, in the same order, each once."""
    from lsr.metrics.cards import ALIASES, CARDS

    if metrics is None:
        return list(DEFAULT_METRICS)
    typed = [name.strip() for name in metrics.split(",")]
    names = list(dict.fromkeys(ALIASES.get(name, name) for name in typed))
    unknown = sorted(set(names) - CARDS.keys())
    if unknown:
        raise ValueError(
            f"--metrics: unknown {', '.join(map(repr, unknown))}; known are {', '.join(CARDS)}"
        )
    return names


def _sampling(options: argparse.Namespace) -> "SamplingConfig":
    """Return the sampling settings; with `--predictions` the options are ignored."""
    from lsr.inference.config import SamplingConfig

    if options.model is None:
        return SamplingConfig()
    return SamplingConfig(
        num_inference_steps=options.steps,
        seed=options.seed,
        memory=memory_of(options),
        color_fix=options.color_fix,
    )


def _model_document(model: Path, scale: int, sampling: "SamplingConfig") -> dict[str, Any]:
    """Return what the results of a model depend on, as JSON values for evaluation.json."""
    from lsr.files import sha256_of

    return {
        "sha256": sha256_of(model),
        "scale": scale,
        "steps": sampling.num_inference_steps,
        "seed": sampling.seed,
        "color_fix": sampling.color_fix,
    }


def _job(
    options: argparse.Namespace,
    items: "Sequence[Item]",
    metrics: Sequence[str],
    sampling: "SamplingConfig",
) -> "Job":
    """Return the job of the evaluated method.

    Args:
        options: Parsed command line.
        items: All images.
        metrics: Available metrics of single images.
        sampling: Sampling settings of the model.
    """
    from lsr.evaluation.scoring import Job

    return Job(
        out=options.out,
        items=tuple(items),
        metrics=tuple(metrics),
        weights=options.weights,
        model=options.model,
        sampling=sampling,
        device=_device(options.device, options.devices),
        threads=options.threads,
    )


def _default_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else the number of cores, at most `MAX_THREADS`."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def _device(device: str | None, devices: int) -> str:
    """Return the device, by default a GPU if there is one.

    Args:
        device: Device that `--device` names; None chooses the default.
        devices: Number of processes.

    Raises:
        ValueError: If the device does not exist, or there are fewer GPUs than processes.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(
            f"--device {device}: no such device on this machine; use cpu or, with a GPU, cuda"
        )
    if device == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(
            f"--devices must be at most {torch.cuda.device_count()}, the number of GPUs, "
            f"not {devices}"
        )
    return device
