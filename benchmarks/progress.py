"""Progress of fan-outs: 1,037 reporters at once, and records in bulk, beside bare asyncpg with the same effect.

Bars: 1,037 reporters, a record each, end at 1037/1037 and completed by themselves within 2 s, also where a tenth of
them is rolled back or killed while it holds the batch's row, and reports again; 50,000 records a second in reports of
1,000. Ours is the use case through the service's own pool of 20 connections: once with each reporter as a transaction
of its own, as from 1,037 processes, and once as they meet in one process, which counts them together. The bare side
inserts with `ON CONFLICT DO NOTHING` and adds to the batch's row in a transaction for each reporter, through a pool of
its own of the same size: no organisation, no policies, no check of the total, nothing at the end. SQL counts afterwards
that every record is there once, and that the row says so.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from uuid import UUID

import asyncpg

from benchmarks.ground import Ground, alternate, open_ground, timed
from benchmarks.report import Report
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.progress.sync_records import RecordOutcome
from qrtrack.services.progress.sync_batches import create_sync_batch
from qrtrack.services.progress.sync_records import ReportGroups, report_records

INSERT = """
INSERT INTO sync_batch_records (batch_id, manufacturer_org_id, record_key, success, error)
SELECT $1, $2, record_key, success, error
FROM unnest($3::text[], $4::bool[], $5::text[]) AS reported (record_key, success, error)
ON CONFLICT DO NOTHING
"""
COUNT = "UPDATE sync_batch_progress SET processed_records = processed_records + $2 WHERE batch_id = $1"
AUDIT = """
SELECT (SELECT count(*) FROM sync_batch_records WHERE batch_id = $1) AS records,
       processed_records, status
FROM sync_batch_progress WHERE batch_id = $1
"""
REPORTERS = 1037
IN_BULK, IN_REPORT, SENDERS = 200_000, 1000, 4

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@dataclass(frozen=True)
class Side:
    """`ended`: the status in which it leaves a batch whose records are all in."""

    send: Callable[[UUID, Sequence[RecordOutcome]], Awaitable[None]]
    ended: str


async def run(*, full: bool) -> Report:
    report = Report("progress")
    rounds = 20 if full else 10
    async with open_ground() as ground, _bare_pool(ground) as pool:
        bare = Side(partial(_bare, ground, pool), "pending")
        alone = Side(partial(_alone, ground), "completed")
        met = Side(partial(_ours, ground), "completed")
        killed = Side(partial(_disturbed, ground, pool), "completed")
        sides = [partial(_at_once, ground, side) for side in (bare, alone, met, killed)]
        theirs, *ours = await alternate(rounds, *sides)
        for what, samples in zip(("each alone", "met in one process", "a tenth undone first"), ours, strict=True):
            line = f"{REPORTERS:,} reporters, {what}"
            report.at_most(f"{line}, the slowest of {rounds} runs", max(samples), "s", 2, samples)
            report.beside(f"{line}, beside bare asyncpg", samples, theirs)
        theirs, bulk = await alternate(rounds // 2, *(partial(_in_bulk, ground, side) for side in (bare, met)))
        report.at_least("records in bulk, the slowest run", IN_BULK / max(bulk), "records/s", 50_000, bulk)
        report.beside(f"{IN_BULK:,} records in bulk, beside bare asyncpg", bulk, theirs)
        report.publish(ground.machine)
    return report


@asynccontextmanager
async def _bare_pool(ground: Ground) -> AsyncIterator[Pool]:
    """As many connections as the service's own pool has, all of them open."""
    size = ground.runtime.settings.database_pool_size
    address = ground.runtime.database.connector.address
    [(host, port)] = address.hosts
    async with asyncpg.create_pool(host=host, port=port, **address.options, min_size=size, max_size=size) as pool:
        yield pool


async def _ours(ground: Ground, batch_id: UUID, outcomes: Sequence[RecordOutcome]) -> None:
    await _report(ground, ground.runtime.report_groups, batch_id, outcomes)


async def _alone(ground: Ground, batch_id: UUID, outcomes: Sequence[RecordOutcome]) -> None:
    await _report(ground, ReportGroups(), batch_id, outcomes)


async def _report(ground: Ground, groups: ReportGroups, batch_id: UUID, outcomes: Sequence[RecordOutcome]) -> None:
    await report_records(ground.runtime.database, groups, caller=ground.caller, batch_id=batch_id, outcomes=outcomes)


async def _disturbed(ground: Ground, pool: Pool, batch_id: UUID, outcomes: Sequence[RecordOutcome]) -> None:
    """Every tenth is undone before it reports: by its own rollback, or by the end of its session."""
    number = int(outcomes[0].key.rpartition("/")[2])
    if number % 10 == 0:
        with suppress(_Undone, DatabaseUnavailable):
            async with ground.runtime.database.write(tenant=ground.organisation, by_keys=True) as repositories:
                records = repositories.sync_records
                await records.count(batch_id, await records.insert(batch_id, ground.organisation, outcomes))
                if number % 20 == 0:
                    pid = repositories._connection.get_server_pid()  # noqa: SLF001 - to end this very session
                    await pool.execute("SELECT pg_terminate_backend($1)", pid)
                raise _Undone
    await _ours(ground, batch_id, outcomes)


class _Undone(Exception):
    """Rolls a report back."""


async def _bare(ground: Ground, pool: Pool, batch_id: UUID, outcomes: Sequence[RecordOutcome]) -> None:
    columns = zip(*((outcome.key, outcome.success, outcome.error) for outcome in outcomes), strict=True)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT, batch_id, ground.organisation, *columns)
        await connection.execute(COUNT, batch_id, len(outcomes))


async def _at_once(ground: Ground, side: Side) -> float:
    reports = [[RecordOutcome(f"record/{number}", success=number % 50 != 0)] for number in range(REPORTERS)]
    return await _measure(ground, side, reports, senders=REPORTERS)


async def _in_bulk(ground: Ground, side: Side) -> float:
    reports = [
        [RecordOutcome(f"record/{number:07}", success=True) for number in range(first, first + IN_REPORT)]
        for first in range(0, IN_BULK, IN_REPORT)
    ]
    return await _measure(ground, side, reports, senders=SENDERS)


async def _measure(ground: Ground, side: Side, reports: Sequence[Sequence[RecordOutcome]], *, senders: int) -> float:
    """All reports, by so many senders side by side."""
    total = sum(map(len, reports))
    created = await create_sync_batch(
        ground.runtime.database, caller=ground.caller, name="benchmark", kind="sync", total_records=total
    )
    waiting = iter(reports)

    async def sender() -> None:
        for report in waiting:
            await side.send(created.batch_id, report)

    async def all_of_them() -> None:
        await asyncio.gather(*(sender() for _ in range(senders)))

    await ground.settle()
    elapsed = await timed(all_of_them)
    found = await ground.bare.fetchrow(AUDIT, created.batch_id)
    assert found is not None
    assert tuple(found) == (total, total, side.ended), found
    return elapsed
