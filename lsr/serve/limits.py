"""The limits of a server, and the answer to what lies beyond them."""

from dataclasses import dataclass

BAD_REQUEST = 400
"""HTTP status: a setting is wrong."""
TOO_LARGE = 413
"""HTTP status: a photograph or its result is larger than a limit."""
NO_PICTURE = 415
"""HTTP status: a file is no picture that can be read."""
BUSY = 429
"""HTTP status: too many photographs wait already."""
SERVER_FAILED = 500
"""HTTP status: the fault is ours."""


class Refused(ValueError):  # noqa: N818 (an answer, not a fault)
    """A request that is refused; the message is one line for the person who made it.

    Args:
        line: The reason, and what to do.
        status: HTTP status of the answer.
    """

    def __init__(self, line: str, status: int = BAD_REQUEST) -> None:
        super().__init__(" ".join(line.split()))
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server.

    Attributes:
        megapixels: Most millions of pixels of a photograph. A result may have 16 times as many.
        megabytes: Most millions of bytes of a file.
        files: Most photographs that a page takes at once.
        minutes: Most minutes that a photograph may be computed.
        waiting: Most photographs that wait or are computed, of all users together.

    Raises:
        ValueError: If a limit is not above 0.
    """

    megapixels: float = 50.0
    megabytes: float = 100.0
    files: int = 20
    minutes: float = 30.0
    waiting: int = 32

    def __post_init__(self) -> None:
        for name in ("megapixels", "megabytes", "files", "minutes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"--max-{name} must be above 0, not {getattr(self, name)}")

    @property
    def file_bytes(self) -> int:
        """Most bytes of a file."""
        return int(self.megabytes * 1e6)
