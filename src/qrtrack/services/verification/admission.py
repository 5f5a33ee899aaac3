"""Limits how many public requests run and wait at a time in this process: verification must not starve packing."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final

from qrtrack.domain.errors import Unavailable

# With bcrypt at 50 ms and two slots, the last request in the line waits for 10 s.
MOST_WAITING: Final = 400
# Many people behind one address need more than one place, but must not take all of them.
MOST_WAITING_OF_SHARE: Final = 100


class VerificationBusy(Unavailable):
    """Too many checks wait already. This one was neither run nor counted."""

    slug: ClassVar[str] = "verification-busy"
    title: ClassVar[str] = "Many checks at once"

    def __init__(self) -> None:
        super().__init__("Many people are checking products at this moment: try again in a few seconds.")


@dataclass(slots=True)
class _Share:
    places: asyncio.Semaphore
    users: int = field(default=0)


class Admission:
    """Runs `slots` at a time. Each share (a network) has as many places in the line, and the rest of it waits beside
    the line: a burst from one network delays another network's check by one round, not by the whole burst.
    """

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._places = slots
        self._shares: dict[Hashable, _Share] = {}
        self._users = 0

    @asynccontextmanager
    async def turn(self, share: Hashable) -> AsyncIterator[None]:
        """Raises VerificationBusy."""
        mine = self._shares.setdefault(share, _Share(asyncio.Semaphore(self._places)))
        if self._users >= MOST_WAITING or mine.users >= MOST_WAITING_OF_SHARE:
            self._forget(share, mine)
            raise VerificationBusy
        self._users += 1
        mine.users += 1
        try:
            async with mine.places, self._slots:
                yield
        finally:
            self._users -= 1
            mine.users -= 1
            self._forget(share, mine)

    def _forget(self, share: Hashable, mine: _Share) -> None:
        if not mine.users:
            self._shares.pop(share, None)
