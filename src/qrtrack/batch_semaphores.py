"""Per-batch semaphores, acquired before a connection is taken from the pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

# Transactions of one process that may compete for a batch's lock, and for its row. Those that want the row do most of
# their work before they need it.
LOCK_PERMITS: Final = 2
ROW_PERMITS: Final = 4


class BatchSemaphores:
    """Limit how many transactions of this process wait for one batch with a connection in hand: one that works and one
    that is next. The others wait here, so that a busy batch cannot drain the pool.
    """

    def __init__(self) -> None:
        self._semaphores: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def acquired(self, *, lock: UUID | None, row: UUID | None) -> AsyncIterator[None]:
        batch_id, permits = (row, ROW_PERMITS) if lock is None else (lock, LOCK_PERMITS)
        if batch_id is None:
            yield
            return
        async with self._semaphores.setdefault(batch_id, asyncio.Semaphore(permits)):
            yield
