"""`lsr doctor`: tell what works on this machine, what is missing, and how to fetch it."""

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lsr.commands.doctor_checks import CHECKS, NEEDED, Facts, Missing
from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE, SOME_FAILED, first_clause, one_line

_WIDTH = 100
"""Columns of the report."""

_SHORT = 15
"""Most characters of a fact that shares a line with others."""


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        state: "ok"; "missing" if something optional is not there; "broken".
        facts: What was found, in words, by name.
    """

    state: str
    facts: Facts


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr doctor",
        description="Print the versions, the devices, the free memory and disk space, whether the "
        "models of this package and the Triton kernels work, and which weights of metrics, taggers "
        "and encoders are there. Nothing is downloaded. Exit code 1: something that upscaling "
        "needs is broken. Optional parts that are missing are no error.",
        examples=["lsr doctor", "lsr doctor --json    # for a script"],
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options = parser().parse_args(arguments[1:])
    with ThreadPoolExecutor(1) as thread:
        # The kernels are checked in a process of their own, while the others are at work.
        kernels = thread.submit(finding, CHECKS["kernels"])
        found = {name: finding(check) for name, check in CHECKS.items() if name != "kernels"}
        found = {name: found.get(name) or kernels.result() for name in CHECKS}
    # A GPU computes by the kernels; a processor does not.
    needed = [*NEEDED, "kernels"] if "GPU 0" in found["devices"].facts else NEEDED
    ok = all(found[name].state != "broken" for name in needed)
    sys.stdout.write(_document(found, needed, ok) if options.json else _report(found, ok))
    return DONE if ok else SOME_FAILED


def finding(check: Callable[[], Facts]) -> Finding:
    """Return what a check finds; whatever it raises becomes a line of the report."""
    try:
        return Finding("ok", check())
    except Missing as missing:
        return Finding("missing", missing.facts)
    except Exception as error:
        ours = isinstance(error, ValueError)
        reason = one_line(error) if ours else first_clause(error)
        return Finding("broken", {"not available": reason})


def _document(found: dict[str, Finding], needed: Sequence[str], ok: bool) -> str:
    """Return the report as JSON."""
    checks = {
        name: {"state": each.state, "needed": name in needed, "facts": dict(each.facts)}
        for name, each in found.items()
    }
    return json.dumps({"ok": ok, "checks": checks}, indent=2) + "\n"


def _report(found: dict[str, Finding], ok: bool) -> str:
    """Return the report as text, with long lines wrapped below their beginning."""
    lines = []
    for name, (state, facts) in found.items():
        head = f"{name:<9} {state:<8} "
        for part in _parts(facts):
            lines += textwrap.wrap(
                part,
                _WIDTH,
                initial_indent=head,
                subsequent_indent=" " * (len(head) + 2),
                break_long_words=False,
                break_on_hyphens=False,
            )
            head = " " * len(head)
    lines.append(f"what upscaling needs {'works' if ok else 'does not work'} on this machine")
    return "\n".join(lines) + "\n"


def _parts(facts: Facts) -> list[str]:
    """Return a line for each fact, or one line for several that are as short as versions."""
    if len(facts) > 1 and max(map(len, facts.values())) <= _SHORT:
        return [", ".join(f"{name} {value}" for name, value in facts.items())]
    return [f"{name}: {value}" for name, value in facts.items()]
