"""The command line of `lsr upscale`."""

import argparse
from pathlib import Path

from lsr.commands.max_pixels_option import add_max_pixels_option
from lsr.commands.memory_option import add_memory_option, memory_of
from lsr.commands.option_parser import OptionParser
from lsr.guidance.taggers import TAGGERS
from lsr.inference.config import COLOR_FIXES, SamplingConfig
from lsr.models.pretrained import EMBEDDED

STANDARD_INPUT = "-"
"""The source that stands for standard input; a file of this name is `./-`."""

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""Suffix of the results in each format."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr upscale",
        description="Upscale photographs of any size: PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or, "
        "with the package pillow-heif, HEIC. Alpha, 16 bits "
        "per sample, grey, EXIF, XMP, ICC profiles and dpi are kept; the EXIF orientation is "
        "applied. A second run skips results that were made with the same options, and makes the "
        "rest. Exit code 1 means that some inputs failed, 2 that some do not fit into --memory: "
        "each is named, and all others are done.",
        examples=[
            "lsr upscale photo.jpg                   # writes upscaled/photo.png",
            "lsr upscale photos/ --out large --scale 2 --format same",
            "lsr upscale - < photo.jpg > large.jpg   # from standard input to standard output",
        ],
    )
    parser.add_argument(
        "src",
        nargs="+",
        type=lambda text: text if text == STANDARD_INPUT else Path(text),
        metavar="SRC",
        help="photographs, or folders of photographs; - alone reads one from standard input and "
        "writes its result to standard output, in its own format unless there is --format",
    )
    parser.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search folders recursively (default)",
    )
    add_max_pixels_option(parser)
    _add_model_options(parser)
    _add_tag_options(parser)
    _add_output_options(parser)
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="number of processes, one per GPU, or N on the CPU: they share the photographs, and "
        "work together on a photograph that is too large for one (default 1); torchrun works too",
    )
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    defaults = SamplingConfig()
    parser.add_argument(
        "--model",
        default=EMBEDDED,
        metavar="perceptual|faithful|MODEL",
        help="perceptual (default: sharp, some texture is invented) or faithful (soft, less "
        "error), the models in this package; or a .safetensors file, a checkpoint, a folder with "
        "one of them, or owner/name on the Hugging Face hub",
    )
    parser.add_argument(
        "--fidelity",
        type=float,
        metavar="F",
        help="blend of the models in this package, without --model: from 0, perceptual, to 1, "
        "faithful, which has less texture and less error",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=4,
        help="upscaling factor, any number above 0; the model upscales by 4, then the result is "
        "resized (default 4)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=defaults.num_inference_steps,
        help="sampling steps: 1 is the most faithful to the input, more add texture; a model made "
        "for one step, such as perceptual, refuses more (default 1)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        help="seed of the sampler's noise (default 0)",
    )
    add_memory_option(parser)
    parser.add_argument(
        "--color-fix",
        default=defaults.color_fix,
        metavar="|".join(COLOR_FIXES),
        help="method that brings the colours back to those of the input: adain (default) by mean "
        "and standard deviation of each channel, wavelet by the low frequencies",
    )


def _add_tag_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tags",
        default="sidecar",
        metavar="auto|none|sidecar|LIST",
        help="tags that guide the model: sidecar (default) reads tags.jsonl, or the .txt or "
        ".caption file beside each photograph; auto finds tags by --tagger; none uses no tags; "
        "LIST, such as 'cat, fur', is used for all photographs",
    )
    parser.add_argument(
        "--tagger",
        choices=TAGGERS,
        default="ram++",
        help="model that finds the tags of --tags auto (default ram++)",
    )
    parser.add_argument(
        "--tagger-weights", metavar="PATH", help="weights of the tagger, see lsr tag --help"
    )
    parser.add_argument(
        "--tags-list",
        type=Path,
        metavar="FILE",
        help="list of the tags that the tagger clip chooses from",
    )
    parser.add_argument(
        "--guidance-scale",
        type=float,
        default=SamplingConfig.guidance_scale,
        help="scale of classifier-free guidance: 0 ignores the tags, above 1 exaggerates them; any "
        "value but 1 doubles the work (default 1)",
    )


def background_of(options: argparse.Namespace) -> tuple[float, ...] | None:
    """Return the colour of `--background` as RGB in [0, 1], None if there is none.

    Raises:
        ValueError: If Pillow does not know the colour.
    """
    from PIL import ImageColor

    if options.background is None:
        return None
    try:
        return tuple(value / 255 for value in ImageColor.getrgb(options.background)[:3])
    except ValueError:
        raise ValueError(
            f"--background {options.background} is no colour such as white or '#ff8800'"
        ) from None


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the results; a.jpg becomes a.png (default upscaled)",
    )
    parser.add_argument(
        "--format",
        choices=[*SUFFIXES, "same"],
        help="file format of the results; same keeps that of each input (default png)",
    )
    parser.add_argument(
        "--quality",
        type=int,
        default=95,
        help="quality of JPEG and WebP files, 1 to 100; WebP is lossless at 100 (default 95)",
    )
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        help="colour behind transparent photographs, such as white or '#ff8800'; the results are "
        "opaque then, as JPEG needs (default: transparency is kept)",
    )
    parser.add_argument(
        "--save-compare",
        action="store_true",
        help="write two more files per result: a.png.compare.png shows the bicubically upsampled "
        "input next to the result, a.png.compare.html has a slider between them",
    )


def sampling_of(options: argparse.Namespace) -> SamplingConfig:
    """Return the settings of sampling on a parsed command line.

    Raises:
        ValueError: If a setting is out of its range.
    """
    return SamplingConfig(
        num_inference_steps=options.steps,
        seed=options.seed,
        memory=memory_of(options),
        color_fix=options.color_fix,
        guidance_scale=options.guidance_scale,
    )
