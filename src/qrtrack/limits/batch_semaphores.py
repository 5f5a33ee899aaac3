"""Per-batch semaphores, acquired before a connection is taken from the pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from qrtrack.limits.fair_starts import Crowd

# How many transactions of one process may compete for a batch's lock (one holds it, one is next), and for its row.
# Transactions that update the row do most of their work before they need it, so more of them may run.
LOCK_PERMITS: Final = 2
ROW_PERMITS: Final = 4
# One organisation may run this many transactions while another one is active. It is more than ROW_PERMITS: otherwise
# the transactions that wait for one busy batch would block all other work of their organisation.
PERMITS_BESIDE_OTHERS: Final = ROW_PERMITS + 1


class BatchSemaphores:
    """Limit how many transactions of this process hold a connection while they wait for one batch. The others wait
    here without a connection, so that a busy batch cannot drain the pool.
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
    """Limit how many transactions of one organisation run at a time in this process. Further ones wait in order,
    without a connection: otherwise hundreds of requests of one organisation would take the whole pool.

    Transactions await nothing slow, so no long poll and no call of the gateway holds a permit.
    """

    def __init__(self, pool_size: int) -> None:
        # Keeps one connection free for an organisation that becomes active.
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
