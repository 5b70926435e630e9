"""The parser of options of all verbs: a mistake is one line, not a page with all options."""

import argparse
from typing import NoReturn

from lsr.errors import BAD_USAGE


class OptionParser(argparse.ArgumentParser):
    """A parser whose errors are one line that names where the options are explained."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave with the exit code of bad usage."""
        self.exit(BAD_USAGE, f"{self.prog}: {message}; {self.prog} --help explains the options\n")
