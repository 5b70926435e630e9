"""Put page, API and guard together, and serve them until Ctrl-C or SIGTERM."""

import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from lsr.inference.upscaler import Upscaler
from lsr.serve.api import api_of
from lsr.serve.guard import Guard
from lsr.serve.jobs import JobLine
from lsr.serve.limits import Limits
from lsr.serve.page import add_page
from lsr.serve.page_files import add_page_files
from lsr.serve.workplace import Workplace

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

_PATIENCE_S = 2
"""Seconds that the server waits at its end for open connections."""


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        ValueError: If that is impossible, because the port is taken for example.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"cannot listen at --host {host} --port {port}: {reason}; choose another port"
        ) from None


@contextmanager
def application(
    models: Mapping[str, Upscaler], limits: Limits, host: str, auth: str | None
) -> Iterator[ASGIApp]:
    """Yield the application; at the end stop its jobs and delete its files.

    Args:
        models: The models by name; the first is the default.
        limits: Limits of the server.
        host: Address that it listens at.
        auth: `USER:PASSWORD`, None for no password.
    """
    line = JobLine(limits)
    workplace = Workplace(line)
    try:
        app = api_of(models, limits, line, workplace)
        add_page_files(app, limits, workplace)
        add_page(app, models, limits, line, workplace)
        hosts = (*_LOOPBACK_NAMES, host) if is_loopback(host) else ()
        yield Guard(app, hosts, auth, limits)
    finally:
        line.close()
        workplace.close()


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Print the address, and serve until Ctrl-C or SIGTERM.

    Args:
        app: The application.
        listening: The socket.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_PATIENCE_S,
    )
    # uvicorn ends at either signal and sends it again: what stands in `finally` must still be done.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        host, port = listening.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        sys.stdout.write(f"http://{address} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
