"""Limits the memory for request bodies: a budget for this process, and a share of it for each organisation.

A body that does not fit waits: the server does not read it yet, so its bytes stay at the sender (TCP backpressure).
While WAITING_PER_SHARE requests of an organisation wait, its next one is refused.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from qrtrack.limits.heavy_work import TooMuchWork
from qrtrack.limits.shares import counted

MIB: Final = 1024 * 1024
# Four organisations fit at their full share. One organisation can never use up the budget.
IN_ALL: Final = 128 * MIB
PER_SHARE: Final = 32 * MIB
# One body takes at most this much memory: a longer body (an import) is spooled to disk.
MOST_OF_ONE: Final = 16 * MIB
# Smaller bodies are not counted: MAX_CONNECTIONS bounds them.
UNCOUNTED: Final = 64 * 1024
# How many requests of one share may wait. Each waiting connection holds up to 320 KiB that the server has read already.
WAITING_PER_SHARE: Final = 100


@dataclass(slots=True)
class BodyBudget:
    """Reserves memory for bodies. `held` has the reserved bytes of each share. A share belongs to one organisation, or
    to all webhooks of Accurate together.
    """

    held: Counter[Hashable] = field(default_factory=Counter)
    waiting: Counter[Hashable] = field(default_factory=Counter)
    _released: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def reserve(self, share: Hashable, length: int) -> AsyncIterator[None]:
        """Reserves memory for the whole body before its first byte is read, and frees it when the block ends. Waits
        until it fits.

        Reserving part by part could deadlock: many incomplete bodies would fill the budget, and none could complete.
        Raises TooMuchWork when too many requests of the same share wait already.
        """
        if length <= UNCOUNTED:
            yield
            return
        length = min(length, MOST_OF_ONE)
        await self._take(share, length)
        try:
            yield
        finally:
            self.held[share] -= length
            if not self.held[share]:
                del self.held[share]
            async with self._released:
                self._released.notify_all()

    async def _take(self, share: Hashable, length: int) -> None:
        if self.waiting[share] >= WAITING_PER_SHARE:
            raise TooMuchWork
        with counted(self.waiting, share):
            async with self._released:
                await self._released.wait_for(lambda: self._fits(share, length))
                self.held[share] += length

    def _fits(self, share: Hashable, length: int) -> bool:
        return self.held[share] + length <= PER_SHARE and self.held.total() + length <= IN_ALL
