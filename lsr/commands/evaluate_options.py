"""Options of `lsr eval`."""

import argparse
from pathlib import Path

from lsr.commands.max_pixels_option import add_max_pixels_option
from lsr.commands.memory_option import add_memory_option
from lsr.commands.option_parser import OptionParser
from lsr.evaluation.protocols import PROTOCOLS
from lsr.inference.config import COLOR_FIXES

DEFAULT_METRICS = (
    "maniqa",
    "maniqa-pipal",
    "musiq",
    "clipiqa",
    "niqe",
    "psnr_y",
    "ssim_y",
    "lr_psnr_y",
    "lpips",
    "dists",
    "fid",
)
"""Metrics that are computed without `--metrics`, if their weights and HR photographs are there."""

MAX_THREADS = 8
"""Most threads by default. The last digits of the values depend on the number of threads, so that
the default cannot depend on `--devices`; and one of several processes should not use all cores."""


def parser() -> OptionParser:
    """Return the parser of the command line of `lsr eval`."""
    parser = OptionParser(
        prog="lsr eval",
        description="Super-resolve LR photographs with a model, or read existing results, and "
        "compute metrics. Writes per_image.csv, summary.json, report.md, report.html and "
        "contact.png. Run the same command again to continue. Exit code 1: some images failed, or "
        "a metric that was requested by name cannot be computed; each failure is reported, and "
        "everything else is done.",
        examples=[
            "lsr eval --data pairs --out scores    # the model perceptual",
            "lsr eval --model model.safetensors --data pairs --out beside --beside bicubic,theirs",
            "lsr eval --predictions theirs --data pairs --metrics psnr,ssim --out their-scores",
        ],
    )
    _add_images(parser)
    add_max_pixels_option(parser)
    _add_measures(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder of the results"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder with weights of metrics under their published names (default: torch's cache)",
    )
    _add_sampling(parser)
    _add_execution(parser)
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the photographs and their results."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--model",
        type=Path,
        metavar="perceptual|faithful|MODEL",
        help="perceptual (default) or faithful, the models in this package; or a .safetensors "
        "file, a checkpoint, a folder with one of them, or owner/name on the Hugging Face hub",
    )
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="folder with results of any method, named like the LR or the HR photographs",
    )
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of LR photographs, or a data set of pairs, such as a folder with LR and HR",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="DIR",
        help="folder of HR photographs, named like the LR photographs",
    )


def _add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the options that define what is computed."""
    parser.add_argument(
        "--metrics",
        metavar="A,B",
        help=f"metrics (default: those of {', '.join(DEFAULT_METRICS)} that can be computed; also "
        "known: brisque, ilniqe; psnr and ssim mean psnr_y and ssim_y)",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="custom",
        help="conditions that the photographs must satisfy (default custom)",
    )
    parser.add_argument(
        "--beside",
        metavar="A,B",
        help="methods to compare with, image by image: bicubic, lanczos, and folders of results "
        "named like the LR photographs",
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of `SamplingConfig`."""
    sampling = parser.add_argument_group("sampling, ignored with --predictions")
    sampling.add_argument(
        "--steps", type=int, default=1, help="sampling steps of the model (default 1)"
    )
    sampling.add_argument(
        "--seed", type=int, default=0, help="seed of the sampler's noise (default 0)"
    )
    add_memory_option(sampling)
    sampling.add_argument(
        "--color-fix",
        default="adain",
        metavar="|".join(COLOR_FIXES),
        help="colour correction, as in lsr upscale (default adain)",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    """Add the options of devices, processes and existing results."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:1 (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="number of processes, one per GPU (default 1); torchrun works too",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each process; the last digits of the values depend on it (default: "
        f"OMP_NUM_THREADS, else one per core, at most {MAX_THREADS})",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="delete the values in --out that were made with other settings, instead of refusing",
    )
