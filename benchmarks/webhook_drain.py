"""Draining webhook events, every finish fenced and committed, beside PgQueuer and Procrastinate with a no-op.

Bars: no-op events at least twice as fast as PgQueuer and twenty times as fast as Procrastinate; with the real handler,
which keeps the newest state of each document, at least as fast as PgQueuer's no-ops. All on one database in one run.
Ours is the standing worker of a server with its four slots; for the no-op its handler does nothing. The others run
their own worker loops in this process, as many and with such batches as were fastest for them.
"""

import asyncio
import time
from functools import partial
from unittest.mock import patch
from uuid import uuid4

import procrastinate
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.types import QueueExecutionMode
from sqlalchemy import make_url

from benchmarks.ground import Ground, alternate, open_ground, timed, until
from benchmarks.report import Report
from qrtrack.domain.accurate.documents import Reading

OURS, PGQUEUER, PROCRASTINATE = 100_000, 20_000, 1_500
LOOPS, BATCH, CONCURRENCY = 2, 1000, 20

EVENTS = """
INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, uuid, payload, content_hash)
SELECT $1, 'ITEM', 7, gen_random_uuid()::text,
       '{"databaseId": 7, "type": "ITEM", "timestamp": "21/11/2026 10:00:00", "uuid": "' || gen_random_uuid()
       || '", "data": [{"itemId": ' || number || ', "itemNo": "I-' || number || '", "action": "WRITE"}]}', '\\x00'
FROM generate_series(1, $2::int) AS number
"""
EMPTY = "TRUNCATE webhook_queue, webhook_conflicts, accurate_documents"
TIDY = "VACUUM (ANALYZE) webhook_queue, accurate_documents, queue_turns"
# Asked again and again while ours work, so the first of them must cost next to nothing.
LAST_IS_DONE = "SELECT status = 'done' FROM webhook_queue ORDER BY id DESC LIMIT 1"
ALL_ARE_DONE = "SELECT NOT EXISTS (SELECT FROM webhook_queue WHERE status <> 'done')"


async def run(*, full: bool) -> Report:
    report = Report("webhook_drain")
    async with open_ground() as ground:
        await _install(ground)
        noop, real, pgqueuer, other = await alternate(
            3 + 2 * full,
            partial(_noop, ground),
            partial(_ours, ground),
            partial(_pgqueuer, ground),
            partial(_procrastinate, ground),
        )
        report.speed_at_least("a no-op event, speed of PgQueuer", noop, pgqueuer, 2)
        report.speed_at_least("a no-op event, speed of Procrastinate", noop, other, 20)
        report.speed_at_least("an event with its document, speed of PgQueuer's no-op", real, pgqueuer, 1)
        report.note(
            ", ".join(
                f"{name}: {1 / sorted(seconds)[len(seconds) // 2]:,.0f} a second"
                for name, seconds in {
                    "no-op": noop, "with its document": real, "PgQueuer": pgqueuer, "Procrastinate": other,
                }.items()
            )
        )  # fmt: skip
        report.publish(ground.machine)
    return report


async def _install(ground: Ground) -> None:
    await Queries(AsyncpgDriver(ground.bare)).install()
    async with _procrastinate_app(ground).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def _noop(ground: Ground) -> float:
    nothing = Reading((), None)
    with patch("qrtrack.services.accurate.processing.read_event", lambda *_, **__: nothing):
        return await _ours(ground)


async def _ours(ground: Ground) -> float:
    """Seconds an event."""
    await ground.bare.execute(EMPTY)
    await ground.bare.execute(EVENTS, uuid4(), OURS)
    await ground.bare.execute(TIDY)
    await ground.settle()
    began = time.perf_counter()
    async with ground.working(webhook_event=4):
        await until(lambda: ground.bare.fetchval(LAST_IS_DONE))
        await until(lambda: ground.bare.fetchval(ALL_ARE_DONE))
        return (time.perf_counter() - began) / OURS


async def _pgqueuer(ground: Ground) -> float:
    """Seconds a job."""
    connections = [await ground.connect() for _ in range(LOOPS)]
    drivers = [AsyncpgDriver(connection) for connection in connections]
    await Queries(drivers[0]).enqueue(["noop"] * PGQUEUER, [b"{}"] * PGQUEUER, [0] * PGQUEUER)
    loops, done = [PgQueuer(driver) for driver in drivers], 0

    async def noop(_job: Job) -> None:
        nonlocal done
        done += 1

    for loop in loops:
        loop.entrypoint("noop")(noop)
    await ground.settle()
    seconds = await timed(
        lambda: asyncio.gather(*(loop.run(mode=QueueExecutionMode.drain, batch_size=BATCH) for loop in loops))
    )
    assert done == PGQUEUER
    for connection in connections:
        await connection.close()
    return seconds / PGQUEUER


def _procrastinate_app(ground: Ground) -> procrastinate.App:
    url = make_url(ground.url).set(drivername="postgresql").render_as_string(hide_password=False)
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))


async def _procrastinate(ground: Ground) -> float:
    """Seconds a job."""
    app, done = _procrastinate_app(ground), 0

    async def count() -> None:
        nonlocal done
        done += 1

    noop = app.task(name="noop")(count)
    async with app.open_async():
        await noop.batch_defer_async(*({} for _ in range(PROCRASTINATE)))
        await ground.settle()
        seconds = await timed(
            partial(app.run_worker_async, wait=False, concurrency=CONCURRENCY, install_signal_handlers=False)
        )
    assert done == PROCRASTINATE
    return seconds / PROCRASTINATE
