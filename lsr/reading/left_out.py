"""Counting what a reader leaves out, so that nothing of a data set vanishes without a word."""

import logging
import os

_told: set[str] = set()
"""Warnings that this process has written: a folder may be searched several times."""


class LeftOut:
    """Things that a reader leaves out, told in one warning for each reason.

    Args:
        source: What is read, for example a folder.
    """

    def __init__(self, source: object) -> None:
        self._source = source
        self._named: dict[str, list[object]] = {}

    def add(self, reason: str, what: object) -> None:
        """Count a thing.

        Args:
            reason: Plural noun that says what kind of thing it is and why it is left out.
            what: The thing.
        """
        self._named.setdefault(reason, []).append(what)

    def tell(self, log: logging.Logger) -> None:
        """Write a warning for each reason, with the number and the first of the things.

        Of several processes on a machine that read the same, the first one writes.
        """
        for reason, things in self._named.items():
            warning = f"{self._source}: {reason}: {len(things)} left out, such as {things[0]}"
            if warning not in _told and os.environ.get("LOCAL_RANK", "0") == "0":
                log.warning("%s", warning)
            _told.add(warning)
        self._named.clear()
