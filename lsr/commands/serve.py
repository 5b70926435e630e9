"""`lsr serve`: a page in the browser and an HTTP API that upscale photographs."""

import argparse
import sys
from collections.abc import Sequence
from getpass import getpass
from importlib.util import find_spec

from lsr.commands.memory_option import add_memory_option, memory_of
from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE
from lsr.models.pretrained import PACKAGED
from lsr.serve.limits import Limits

_LIMITS = {
    "megapixels": "most megapixels of a photograph",
    "megabytes": "most megabytes of a file",
    "files": "most photographs that a page takes at once",
    "minutes": "most minutes that one photograph may be computed",
}
"""Fields of `Limits` that are options, and their help."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr serve",
        description="Upscale photographs in the browser: drop them on the page, compare before and "
        "after, download the results. POST /api/upscale does the same for programs. One photograph "
        "is computed at a time; the others wait. Only this machine can reach the page, unless "
        "--host says otherwise. Ctrl-C ends it and deletes all photographs.",
        examples=[
            "lsr serve",
            "lsr serve --model model.safetensors faithful --memory 2GiB",
            "lsr serve --host 0.0.0.0 --auth USER:PASSWORD",
        ],
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=list(PACKAGED),
        metavar="MODEL",
        help="models to choose from, as for lsr upscale; the first is the default (default: "
        f"{' '.join(PACKAGED)})",
    )
    _add_network_options(parser)
    _add_limits(parser)
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 is every network of this machine, and needs --auth "
        "(default 127.0.0.1, which only this machine can reach)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="port; 0 takes any that is free (default 7860)"
    )
    parser.add_argument(
        "--auth",
        metavar="USER[:PASSWORD]",
        help="user and password that page and API ask for; without the password it is asked for "
        "here, so that it does not stand in the list of processes",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add_memory_option(parser)
    for name, text in _LIMITS.items():
        default = getattr(Limits, name)
        parser.add_argument(
            f"--max-{name}",
            type=type(default),
            default=default,
            metavar="N",
            help=f"{text} (default {default:g})",
        )


def main(arguments: Sequence[str]) -> int:
    """Run `lsr serve` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    limits = Limits(**{name: getattr(options, f"max_{name}") for name in _LIMITS})
    memory = memory_of(options)
    if find_spec("gradio") is None:
        raise ValueError("the page needs the package gradio: pip install 'linearsr[app]'")
    from lsr.inference.upscaler import Upscaler
    from lsr.serve.server import application, bound_socket, serve

    auth = _auth_of(options)
    with bound_socket(options.host, options.port) as listening:
        names = dict.fromkeys(options.model)
        models = {name: Upscaler.from_pretrained(name, memory=memory) for name in names}
        with application(models, limits, options.host, auth) as app:
            serve(app, listening)
    return DONE


def _auth_of(options: argparse.Namespace) -> str | None:
    """Return user and password as `USER:PASSWORD`; None if nobody has to give any.

    Raises:
        ValueError: If others can reach the server without a password, or it cannot be asked for.
    """
    from lsr.serve.server import is_loopback

    if options.auth is None:
        if is_loopback(options.host):
            return None
        raise ValueError(f"others can reach --host {options.host}: add --auth USER:PASSWORD")
    user, colon, password = options.auth.partition(":")
    if not colon and sys.stdin.isatty():
        password = getpass(f"password of {user}: ")
    if not user or not password:
        raise ValueError("--auth needs a user and a password: --auth USER:PASSWORD")
    return f"{user}:{password}"
