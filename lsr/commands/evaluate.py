"""`lsr eval`: the quality of a model, or of someone's results, in figures that others can get again."""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.evaluation.protocols import PROTOCOLS
from lsr.exit_codes import DONE, SOME_FAILED
from lsr.models.pretrained import EMBEDDED

if TYPE_CHECKING:
    from lsr.evaluation.data import Item
    from lsr.evaluation.scoring import Job

DEFAULT_METRICS = (
    "maniqa",
    "maniqa-pipal",
    "musiq",
    "clipiqa",
    "niqe",
    "psnr_y",
    "ssim_y",
    "lpips",
    "dists",
    "fid",
)
"""What is computed where nobody chooses, as far as there are weights and HR photographs."""

_MAX_THREADS = 8
"""The default must not depend on the number of processes, and one of many must not take all cores."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr eval",
        description="Super-resolve LR photographs with a model, or take results that are there, and measure them. Writes per_image.csv, "
        "summary.json, report.md and contact.png. Run again, it continues. Exit code 1: some images failed, or a metric that was "
        "asked for by name cannot be computed; each is named, the rest is done.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--model",
        type=Path,
        metavar="MODEL",
        help=".safetensors, a checkpoint, a folder with one, owner/name (default: embedded)",
    )
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="results of any method, named like the LR photographs",
    )
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="LR photographs, or LR/HR, test_LR/test_HR, lq/gt in it",
    )
    parser.add_argument(
        "--targets", type=Path, metavar="DIR", help="HR photographs, paired by name"
    )
    parser.add_argument(
        "--metrics",
        metavar="A,B",
        help=f"default: {','.join(DEFAULT_METRICS)}, those that can be computed; also brisque, ilniqe",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="custom",
        help="conditions on the data (default custom)",
    )
    parser.add_argument(
        "--beside",
        metavar="A,B",
        help="what to compare with, image by image: bicubic, lanczos, and folders of results, named like the LR photographs",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder of the results"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="weights of metrics, by the names in their cards (default: torch's cache)",
    )
    sampling = parser.add_argument_group("of the model, without meaning for --predictions")
    sampling.add_argument(
        "--steps", type=int, default=1, help="sampling steps of the model (default 1)"
    )
    sampling.add_argument(
        "--seed", type=int, default=0, help="seed of the sampler's noise (default 0)"
    )
    sampling.add_argument(
        "--tile",
        type=int,
        default=0,
        help="side of tiles in LR pixels (default 0: whole photographs)",
    )
    sampling.add_argument(
        "--color-fix",
        default="adain",
        metavar="none|adain|wavelet",
        help="of lsr upscale (default adain)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:1 (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="processes, one per GPU (default 1); or use torchrun",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each process; last digits depend on it (default: one per core, at most 8)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="drop what an evaluation with other settings has left in --out",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.predictions is None and options.model is None:
        options.model = EMBEDDED
    # Not by pathlib, which raises where nobody may look; `claimed` says it in one line.
    if os.path.exists(options.out) and not os.path.isdir(options.out):
        raise ValueError(f"--out {options.out} is not a folder")
    if options.data.resolve() in options.out.resolve().parents:
        raise ValueError(
            f"--out {options.out} lies inside --data: its pictures would be taken for photographs"
        )
    if options.devices < 1 or (options.threads is not None and options.threads < 1):
        raise ValueError("--devices and --threads must be at least 1")
    from lsr.evaluation.processes import LostProcess, launched

    with launched() as (rank, size):
        if size > 1 and options.devices > 1:
            raise ValueError(f"torchrun has started {size} processes already: leave out --devices")
        try:
            return _evaluate(options, arguments, rank, size)
        except LostProcess as error:
            sys.stderr.write(f"lsr eval: {error}\n")
            return SOME_FAILED


def _evaluate(options: argparse.Namespace, arguments: Sequence[str], rank: int, size: int) -> int:
    """Do this process's part; the first of them writes what comes out."""
    from lsr.evaluation.available import available_metrics
    from lsr.evaluation.beside import beside_jobs
    from lsr.evaluation.data import find_items
    from lsr.evaluation.processes import score_as_rank, score_in_processes
    from lsr.evaluation.protocols import check_protocol
    from lsr.evaluation.results import write_results
    from lsr.evaluation.rows import PREDICTIONS, claimed
    from lsr.evaluation.summary import device_name, versions
    from lsr.models.pretrained import find_model

    if options.model is not None:
        options.model = find_model(options.model)
    items = find_items(
        options.data, options.targets, options.predictions, options.out / PREDICTIONS
    )
    model = None if options.model is None else _model_document(options)
    scale = None if model is None else model["scale"]
    check_protocol(options.protocol, items, scale)
    paired = any(item.hr is not None for item in items)
    metrics = available_metrics(_names(options.metrics), paired, options.weights)
    job = _job(options, items, [name for name in metrics.cards if name != "fid"])
    beside = {}
    if options.beside is not None:
        beside = beside_jobs(options.beside, job, options.protocol, scale)
    settings: dict[str, Any] = {
        "protocol": options.protocol,
        "model": model,
        "metrics": metrics.cards,
        "versions": versions(),
        "device": device_name(job.device),
        "threads": job.threads,
    }
    jobs = [job, *beside.values()]
    if rank > 0:
        score_as_rank(jobs, rank, size)
        return DONE
    for name, reason in metrics.unavailable.items():
        sys.stderr.write(f"unavailable: {name}: {reason}\n")
    with contextlib.ExitStack() as claims:
        # All of them before the first image is looked at: a refusal should not come after hours.
        claims.enter_context(claimed(options.out, settings, options.overwrite))
        for other in beside.values():
            theirs = settings | {"model": None, "upsampling": other.upsampling}
            claims.enter_context(claimed(other.out, theirs, options.overwrite))
        if size > 1:
            score_as_rank(jobs, rank, size)
        else:
            score_in_processes(jobs, options.devices)
        command = shlex.join(["lsr", *arguments])
        return write_results(
            job,
            beside,
            settings,
            metrics,
            options.data,
            options.predictions,
            command,
            named=options.metrics is not None,
        )


