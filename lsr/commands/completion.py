"""`lsr completion`: print the script by which a shell completes verbs, options, words and files."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence

from lsr.commands.completion_scripts import SHELLS, Command, Option
from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr completion",
        description="Print the script by which a shell completes the verbs, options and words of "
        "lsr, and the names of files. Start a new shell after you have saved it.",
        examples=[
            "lsr completion bash > ~/.local/share/bash-completion/completions/lsr",
            "lsr completion zsh > ~/.zfunc/_lsr    # a folder of $fpath",
            "lsr completion fish > ~/.config/fish/completions/lsr.fish",
        ],
    )
    parser.add_argument("shell", choices=list(SHELLS), help="your shell")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    from lsr.cli import VERBS

    shell = parser().parse_args(arguments[1:]).shell
    helps = {verb: text.partition(":")[0] for verb, (_, text) in VERBS.items()}
    commands = [
        command
        for verb, (home, _) in VERBS.items()
        for command in commands_of(importlib.import_module(home).parser(), verb)
    ]
    sys.stdout.write(SHELLS[shell](helps, commands))
    return DONE


def commands_of(parser: argparse.ArgumentParser, words: str) -> Iterator[Command]:
    """Yield the commands that begin with some words, those with an action first.

    Args:
        parser: Parser of what follows the words.
        words: A verb, or a verb and an action, such as `degrade export`.
    """
    actions = parser._actions
    own: dict[str, str] = {}
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from commands_of(inner, f"{words} {name}")
            own = {choice.dest: choice.help or "" for choice in action._choices_actions}
        elif not action.option_strings:
            own |= dict.fromkeys(_words(action), "")
    options = [
        _option(action)
        for action in actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]
    yield Command(words, own, options)


def _option(action: argparse.Action) -> Option:
    words = _words(action)
    return Option(
        names=[name for name in action.option_strings if name.startswith("--")],
        help=(action.help or "").partition(";")[0],
        takes_value=action.nargs != 0,
        words=words,
        takes_file=action.choices is None and action.type not in (int, float),
    )


def _words(action: argparse.Action) -> list[str]:
    """Return the words that an argument takes: its choices, or those in `last|best|FILE`."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    named = action.metavar.split("|") if isinstance(action.metavar, str) else []
    return [word for word in named if len(named) > 1 and word == word.lower()]
