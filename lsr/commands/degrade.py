"""`lsr degrade`: look at what a degradation does to a photograph, and write LR images of whole folders."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    from lsr.degradations import DegradationConfig


def _parser() -> argparse.ArgumentParser:
    law = argparse.ArgumentParser(add_help=False)
    law.add_argument(
        "--preset",
        default="realesrgan",
        help="a published degradation; an unknown name lists them (default realesrgan)",
    )
    law.add_argument(
        "--scale", type=int, default=4, help="HR pixels per LR pixel along each side (default 4)"
    )
    law.add_argument("--seed", type=int, default=0, help="seed of the draws (default 0)")
    law.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="change one value, as in jpeg_quality_2=[30,60]",
    )

    parser = argparse.ArgumentParser(
        prog="lsr degrade", description="Make LR images of photographs by a synthetic degradation."
    )
    verbs = parser.add_subparsers(dest="action", required=True)
    preview = verbs.add_parser(
        "preview",
        parents=[law],
        help="a PNG of some draws side by side",
        description=preview_image.__doc__,
    )
    preview.add_argument("image", type=Path, metavar="IMAGE")
    preview.add_argument("--n", type=int, default=16, help="number of draws (default 16)")
    preview.add_argument(
        "--crop",
        type=int,
        default=256,
        help="pixels of the photograph's centre, 0 for all of it (default 256)",
    )
    preview.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png",
        help="default: IMAGE-PRESET.png in the current folder",
    )
    export = verbs.add_parser(
        "export",
        parents=[law],
        help="LR images with their parameters",
        description=export_images.__doc__,
    )
    export.add_argument(
        "src",
        nargs="+",
        type=Path,
        metavar="SRC",
        help="photographs, or folders searched recursively",
    )
    export.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the LR images; a.jpg becomes a.png",
    )
    export.add_argument(
        "--per-image",
        type=int,
        default=1,
        metavar="K",
        help="LR images per photograph; a__0.png, a__1.png (default 1)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    from lsr.degradations import DegradationConfig, draw

    changes = parse_changes(options.set)
    if "scale" in changes:
        raise ValueError("--set scale: use --scale")
    cfg = DegradationConfig.preset(options.preset, scale=options.scale, **changes)
    draw(cfg, options.seed, epoch=0, index=0)  # an unusable seed shows here
    try:
        return (preview_image if options.action == "preview" else export_images)(options, cfg)
    except OSError as error:
        raise ValueError(f"{error.filename or options.out}: {error.strerror}") from error


def parse_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `key=JSON` settings of a `DegradationConfig`; whether the keys are known and the values in range is its own affair.

    Raises:
        ValueError: A setting has no `=` or is not JSON.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: not of the form key=value")
        try:
            changes[key] = json.loads(text)
        except json.JSONDecodeError:
            raise ValueError(
                f"--set {setting}: the value is not JSON (text needs its quotes, as in 'jpeg=\"libjpeg\"')"
            ) from None
    return changes


def preview_image(options: argparse.Namespace, cfg: "DegradationConfig") -> int:
    """Draw a photograph's centre and N LR images of it, enlarged by nearest neighbour, with their parameters in words."""
    from lsr.degradations import draw
    from lsr.degradations.export import degrade, read_hr, write_rgb8
    from lsr.degradations.grid import NOTE, describe, draw_grid

    target = options.out or Path(f"{options.image.stem}-{options.preset}.png")
    if options.n < 1 or 0 < options.crop < cfg.scale or options.crop < 0:
        raise ValueError(
            f"--n must be at least 1 and --crop at least {cfg.scale}, or 0 for the whole photograph"
        )
    if target.suffix.lower() != ".png" or target.resolve() == options.image.resolve():
        raise ValueError(
            f"--out {target}: must end in .png and be another file than the photograph"
        )
    hr = read_hr(options.image, cfg.scale)
    sides = [min(side, options.crop or side) // cfg.scale * cfg.scale for side in hr.shape[:2]]
    top, left = ((side - kept) // 2 for side, kept in zip(hr.shape[:2], sides, strict=True))
    crop = hr[top : top + sides[0], left : left + sides[1]]
    drawn = [draw(cfg, options.seed, epoch, index=0) for epoch in range(options.n)]
    changed = "".join(f" {setting}" for setting in options.set)
    law = f"preset {options.preset}{changed}, scale {cfg.scale}, seed {options.seed}, {'' if cfg.usm_lr else 'not '}sharpened before. {NOTE}"
    grid = draw_grid(
        f"{options.image.name}: {law}",
        crop,
        f"photograph, {sides[1]} x {sides[0]}",
        [degrade(crop, parameters, cfg) for parameters in drawn],
        [[f"draw {epoch}", *describe(parameters)] for epoch, parameters in enumerate(drawn)],
    )
    write_rgb8(target, grid)
    sys.stdout.write(f"{target}\n")
    return DONE


def export_images(options: argparse.Namespace, cfg: "DegradationConfig") -> int:
    """Write LR images as 8-bit PNG, with a line of parameters for each in params.jsonl; run again, it continues.

    Exit code 1: some photographs failed, each is named, the rest is done.
    """
    if options.per_image < 1:
        raise ValueError("--per-image must be at least 1")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is not a folder")
    from lsr.degradations.export import Law, export
    from lsr.images import collect

    outcome = export(
        collect(options.src, options.out),
        options.out,
        Law(options.preset, cfg, options.seed),
        options.per_image,
    )
    there = f", {outcome.there} were there before" if outcome.there else ""
    failed = f"; {outcome.failed} photographs failed" if outcome.failed else ""
    sys.stdout.write(f"{outcome.made} LR images written to {options.out}{there}{failed}\n")
    return SOME_FAILED if outcome.failed else DONE
