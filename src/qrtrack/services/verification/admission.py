"""Limits how many public requests run and wait at a time in this process, so that consumers' checks do not slow packing
down.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from qrtrack.domain.errors import Unavailable

# With 50 ms for a bcrypt and two slots, the last of 400 waiting requests waits for 10 s.
MOST_WAITING: Final = 400
# Many people may share one network address, so one network may have many requests waiting, but not all 400.
MOST_WAITING_OF_SHARE: Final = 100


class VerificationBusy(Unavailable):
    """Too many checks wait already, of all visitors or from this network. This check was neither run nor counted."""

    slug = "verification-busy"
    title = "Many checks at once"
    message = "Many checks wait at this moment: try again in a few seconds."


@dataclass(slots=True)
class _Share:
    places: asyncio.Semaphore
    users: int = field(default=0)


class Admission:
    """Runs at most `slots` requests at a time. At most as many requests of one share (a network) wait for a slot; its
    other requests wait for the share's own requests to end. So a burst from one network delays a check from another
    network by one round, not by the whole burst.
    """

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._places = slots
        self._shares: dict[Hashable, _Share] = {}
        self._users = 0

    @asynccontextmanager
    async def slot(self, share: Hashable) -> AsyncIterator[None]:
        """Waits for a slot, and holds it until the block ends. Raises VerificationBusy."""
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
