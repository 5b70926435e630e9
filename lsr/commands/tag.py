"""`lsr tag`: write the tags of a folder of photographs to `tags.jsonl`."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE, SOME_FAILED
from lsr.files import check_folder
from lsr.guidance.taggers import TAGGERS


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr tag",
        description="Write tags.jsonl for a folder of photographs and its subfolders, with one "
        "line for each photograph. Training, lsr shard and lsr upscale read this file. "
        "Photographs that are in the file already are not tagged again, so a command that was "
        "stopped continues when it is run again. Exit code 1: some photographs cannot be read; "
        "each is named, and the others are done.",
        examples=[
            "lsr tag photos --weights weights/ram_plus_swin_large_14m.pth",
            "lsr tag photos --tagger clip --weights clip-vit-base-patch32 --tags-list tags.txt",
        ],
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder of photographs")
    parser.add_argument(
        "--tagger", choices=TAGGERS, default="ram++", help="the tagging network (default ram++)"
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="PATH",
        help="for ram and ram++ the published .pth file; for clip a folder with CLIP or SigLIP, "
        "or its name on the Hugging Face hub",
    )
    parser.add_argument(
        "--tags-list",
        type=Path,
        metavar="FILE",
        help="tags that clip chooses from: a file with one tag per line, or a tags.jsonl",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options = parser().parse_args(arguments[1:])
    check_folder(options.dir, "; give a folder of photographs")
    from lsr.console.progress_bar import progress_bar
    from lsr.datasets.tags import TAGS
    from lsr.guidance.taggers.registry import load_tagger
    from lsr.images import UnreadableImage, find_images, read_rgb8

    photographs = find_images(options.dir)
    if not photographs:
        raise ValueError(f"{options.dir}: no photographs in this folder")
    path = options.dir / TAGS
    done = continue_list(path)
    todo = [
        photograph
        for photograph in photographs
        if photograph.relative_to(options.dir).as_posix() not in done
    ]
    failed = 0
    if todo:
        tagger = load_tagger(options.tagger, options.weights, options.tags_list)
        with (
            path.open("a", encoding="utf-8") as file,
            progress_bar(f"tagging {options.dir}", len(todo), "photographs") as bar,
        ):
            for photograph in todo:
                try:
                    tags = tagger(read_rgb8(photograph))
                except UnreadableImage as error:
                    failed += 1
                    bar.say(f"failed: {error}")
                else:
                    entry = {
                        "file": photograph.relative_to(options.dir).as_posix(),
                        "tags": tags,
                        "tag_source": options.tagger,
                    }
                    # JSON in ASCII: a file name need not be valid Unicode.
                    file.write(json.dumps(entry) + "\n")
                    file.flush()
                bar.advance(1)
            os.fsync(file.fileno())
    tagged = f"{len(todo) - failed} photographs tagged in {path}"
    sys.stdout.write(f"{tagged}, {len(photographs) - len(todo)} were tagged before\n")
    return SOME_FAILED if failed else DONE


def continue_list(path: Path) -> set[str]:
    """Return the names of the photographs in a list of tags.

    A process that was killed may have left the last line incomplete; this line is removed.

    Args:
        path: The list of tags, which need not exist.

    Raises:
        ValueError: If another line is damaged.
    """
    from lsr.datasets.tags import read_listed
    from lsr.reading.texts import is_json, mend_lines

    mend_lines(path, is_json)
    return set(read_listed(path)) if path.is_file() else set()
