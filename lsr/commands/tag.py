"""`lsr tag`: `tags.jsonl` for a folder of photographs."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.exit_codes import DONE, SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr tag",
        description="Write tags.jsonl for a folder of photographs (searched recursively): one line per photograph, which training, "
        "lsr shard and lsr upscale read. Photographs that are in the file already are left as they are, so a stopped run continues. "
        "Exit code 1: some photographs cannot be read, each is named, the rest is done.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument(
        "--tagger", choices=["ram++", "ram", "clip"], default="ram++", help="default ram++"
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="PATH",
        help="of RAM(++) the published .pth; of CLIP or SigLIP a folder, or a name on the hub",
    )
    parser.add_argument(
        "--tags-list",
        type=Path,
        metavar="FILE",
        help="the tags that CLIP chooses from: one a line, or a tags.jsonl",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if not options.dir.is_dir():
        raise ValueError(f"{options.dir}: no such folder")
    from lsr.datasets.tags import TAGS
    from lsr.guidance.taggers.registry import load_tagger
    from lsr.images import UnreadableImage, find_images, read_rgb8
    from lsr.progress_bar import progress_bar

    photographs = find_images(options.dir)
    if not photographs:
        raise ValueError(f"{options.dir}: no photographs there")
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
                    file.write(json.dumps(entry) + "\n")  # escaped: a file name need not be Unicode
                    file.flush()
                bar.advance(1)
            os.fsync(file.fileno())
    told = f"{len(todo) - failed} photographs tagged in {path}"
    sys.stdout.write(f"{told}, {len(photographs) - len(todo)} were there\n")
    return SOME_FAILED if failed else DONE


def continue_list(path: Path) -> set[str]:
    """Return the names in a list of tags, of which a kill may have left the last line unfinished: that is taken away.

    Raises:
        ValueError: If another line is damaged.
    """
    from lsr.datasets.tags import read_listed
    from lsr.files import atomic_path

    if not path.is_file():
        return set()
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end != len(data):
        whole = data[:end]
        try:
            json.loads(data[end:])
        except ValueError:
            sys.stderr.write(f"{path}: the last line is not complete and is made again\n")
        else:
            whole = data + b"\n"
        with atomic_path(path) as temporary:
            temporary.write_bytes(whole)
    return set(read_listed(path))
