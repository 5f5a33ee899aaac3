"""Per-batch semaphores, acquired before a connection is taken from the pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from qrtrack.fair_starts import Crowd

# Transactions of one process that may compete for a batch's lock, and for its row. Those that want the row do most of
# their work before they need it.
LOCK_PERMITS: Final = 2
ROW_PERMITS: Final = 4
# Transactions of one organisation as long as another one is active. More than ROW_PERMITS: the waiters of one busy
# batch must not hold up everything else of their organisation.
PERMITS_BESIDE_OTHERS: Final = ROW_PERMITS + 1


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


class TenantSemaphores:
    """Limit how many transactions of one organisation run at a time in this process. Further ones wait, in order and
    without a connection: otherwise hundreds of requests of one organisation take the pool from all others.

    Nothing slow is awaited inside a transaction, so no long poll and no call of a gateway holds a permit.
    """

    def __init__(self, pool_size: int) -> None:
        # One connection is left for an organisation that has just begun.
        self._alone = max(1, pool_size - 1)
        self._semaphores: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._beside_others: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._crowd = Crowd()

    @asynccontextmanager
    async def acquired(self, tenant: UUID | None) -> AsyncIterator[None]:
        if tenant is None:
            yield
            return
        is_crowded = self._crowd.notice(tenant)
        async with AsyncExitStack() as permits:
            await permits.enter_async_context(self._semaphores.setdefault(tenant, asyncio.Semaphore(self._alone)))
            if is_crowded:
                few = self._beside_others.setdefault(tenant, asyncio.Semaphore(PERMITS_BESIDE_OTHERS))
                await permits.enter_async_context(few)
            yield
