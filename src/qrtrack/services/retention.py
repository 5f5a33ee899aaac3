"""Clean-up: what is old and needed by nobody is deleted in small transactions. Trace events and attempts never are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog

from qrtrack.database import Database
from qrtrack.repositories import Repositories

# A caller who sends a request again does so within a day; who was away for one has a second.
KEY_HOURS: Final = 48
JOBS_AT_A_TIME: Final = 500

Advance = Callable[[str, int], None]
"""Told after each step what was deleted, and how many."""

log = structlog.get_logger()


async def preview_prune(database: Database, *, days: int) -> dict[str, int]:
    """What `prune` would delete now, by what it is."""
    async with database.read() as repositories:
        return dict((await repositories.retention.preview(days=days, hours=KEY_HOURS))._asdict())


async def prune(database: Database, *, days: int, advance: Advance = lambda _what, _count: None) -> dict[str, int]:
    """Deletes what is older than so many days. Killed anywhere, it goes on the next time; many at once share it."""
    steps: dict[str, Callable[[Repositories], Awaitable[int]]] = {
        "log_lines": lambda repositories: repositories.retention.prune_log_lines(days=days),
        "notifications": lambda repositories: repositories.retention.prune_notifications(days=days),
        "idempotency_keys": _expire_some,
        "worker_processes": lambda repositories: repositories.retention.prune_worker_processes(),
    }
    whole = ["prepared_codes", "reverse_jobs", "batch_stages", "progress_records", "progress_batches"]
    deleted = dict.fromkeys([*whole, *steps], 0)

    def count(what: str, rows: int) -> None:
        deleted[what] += rows
        advance(what, rows)

    for what, step in steps.items():
        while rows := await _do(database, step):
            count(what, rows)
    async for job in _old_jobs(database, days):
        if job.is_over:
            await _prune_rows(database, job.id, days, count)
        count("reverse_jobs", await _prune_job(database, job, days))
    await _prune_stages(database, days, count)
    await _prune_progress(database, days, count)
    if any(deleted.values()):
        log.info("pruned", **deleted)
    return deleted


async def expire_keys(database: Database) -> int:
    """Idempotency keys past their life; how many."""
    expired = 0
    while rows := await _do(database, _expire_some):
        expired += rows
    return expired


async def _expire_some(repositories: Repositories) -> int:
    return await repositories.retention.prune_idempotency_keys(hours=KEY_HOURS)


async def _do(database: Database, step: Callable[[Repositories], Awaitable[int]]) -> int:
    async with database.write() as repositories:
        return await step(repositories)


async def _old_jobs(database: Database, days: int) -> AsyncIterator[Any]:
    after = UUID(int=0)
    while True:
        async with database.read() as repositories:
            jobs = await repositories.retention.old_jobs(days=days, after=after, limit=JOBS_AT_A_TIME)
        for job in jobs:
            yield job
        if len(jobs) < JOBS_AT_A_TIME:
            return
        after = jobs[-1].id


async def _prune_stages(database: Database, days: int, count: Advance) -> None:
    after: int | None = 0
    while after is not None:
        async with database.write() as repositories:
            chunk = await repositories.retention.prune_stages(days=days, after=after)
        count("batch_stages", chunk.deleted)
        after = chunk.last_id


async def _prune_progress(database: Database, days: int, count: Advance) -> None:
    """Batch after batch; one that another process is at is left to it."""
    while True:
        async with database.read() as repositories:
            batches = await repositories.retention.old_progress(days=days, limit=JOBS_AT_A_TIME)
        gone = 0
        for batch_id in batches:
            while rows := await _do(database, partial(_prune_records, batch_id=batch_id)):
                count("progress_records", rows)
            gone += await _do(database, partial(_delete_progress, batch_id=batch_id))
        count("progress_batches", gone)
        if not gone:
            return


async def _prune_records(repositories: Repositories, *, batch_id: UUID) -> int:
    return await repositories.retention.prune_records(batch_id)


async def _delete_progress(repositories: Repositories, *, batch_id: UUID) -> int:
    return await repositories.retention.delete_progress(batch_id)


async def _prune_rows(database: Database, job_id: UUID, days: int, count: Advance) -> None:
    after: int | None = 0
    while after is not None:
        async with database.write() as repositories:
            chunk = await repositories.retention.prune_consumed(job_id, days=days, after=after)
        count("prepared_codes", chunk.deleted)
        after = chunk.last_id


async def _prune_job(database: Database, job: Any, days: int) -> int:
    """Looks first without the lock, which packing needs; with it nobody can take a unit out of a case meanwhile."""
    async with database.read() as repositories:
        if not await repositories.retention.is_over_and_done(job.id, days=days):
            return 0
    async with database.write(batch_lock=job.batch_id) as repositories:
        if not await repositories.retention.is_over_and_done(job.id, days=days):
            return 0
        return await repositories.retention.delete_job(job.id)