def _names(metrics: str | None) -> list[str]:
    from lsr.metrics.cards import ALIASES, CARDS

    if metrics is None:
        return list(DEFAULT_METRICS)
    names = list(
        dict.fromkeys(ALIASES.get(name.strip(), name.strip()) for name in metrics.split(","))
    )
    unknown = sorted(set(names) - CARDS.keys())
    if unknown:
        raise ValueError(
            f"--metrics: unknown {', '.join(map(repr, unknown))}; known are {', '.join(CARDS)}"
        )
    return names


def _model_document(options: argparse.Namespace) -> dict[str, Any]:
    from lsr.files import sha256_of
    from lsr.inference.upscaler import check_options
    from lsr.models.checkpoint import read_model

    check_options(options.steps, options.seed, options.tile, options.color_fix)
    scale = read_model(
        options.model
    ).config.scale  # before the digest: it tells what is wrong with the file
    sampling = {
        "steps": options.steps,
        "seed": options.seed,
        "tile": options.tile,
        "color_fix": options.color_fix,
    }
    return {"sha256": sha256_of(options.model), "scale": scale} | sampling


def _job(options: argparse.Namespace, items: "Sequence[Item]", metrics: Sequence[str]) -> "Job":
    import torch

    from lsr.evaluation.scoring import Job

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"--device {device}: there is no such device here")
    if device == "cuda" and options.devices > torch.cuda.device_count():
        raise ValueError(f"--devices {options.devices}: there are {torch.cuda.device_count()} GPUs")
    threads = options.threads or min(len(os.sched_getaffinity(0)), _MAX_THREADS)
    sampling = options.steps, options.seed, options.tile, options.color_fix
    return Job(
        options.out,
        tuple(items),
        tuple(metrics),
        options.weights,
        options.model,
        *sampling,
        device,
        threads,
    )
