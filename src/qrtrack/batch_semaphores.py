"""Whose turn it is within this process, before anything of the database is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

# How many of a process go for a batch's lock at a time, and for its row: there the next ones do their work before it.
LOCK_TURNS = 2
ROW_TURNS = 4


class BatchTurns:
    """Who of this process may go for what many want at once: a batch's lock, or its row.

    A few at a time hold a connection for it: one that has it, and who comes next. All others wait here, without one: a
    busy batch must not take the pool from everybody else.
    """

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, *, lock: UUID | None, row: UUID | None) -> AsyncIterator[None]:
        batch_id, at_a_time = (row, ROW_TURNS) if lock is None else (lock, LOCK_TURNS)
        if batch_id is None:
            yield
            return
        async with self._turns.setdefault(batch_id, asyncio.Semaphore(at_a_time)):
            yield
