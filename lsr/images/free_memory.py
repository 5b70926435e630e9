"""The free memory of this machine, and refusing pictures that do not fit into it."""

from pathlib import Path

import psutil

from lsr.images.opening import UnreadableImage

_CGROUP = Path("/sys/fs/cgroup")
"""Folder with the memory limit and the memory use of a container (cgroup version 2)."""

_USUAL_PIXELS = 2**27
"""Pixels up to which the free memory is not looked at: they need 2.5 GiB, which any machine that
upscales has."""

_BYTES_PER_PIXEL = 20
"""Memory of a decoded picture: Pillow's samples, ours, and RGB in float32."""


def free_memory() -> int:
    """Return the number of free bytes; the memory limit of a container is respected."""
    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
        statistics = (_CGROUP / "memory.stat").read_text().splitlines()
        # The limit counts the page cache as used, but the kernel drops it when memory is needed.
        cache = dict(line.split() for line in statistics)["inactive_file"]
        return free if limit == "max" else min(free, int(limit) - int(used) + int(cache))
    except (OSError, KeyError, ValueError):
        return free


def check_memory(source: object, width: int, height: int) -> None:
    """Check that a picture fits into the free memory: a small file may claim any size.

    Args:
        source: The image file, for the message.
        width: Width in pixels.
        height: Height in pixels.

    Raises:
        UnreadableImage: If it needs more memory than is free.
    """
    if width * height <= _USUAL_PIXELS:
        return
    needed = _BYTES_PER_PIXEL * width * height
    free = free_memory()
    if needed > free:
        raise UnreadableImage(
            f"{source}: {width} x {height} pixels need about {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free: cut it into parts"
        )
