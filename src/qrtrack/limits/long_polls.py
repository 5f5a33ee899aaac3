"""Limits how many requests of this process may wait for a change, in total and for each caller."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from qrtrack.limits.shares import counted

# Each long poll queries the database about once a second. This many cost it as much as a busy packing station.
IN_ALL: Final = 200
PER_CALLER: Final = 20


class LongPolls:
    """Counts the long polls that are waiting."""

    def __init__(self) -> None:
        self._waiting: Counter[Hashable] = Counter()

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    @contextmanager
    def place(self, caller: Hashable) -> Iterator[bool]:
        """Yields True if the caller gets a place to wait. It is held until the block ends."""
        if self._waiting.get(caller, 0) >= PER_CALLER or self.waiting >= IN_ALL:
            yield False
            return
        with counted(self._waiting, caller):
            yield True
