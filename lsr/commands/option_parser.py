"""The parser of options of all verbs: help ends with examples, and a mistake is one line."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from lsr.errors import BAD_USAGE


class OptionParser(argparse.ArgumentParser):
    """A parser whose errors are one line that names where the options are explained.

    Args:
        examples: Commands that `--help` shows at its end, some with a comment after `#`.
        **settings: Arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, *, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.examples = examples

    def format_help(self) -> str:
        """Return the help of argparse, and the examples as they are, not wrapped."""
        lines = "".join(f"  {example}\n" for example in self.examples)
        return super().format_help() + (f"\nexamples:\n{lines}" if lines else "")

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave with the exit code of bad usage."""
        self.exit(BAD_USAGE, f"{self.prog}: {message}; {self.prog} --help explains the options\n")
