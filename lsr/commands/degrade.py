"""`lsr degrade`: preview a degradation of a photograph, or write LR images of whole folders."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.commands.option_parser import OptionParser
from lsr.commands.out_option import check_out_folder
from lsr.errors import DONE, SOME_FAILED

if TYPE_CHECKING:
    import numpy as np

    from lsr.degradations import DegradationConfig


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr degrade",
        description="Make LR images of photographs by a synthetic degradation.",
        examples=[
            "lsr degrade preview photo.jpg --n 4",
            "lsr degrade export photos/ --out LR --preset pasd",
        ],
    )
    actions = parser.add_subparsers(dest="action", required=True)
    degradation = _degradation_options()
    _add_preview(actions, degradation)
    _add_export(actions, degradation)
    return parser


def _degradation_options() -> argparse.ArgumentParser:
    """Return the options that preview and export have in common."""
    parser = OptionParser(add_help=False)
    parser.add_argument(
        "--preset",
        default="realesrgan",
        help="name of a published degradation; an unknown name prints the list (default "
        "realesrgan)",
    )
    parser.add_argument(
        "--scale", type=int, default=4, help="HR pixels per LR pixel along each axis (default 4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="change one field of the preset, for example jpeg_quality_2=[30,60]; may be repeated",
    )
    return parser


def _add_preview(actions: Any, degradation: argparse.ArgumentParser) -> None:
    parser = actions.add_parser(
        "preview",
        parents=[degradation],
        help="write a PNG with several draws side by side",
        description="Write a picture of a photograph's centre and N LR images of it, each with its "
        "parameters in words. The LR images are enlarged by nearest neighbour.",
        examples=[
            "lsr degrade preview photo.jpg --n 4 --crop 0",
            "lsr degrade preview photo.jpg --preset stablesr --set jpeg_quality_2=[30,60]",
        ],
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the photograph")
    parser.add_argument("--n", type=int, default=16, help="number of draws (default 16)")
    parser.add_argument(
        "--crop",
        type=int,
        default=256,
        help="side of the square to take from the photograph's centre in pixels; 0 takes the whole "
        "photograph (default 256)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png",
        help="file to write (default: IMAGE-PRESET.png in the current folder)",
    )


def _add_export(actions: Any, degradation: argparse.ArgumentParser) -> None:
    parser = actions.add_parser(
        "export",
        parents=[degradation],
        help="write LR images and their parameters",
        description="Write LR images as 8-bit PNG, and a line of parameters for each LR image in "
        "params.jsonl. The same command continues an interrupted export. Exit code 1: some "
        "photographs failed; each is reported, and all others are done.",
        examples=[
            "lsr degrade export photos/ --out LR --preset pasd",
            "lsr degrade export photos/ --out LR --per-image 2 --seed 1",
        ],
    )
    parser.add_argument(
        "src",
        nargs="+",
        type=Path,
        metavar="SRC",
        help="photographs, or folders that are searched recursively",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the LR images; a.jpg becomes a.png",
    )
    parser.add_argument(
        "--per-image",
        type=int,
        default=1,
        metavar="K",
        help="LR images per photograph; above 1 they are named a__0.png, a__1.png (default 1)",
    )


def main(arguments: Sequence[str]) -> int:
    """Run the verb.

    Args:
        arguments: Command line, from the verb on.

    Returns:
        The exit code.

    Raises:
        ValueError: An option has a bad value, or a file cannot be read or written.
    """
    options = parser().parse_args(arguments[1:])
    from lsr.degradations import DegradationConfig, draw

    changes = parse_changes(options.set)
    if "scale" in changes:
        raise ValueError("--set cannot change scale: use --scale")
    cfg = DegradationConfig.preset(options.preset, scale=options.scale, **changes)
    draw(cfg, options.seed, epoch=0, index=0)  # refuses a bad seed before any file is written
    try:
        return (preview_image if options.action == "preview" else export_images)(options, cfg)
    except OSError as error:
        raise ValueError(f"{error.filename or options.out}: {error.strerror}") from error


def parse_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `KEY=JSON` settings of a `DegradationConfig`, without checking keys and ranges.

    Raises:
        ValueError: A setting has no `=`, or its value is not JSON.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(
                f"--set {setting}: must have the form KEY=VALUE, such as aligned=false"
            )
        try:
            changes[key] = json.loads(text)
        except json.JSONDecodeError:
            raise ValueError(
                f"--set {setting}: the value is not JSON; text needs double quotes, as in "
                "'jpeg=\"libjpeg\"'"
            ) from None
    return changes


def preview_image(options: argparse.Namespace, cfg: "DegradationConfig") -> int:
    """Write the picture of a photograph and its LR images, and return the exit code."""
    from lsr.degradations import draw
    from lsr.degradations.export import degrade, read_hr, write_rgb8
    from lsr.degradations.preview import describe, draw_grid

    target = options.out or Path(f"{options.image.stem}-{options.preset}.png")
    _check_preview(options, cfg, target)
    crop = _centre(read_hr(options.image, cfg.scale), options.crop, cfg.scale)
    height, width = crop.shape[:2]
    drawn = [draw(cfg, options.seed, epoch, index=0) for epoch in range(options.n)]
    grid = draw_grid(
        _title(options, cfg),
        crop,
        f"photograph, {width} x {height}",
        [degrade(crop, parameters, cfg) for parameters in drawn],
        [[f"draw {epoch}", *describe(parameters)] for epoch, parameters in enumerate(drawn)],
    )
    write_rgb8(target, grid)
    sys.stdout.write(f"{target}\n")
    return DONE


def _check_preview(options: argparse.Namespace, cfg: "DegradationConfig", target: Path) -> None:
    if options.n < 1 or 0 < options.crop < cfg.scale or options.crop < 0:
        raise ValueError(
            f"--n (here {options.n}) must be at least 1, and --crop (here {options.crop}) must be "
            f"at least {cfg.scale}, the scale, or 0 for the whole photograph"
        )
    if target.suffix.lower() != ".png" or target.resolve() == options.image.resolve():
        raise ValueError(
            f"--out {target}: the name must end in .png and must not be that of the photograph"
        )


def _centre(hr: "np.ndarray", side: int, scale: int) -> "np.ndarray":
    """Return a square of `side` pixels from the centre; its sides are cut to multiples of `scale`.

    A side of 0, or one that is longer than the photograph, takes all pixels along that axis.
    """
    height, width = (min(length, side or length) // scale * scale for length in hr.shape[:2])
    top = (hr.shape[0] - height) // 2
    left = (hr.shape[1] - width) // 2
    return hr[top : top + height, left : left + width]


def _title(options: argparse.Namespace, cfg: "DegradationConfig") -> str:
    from lsr.degradations.preview import NOTE

    changed = "".join(f" {setting}" for setting in options.set)
    sharpened = "sharpened before" if cfg.usm_lr else "not sharpened before"
    return (
        f"{options.image.name}: preset {options.preset}{changed}, scale {cfg.scale}, "
        f"seed {options.seed}, {sharpened}. {NOTE}"
    )


def export_images(options: argparse.Namespace, cfg: "DegradationConfig") -> int:
    """Write the LR images of all photographs, and return the exit code."""
    if options.per_image < 1:
        raise ValueError(f"--per-image must be at least 1, not {options.per_image}")
    check_out_folder(options.out)
    from lsr.degradations.export import export
    from lsr.degradations.export_folder import ExportSettings
    from lsr.images import collect

    settings = ExportSettings(options.preset, cfg, options.seed)
    pairs = collect(options.src, options.out)
    outcome = export(pairs, options.out, settings, options.per_image)
    there = f", {outcome.there} were there before" if outcome.there else ""
    failed = f"; {outcome.failed} photographs failed" if outcome.failed else ""
    sys.stdout.write(f"{outcome.made} LR images written to {options.out}{there}{failed}\n")
    return SOME_FAILED if outcome.failed else DONE
