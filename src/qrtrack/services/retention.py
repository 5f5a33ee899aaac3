"""Retention: deletes old rows that are no longer needed, in small transactions. Trace events and attempts are never
deleted.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from qrtrack.database import Database
from qrtrack.repositories import Repositories
from qrtrack.repositories.retention import AGED, FAILED_CHECKS, Aged, OldJob, PrunedChunk
from qrtrack.services.small_steps import Step, repeat

# Idempotency keys are promised for 24 h.
KEY_HOURS: Final = 48
JOBS_AT_A_TIME: Final = 500

Advance = Callable[[str, int], None]
"""Called after each step with what was deleted, and how many rows."""
StepAfter = Callable[[Repositories, int], Awaitable[PrunedChunk]]
"""Deletes the old ones of the next rows after an id."""

log = structlog.get_logger()


async def preview_prune(database: Database, *, days: int) -> dict[str, int]:
    """Returns what `prune` would delete now: the number of rows by kind."""
    async with database.read() as repositories:
        return (await repositories.retention.preview(days=days, hours=KEY_HOURS))._asdict()


async def prune(database: Database, *, days: int, advance: Advance = lambda _what, _count: None) -> dict[str, int]:
    """Deletes rows that ended or were written more than `days` days ago and are no longer needed. Idempotency keys,
    console sessions and rows of dead processes go earlier. If a run is killed, the next one continues; concurrent runs
    share the work. Returns the number of deleted rows by kind.
    """
    steps: dict[str, Step] = {
        "log_lines": lambda repositories: repositories.retention.prune_log_lines(days=days),
        "console_sessions": lambda repositories: repositories.retention.prune_console_sessions(),
    } | {what: _of_aged(aged, days) for what, aged in AGED.items()}
    whole = ["prepared_codes", "reverse_jobs", "batch_stages", "progress_records", "progress_batches"]
    deleted = dict.fromkeys([*whole, *steps], 0)

    def count(what: str, rows: int) -> None:
        deleted[what] += rows
        advance(what, rows)

    for what, step in steps.items():
        await repeat(database, step, partial(count, what))
    async for job in _old_jobs(database, days):
        if job.is_over:
            await _walk(database, _consumed_of(job.id, days), partial(count, "prepared_codes"))
        count("reverse_jobs", await _prune_job(database, job, days))
    await _walk(
        database,
        lambda repositories, after: repositories.retention.prune_stages(days=days, after=after),
        partial(count, "batch_stages"),
    )
    await _prune_progress(database, days, count)
    if any(deleted.values()):
        log.info("pruned", **deleted)
    return deleted


async def expire_keys(database: Database) -> int:
    """Deletes old idempotency keys. Returns how many."""
    return await repeat(database, _of_aged(AGED["idempotency_keys"]))


async def prune_failures(database: Database) -> int:
    """Deletes failed checks that no limit counts any more. Returns how many."""
    return await repeat(database, _of_aged(FAILED_CHECKS))


def _of_aged(aged: Aged, days: int = 0) -> Step:
    return lambda repositories: repositories.retention.prune_aged(aged, days=days, hours=KEY_HOURS)


async def _old_jobs(database: Database, days: int) -> AsyncIterator[OldJob]:
    after = UUID(int=0)
    while True:
        async with database.read() as repositories:
            jobs = await repositories.retention.old_jobs(days=days, after=after, limit=JOBS_AT_A_TIME)
        for job in jobs:
            yield job
        if len(jobs) < JOBS_AT_A_TIME:
            return
        after = jobs[-1].id


async def _walk(database: Database, step: StepAfter, count: Callable[[int], None]) -> None:
    """Runs the step over the whole table once, each chunk in its own transaction."""
    after: int | None = 0
    while after is not None:
        async with database.write() as repositories:
            chunk = await step(repositories, after)
        count(chunk.deleted)
        after = chunk.last_id


def _consumed_of(job_id: UUID, days: int) -> StepAfter:
    return lambda repositories, after: repositories.retention.prune_consumed(job_id, days=days, after=after)


async def _prune_progress(database: Database, days: int, count: Advance) -> None:
    """Deletes batch by batch. If another process has locked the records of a batch, that process deletes it."""
    gone = 1
    while gone:
        async with database.read() as repositories:
            batches = await repositories.retention.old_progress(days=days, limit=JOBS_AT_A_TIME)
        gone = 0
        for batch_id in batches:
            await repeat(database, _step_of(batch_id), partial(count, "progress_records"))
            async with database.write() as repositories:
                gone += await repositories.retention.delete_progress(batch_id)
        count("progress_batches", gone)


def _step_of(batch_id: UUID) -> Step:
    return lambda repositories: repositories.retention.prune_records(batch_id)


async def _prune_job(database: Database, job: OldJob, days: int) -> int:
    """Checks first without the batch lock, which packing needs. Checks again with the lock: then no unit can leave a
    case meanwhile.
    """
    async with database.read() as repositories:
        if not await repositories.retention.is_over_and_done(job.id, days=days):
            return 0
    async with database.write(batch_lock=job.batch_id) as repositories:
        if not await repositories.retention.is_over_and_done(job.id, days=days):
            return 0
        return await repositories.retention.delete_job(job.id)
