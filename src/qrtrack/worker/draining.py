"""Executes queued work for a limited time, for platforms that have a cron service but no long-running processes."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from qrtrack.domain.stopping import StopSignal
from qrtrack.runtime import Runtime
from qrtrack.services.workers import report_ends
from qrtrack.worker import schedule
from qrtrack.worker.execution import AnyHandler, End, WorkOutcome, run_next
from qrtrack.worker.handlers import HANDLERS, REVERSE_JOB

Ends: TypeAlias = Mapping[str, Counter[End]]
"""How many pieces ended, by kind and by end."""


async def run_one_reverse_job(runtime: Runtime, *, seconds: float) -> WorkOutcome | None:
    """Runs one reverse job. Returns None if no job is due. A job that does not end in time goes back to the queue."""
    async with _stopping_after(runtime, seconds) as stop:
        outcome = await run_next(runtime, REVERSE_JOB, stop)
    await report_ends(runtime.database, runtime.activity)
    return outcome


async def drain(runtime: Runtime, *, seconds: float) -> Ends:
    """Executes all kinds of work until nothing is due or the time is up."""
    await schedule.plan(runtime)
    ends: dict[str, Counter[End]] = {handler.queue.kind: Counter() for handler in HANDLERS}
    async with _stopping_after(runtime, seconds) as stop:
        # Work of one kind may queue work of another, so rounds are repeated until one finds nothing.
        did_something = True
        while did_something and not stop.is_set():
            did_something = await _drain_all(runtime, stop, ends)
    await report_ends(runtime.database, runtime.activity)
    return ends


async def _drain_all(runtime: Runtime, stop: StopSignal, ends: Ends) -> bool:
    """Returns False if nothing was due."""
    return await _all(
        [
            _drain_kind(runtime, handler, stop, ends[handler.queue.kind])
            for handler in HANDLERS
            for _ in range(max(handler.slots(runtime.settings), 1))
        ]
    )


async def _drain_kind(runtime: Runtime, handler: AnyHandler, stop: StopSignal, ends: Counter[End]) -> bool:
    did_something = False
    while (outcome := await run_next(runtime, handler, stop)) is not None:
        ends[outcome.end] += outcome.pieces
        did_something = True
    return did_something


async def _all(drains: list[Coroutine[Any, Any, bool]]) -> bool:
    """Waits until every drain has ended, so that no work keeps running. Then raises the first failure."""
    ended = await asyncio.gather(*drains, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return any(ended)


@asynccontextmanager
async def _stopping_after(runtime: Runtime, seconds: float) -> AsyncIterator[StopSignal]:
    """Yields a signal that is set when the time is up or the process stops."""
    stop = StopSignal(deadline=time.monotonic() + seconds)

    async def pass_on() -> None:
        await runtime.stopping.wait()
        stop.set()

    task = asyncio.create_task(pass_on())
    try:
        yield stop
    finally:
        task.cancel()
