"""`lsr upscale`: photographs and folders of photographs of any size."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.exit_codes import DONE, SOME_FAILED
from lsr.models.pretrained import EMBEDDED

if TYPE_CHECKING:
    from rich.progress import Progress

    from lsr.images.photograph import Photograph, PictureStream
    from lsr.inference.record import UpscaleRecord
    from lsr.inference.upscaler import Upscaler

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_KINDS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr upscale",
        description="Upscale photographs of any size: PNG, JPEG, WebP, TIFF or BMP. Alpha, 16 bits, greyness, EXIF, XMP, ICC profiles and "
        "dpi are kept, EXIF orientation is applied. Run again, it leaves what is done with the same options and continues. Exit code 1: "
        "some inputs failed, each is named, the rest is done.",
    )
    parser.add_argument(
        "src", nargs="+", type=Path, metavar="SRC", help="photographs, or folders of photographs"
    )
    parser.add_argument(
        "--out",
        default=Path("upscaled"),
        type=Path,
        metavar="DIR",
        help="folder for the results; a.jpg becomes a.png (default upscaled)",
    )
    parser.add_argument(
        "--model",
        default=EMBEDDED,
        metavar="MODEL",
        help=".safetensors, a checkpoint, a folder with one, owner/name (default: embedded)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=4,
        help="any number above 0: x4 by the model, then resized (default 4)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1,
        help="sampling steps: 1 is the most faithful, more add texture (default 1)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the sampler's noise (default 0)"
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        default="auto",
        help="side of tiles in input pixels, 0 for none (default auto: free memory)",
    )
    parser.add_argument(
        "--color-fix",
        default="adain",
        metavar="none|adain|wavelet",
        help="bring colours back to the input's (adain)",
    )
    parser.add_argument(
        "--tags",
        default="sidecar",
        metavar="auto|none|sidecar|LIST",
        help="by --tagger, none, from beside each (default), or these",
    )
    parser.add_argument(
        "--tagger",
        choices=["ram++", "ram", "clip"],
        default="ram++",
        help="of --tags auto (default ram++)",
    )
    parser.add_argument("--tagger-weights", metavar="PATH", help="its weights, see lsr tag --help")
    parser.add_argument(
        "--tags-list", type=Path, metavar="FILE", help="the tags that the tagger clip chooses from"
    )
    parser.add_argument(
        "--guidance-scale",
        type=float,
        default=1.0,
        help="how far to follow tags; twice the work unless 1 (default)",
    )
    parser.add_argument(
        "--format", choices=[*_SUFFIXES, "same"], default="png", help="of the results (default png)"
    )
    parser.add_argument(
        "--quality",
        type=int,
        default=95,
        help="of JPEG and WebP, 1 to 100; WebP is lossless at 100 (default 95)",
    )
    parser.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search folders recursively (default)",
    )
    parser.add_argument(
        "--save-compare",
        action="store_true",
        help="also a.png.compare.png, bicubic | result, and a.png.compare.html, a slider",
    )
    return parser


def _tile(text: str) -> "int | str":
    return text if text == "auto" else int(text)


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if not 1 <= options.quality <= 100:
        raise ValueError(f"--quality must be from 1 to 100, not {options.quality}")
    from lsr.images import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, collect

    pairs = collect(
        options.src,
        options.out,
        _suffix_of(options.format),
        options.recursive,
        IMAGE_SUFFIXES | FOREIGN_SUFFIXES,
    )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"--out {options.out} is not a folder") from None
    except OSError as error:
        raise ValueError(f"--out {options.out} cannot be made: {error.strerror}") from error

    from lsr.inference.record import UpscaleRecord
    from lsr.inference.upscaler import Upscaler, target_size
    from lsr.models.pretrained import find_model

    target_size(1, 1, options.scale)  # an unusable scale shows here
    model = find_model(options.model)
    choices = {
        "num_inference_steps": options.steps,
        "seed": options.seed,
        "tile": options.tile,
        "color_fix": options.color_fix,
    }
    choices |= {"guidance_scale": options.guidance_scale}
    upscaler = Upscaler.from_pretrained(model, **choices)
    outcome = {"scale": options.scale, "quality": options.quality, "compare": options.save_compare}
    texts = _texts(options, [source for source, _ in pairs], upscaler)
    record = UpscaleRecord(options.out, model, choices | outcome, texts)
    todo = [pair for pair in pairs if not record.has(*pair)]
    failed = _upscale_all(todo, upscaler, options, record, texts)
    before = f", {len(pairs) - len(todo)} of them before" if len(todo) < len(pairs) else ""
    sys.stdout.write(
        f"{len(pairs) - failed} of {len(pairs)} images upscaled to {options.out}{before}\n"
    )
    return SOME_FAILED if failed else DONE


def _texts(
    options: argparse.Namespace, photographs: Sequence[Path], upscaler: "Upscaler"
) -> Mapping[Path, str]:
    """Return the text that guides each photograph; nothing where the model takes none."""
    from lsr.guidance.taggers.upscale_texts import note_ignored_options, tagger_of, texts_for

    guidance = upscaler.denoiser.config.guidance
    if guidance in ("none", "visual"):  # the latter looks at the photograph itself
        note_ignored_options(guidance, options.tags, options.guidance_scale)
        return {}
    tagger = tagger_of(options.tags, options.tagger, options.tagger_weights, options.tags_list)
    texts = texts_for(photographs, options.src, options.tags, tagger)
    upscaler.expect(texts.values())
    return texts


def _suffix_of(chosen: str) -> Callable[[Path], str]:
    if chosen != "same":
        return lambda path: _SUFFIXES[chosen]
    return lambda path: path.suffix if path.suffix.lower() in _KINDS else ".png"


def _upscale_all(
    pairs: Sequence[tuple[Path, Path]],
    upscaler: "Upscaler",
    options: argparse.Namespace,
    record: "UpscaleRecord",
    texts: Mapping[Path, str],
) -> int:
    """Upscale what is left to do, name what fails; returns how many failed."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from lsr.images import read_photograph
    from lsr.inference.memory import is_out_of_memory

    failed = 0
    columns = (
        TextColumn("upscaling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        progress.add_task("", total=len(pairs), rate="")
        for number, (source, target) in enumerate(pairs):
            try:
                photograph = read_photograph(source)
                meter = _Meter(progress, number, photograph.pixels.size / 3e6)
                for note in _upscale_one(
                    photograph, source.name, target, upscaler, options, meter, texts.get(source, "")
                ):
                    progress.console.print(
                        f"note: {source}: {note}", markup=False, highlight=False, soft_wrap=True
                    )
                record.add(source, target)
            except Exception as error:
                # ValueError: an unreadable file, or a picture that the format cannot hold.
                if not isinstance(error, (ValueError, OSError)) and not is_out_of_memory(error):
                    raise
                failed += 1
                message = (
                    str(error)
                    if str(error).startswith(f"{source}: ")
                    else f"{source}: {' '.join(str(error).split())}"
                )
                progress.console.print(
                    f"failed: {message}", markup=False, highlight=False, soft_wrap=True
                )
    return failed


def _upscale_one(
    photograph: "Photograph",
    name: str,
    target: Path,
    upscaler: "Upscaler",
    options: argparse.Namespace,
    watch: Callable[[float], None],
    text: str,
) -> list[str]:
    """Upscale one photograph; returns what its owner should know."""
    from lsr.images import write_stream
    from lsr.inference.comparison import kept_pixels, write_comparison

    kind = _KINDS[target.suffix.lower()]

    def write(picture: "PictureStream") -> None:
        if not options.save_compare:
            return write_stream(target, picture, kind, options.quality)
        picture, pixels = kept_pixels(picture)
        write_stream(target, picture, kind, options.quality)
        write_comparison(target, name, photograph, pixels)

    upscaler.process(photograph, options.scale, write, watch, text)
    if photograph.bits == 16 and kind in ("jpeg", "webp"):
        return [f"16 bits per sample became 8, {kind.upper()} holds no more: choose png or tiff"]
    return []


class _Meter:
    """Moves the progress bar while a picture is being made.

    Args:
        progress: The bar.
        number: How many pictures are behind it.
        megapixels: Of the input.
    """

    def __init__(self, progress: "Progress", number: int, megapixels: float) -> None:
        self._progress, self._number, self._megapixels, self._begin = (
            progress,
            number,
            megapixels,
            time.monotonic(),
        )

    def __call__(self, share: float) -> None:
        rate = share * self._megapixels / max(time.monotonic() - self._begin, 1e-3)
        self._progress.update(
            self._progress.task_ids[0], completed=self._number + share, rate=f"{rate:.3f} Mpx/s"
        )
