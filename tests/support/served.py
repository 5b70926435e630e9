"""A server of `lsr serve` in a thread of the test, and broken files to send to it."""

import io
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from lsr.inference.upscaler import Upscaler
from lsr.serve.limits import Limits
from lsr.serve.server import application, bound_socket
from support.image_files import chunk

_LIMITS = Limits()


@contextmanager
def served(
    models: Mapping[str, Upscaler],
    limits: Limits = _LIMITS,
    auth: str | None = None,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """Yield the address of a server that runs while the block does."""
    with (
        bound_socket(host, 0) as listening,
        application(models, limits, host, auth) as app,
    ):
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            server.should_exit = True
            thread.join()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Return an image file of uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def animation() -> bytes:
    """Return a GIF file of two frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def bomb() -> bytes:
    """Return a PNG file of a hundred bytes that claims 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
