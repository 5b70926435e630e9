"""`lsr upscale`: upscale photographs of any size, and folders of them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.commands.max_pixels_option import pixel_limit_of
from lsr.commands.out_option import check_out_folder
from lsr.commands.start_processes import in_one_or_several
from lsr.commands.upscale_options import (
    STANDARD_INPUT,
    SUFFIXES,
    background_of,
    parser,
    sampling_of,
)
from lsr.commands.upscale_photographs import load_upscaler, texts_of, upscale_all
from lsr.commands.upscale_stream import upscale_stream
from lsr.errors import BAD_USAGE, DONE, SOME_FAILED
from lsr.inference.config import check_scale
from lsr.models.pretrained import check_fidelity

if TYPE_CHECKING:
    from lsr.distributed.processes import Processes


def main(arguments: Sequence[str]) -> int:
    """Run `lsr upscale` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    if not 1 <= options.quality <= 100:
        raise ValueError(f"--quality must be from 1 to 100, not {options.quality}")
    if options.fidelity is not None:
        check_fidelity(options.fidelity, options.model)
    # Bad settings are refused before any process is started or a model is loaded.
    check_scale(options.scale)
    sampling_of(options)
    background_of(options)
    with pixel_limit_of(options):
        if STANDARD_INPUT in options.src:
            return upscale_stream(options)
        options.out = options.out or Path("upscaled")
        return in_one_or_several("upscale", _upscale, options, options.devices)


def _upscale(options: argparse.Namespace, processes: "Processes") -> int:
    """Upscale this process's share of the photographs; process 0 reports the results of all."""
    from lsr.distributed.processes import ALONE
    from lsr.inference.memory import common_budget
    from lsr.inference.record import UpscaleRecord
    from lsr.inference.shares import shares

    sampling = asdict(sampling_of(options))
    outcome = {"scale": options.scale, "quality": options.quality, "compare": options.save_compare}
    # A record of an earlier version has no entries for options that are not given.
    if options.background is not None:
        outcome["background"] = background_of(options)
    if options.fidelity is not None:
        outcome["fidelity"] = options.fidelity
    recipe = {name: value for name, value in sampling.items() if name != "memory"} | outcome
    with processes.together():
        device = processes.device()
        budget = common_budget(sampling["memory"], device, processes)
        pairs, model = processes.of_all(_find(options) if processes.leads else None)[0]
        upscaler = load_upscaler(options, model, device, memory=budget)
        if processes.leads:
            _prepare_folder(options.out)
        found = (
            texts_of(options, [path for path, _ in pairs], upscaler) if processes.leads else None
        )
        texts = processes.of_all(found)[0]
        record = UpscaleRecord(options.out, model, recipe, texts)
        todo = [pair for pair in pairs if not record.has(*pair)] if processes.leads else []
        # Process 0 decides: what the others have finished already would change their answer.
        shared = processes.of_all(shares(todo, processes.size, upscaler.is_large))[0]
        work = [(pair, processes) for pair in shared.together]
        work += [(pair, ALONE) for pair in shared.alone[processes.rank]]
        upscaler.expect(texts[source] for (source, _), _ in work if source in texts)
    failures = processes.of_all(upscale_all(work, processes, upscaler, options, record, texts))
    failed, beyond_budget = (sum(numbers) for numbers in zip(*failures, strict=True))
    if not processes.leads:
        return DONE
    _report(len(pairs), len(todo), failed, options.out)
    if beyond_budget:
        return BAD_USAGE
    return SOME_FAILED if failed else DONE


def _find(options: argparse.Namespace) -> tuple[list[tuple[Path, Path]], Path]:
    """Return the files of all photographs and results, and that of the model."""
    from lsr.datasets.layouts import of_one_role
    from lsr.images import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, collect
    from lsr.models.pretrained import find_model

    pairs = collect(
        options.src,
        options.out,
        _suffix_of(options.format or "png"),
        options.recursive,
        IMAGE_SUFFIXES | FOREIGN_SUFFIXES,
        partial(of_one_role, role="lr"),
    )
    if not pairs:
        raise ValueError(
            f"{options.src[0]} holds HR photographs of pairs, but no LR photographs: name the "
            "folder of the photographs to upscale"
        )
    check_out_folder(options.out)
    return pairs, find_model(options.model)


def _report(photographs: int, todo: int, failed: int, out: Path) -> None:
    earlier = photographs - todo
    notes = f", {earlier} of them by an earlier run" if earlier else ""
    notes += f"; {failed} failed" if failed else ""
    sys.stdout.write(f"{photographs - failed} of {photographs} images are in {out}{notes}\n")


def _suffix_of(chosen: str) -> Callable[[Path], str]:
    """Return the function that gives the suffix of the result for each input path."""
    if chosen != "same":
        return lambda path: SUFFIXES[chosen]
    from lsr.images import suffix_of_same_format

    return suffix_of_same_format


def _prepare_folder(out: Path) -> None:
    """Make the folder of the results, and mend its record after a crash."""
    from lsr.inference.record import RECORD_FILE
    from lsr.reading.texts import is_json, mend_lines

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be created: {error.strerror}") from error
    mend_lines(out / RECORD_FILE, is_json)
