"""Memory for the bodies of requests: a budget of this process, and a share of it for each organisation.

A body that does not fit is not refused: the server does not read it yet, so its bytes stay with the sender (TCP
backpressure).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from qrtrack.heavy_work import TooMuchWork

MIB: Final = 1024 * 1024
# Four organisations at their share fit; one organisation can never use up the budget.
IN_ALL: Final = 128 * MIB
PER_SHARE: Final = 32 * MIB
# No body takes more memory: an import, which may be longer, is spooled to disk.
MOST_OF_ONE: Final = 16 * MIB
# Smaller ones are not counted: MAX_CONNECTIONS bounds them.
UNCOUNTED: Final = 64 * 1024
# While it waits, a connection holds what the server has read ahead, up to 320 KiB.
WAITING_PER_SHARE: Final = 100


@dataclass(slots=True)
class BodyBudget:
    """`held`: bytes by share. A share is an organisation, or all of Accurate's webhooks."""

    held: Counter[Hashable] = field(default_factory=Counter)
    waiting: Counter[Hashable] = field(default_factory=Counter)
    _released: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def reserve(self, share: Hashable, length: int) -> AsyncIterator[None]:
        """Waits, before the first byte is read, until the whole body fits; holds its memory until the block ends.

        Reserving part by part could deadlock: many incomplete bodies fill the budget, and none can complete.
        Raises TooMuchWork where too many of the share wait already.
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
        self.waiting[share] += 1
        try:
            async with self._released:
                await self._released.wait_for(lambda: self._fits(share, length))
                self.held[share] += length
        finally:
            self.waiting[share] -= 1
            if not self.waiting[share]:
                del self.waiting[share]

    def _fits(self, share: Hashable, length: int) -> bool:
        return self.held[share] + length <= PER_SHARE and self.held.total() + length <= IN_ALL
