"""A TCP port for the processes that a test starts."""

import random
import socket


def free_port() -> int:
    """Return a port of this machine that no process uses.

    Linux gives ports from 32768 on to sockets that ask for none in particular. The port is below,
    so that no socket of another test takes it before the started process listens.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
