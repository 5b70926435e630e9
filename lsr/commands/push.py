"""`lsr push`: publish a model with what its run has recorded in a repository of the hub."""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser
from lsr.commands.out_option import check_out_folder
from lsr.errors import DONE, first_clause
from lsr.files import copy_file


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr push",
        description="Push a model to the Hugging Face hub, with the settings of its run, the knee, "
        "figures of `lsr eval`, pictures, and a model card made from them. If there is no such "
        "repository, the hub creates it as it does by default: public, unless your organisation "
        "has chosen otherwise. Absolute paths in the settings are shortened, and secrets removed.",
        examples=[
            "lsr push runs/tiny/stage1 owner/name --licence apache-2.0 --dry-run pushed",
            "lsr push runs/tiny/stage1 owner/name --licence apache-2.0",
        ],
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder of a run (its published knee, else its checkpoints/last.ckpt), a checkpoint, "
        "or a model file",
    )
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument(
        "--licence",
        required=True,
        metavar="ID",
        help="licence of the weights as the hub names it, such as apache-2.0; it is never guessed",
    )
    parser.add_argument(
        "--eval",
        type=Path,
        metavar="DIR",
        help="folder of `lsr eval` on this model (default: eval in the run or beside it)",
    )
    parser.add_argument(
        "--dry-run",
        type=Path,
        metavar="FOLDER",
        help="write the files that would be pushed to this folder, without network",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run `lsr push` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    _check(options)
    from lsr.export.hub_folder import find_sources, write_folder

    sources = find_sources(options.run, options.eval)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = ", ".join(write_folder(folder, sources, options.repository, options.licence))
        if options.dry_run is None:
            sys.stdout.write(f"{_pushed(folder, options.repository)}: {names}\n")
            return DONE
        for path in folder.iterdir():
            copy_file(path, options.dry_run / path.name)
    sys.stdout.write(f"{options.dry_run}: {names}; nothing was pushed\n")
    return DONE


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that are wrong without a look at the model."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", options.repository):
        raise ValueError(f"{options.repository!r} is no name on the hub: give owner/name")
    if not re.fullmatch(r"[\w.+-]+", options.licence):
        raise ValueError(
            f"--licence {options.licence!r}: name it as the hub does, such as apache-2.0, "
            "cc-by-nc-4.0 or other"
        )
    folder = options.dry_run
    if folder is None:
        return
    check_out_folder(folder, "--dry-run")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--dry-run {folder}: is not an empty folder; choose another one")


def _pushed(folder: Path, repository: str) -> str:
    """Push a folder and return the address of the repository.

    Raises:
        ValueError: If the hub does not take it.
    """
    from huggingface_hub import HfApi, ModelCard

    from lsr.export.hub_folder import OPTIONAL_FILES
    from lsr.export.model_card import CARD

    api = HfApi()
    try:
        # The upload checks the card too, but a new repository would be left empty.
        ModelCard.load(folder / CARD).validate()
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Model of linearsr",
            delete_patterns=list(OPTIONAL_FILES),  # those of a model that was pushed before
        )
    # No network, no token, no access, a card that the hub refuses: all raise different exceptions.
    except Exception as error:
        raise ValueError(
            f"{repository}: the hub did not take it ({type(error).__name__}: "
            f"{first_clause(error)}); log in by `hf auth login`, or see the folder by --dry-run"
        ) from error
    return str(address)
