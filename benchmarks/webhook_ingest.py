"""Taking webhooks in over HTTP, beside the least that stores the same row; arrays; and acks while the workers are busy.

Bars: one event a request at least 0.6 times the requests a second of a bare FastAPI and asyncpg endpoint that inserts
the same row into a table with the same indexes, both without a worker and without log lines; an array of 1,000 events
p99 100 ms; an ack p99 50 ms at 50 requests a second while the workers have more than they can do. All servers are one
process with uvloop, on the machine of the database and the clients. Arrays and acks are measured with all log lines of
the default level; what these cost a single event stands beside it.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from benchmarks.ground import Ground, alternate, in_milliseconds, open_ground, timed
from benchmarks.report import Report, percentile
from benchmarks.server import Client, Server, answering, free_port, serving

PATH = "/webhook/accurate"
CONNECTIONS, REQUESTS, ARRAYS, ARRAY = 32, 3000, 200, 1000
ACKS_PER_SECOND, ACK_SECONDS, BACKLOG = 50, 12, 300_000
DATABASE = 7

BACKLOG_EVENTS = """
INSERT INTO webhook_queue (manufacturer_org_id, type, database_id, payload, content_hash)
SELECT $1, 'ITEM', 7, '{"databaseId": 7, "type": "ITEM", "timestamp": "21/11/2026 10:00:00", "data": [{"itemId": '
    || number || '}]}', '\\x00' FROM generate_series(1, $2::int) AS number
"""


async def run(*, full: bool) -> Report:
    report = Report("webhook_ingest")
    async with open_ground() as ground:
        await _beside_a_bare_endpoint(ground, report, rounds=5 + 2 * full)
        await _beside_busy_workers(ground, report)
        report.publish(ground.machine)
    return report


async def _beside_a_bare_endpoint(ground: Ground, report: Report, *, rounds: int) -> None:
    await ground.bare.execute("CREATE TABLE bare_webhook_queue (LIKE webhook_queue INCLUDING ALL)")
    await ground.bare.execute("ALTER TABLE bare_webhook_queue OWNER TO qrtrack")
    async with (
        serving(ground, with_worker=False, ACCURATE_DATABASES=f"{DATABASE}={ground.organisation}") as silent,
        _telling(ground, with_worker=False) as telling,
        _bare_server(ground) as bare,
    ):
        sides = [partial(_requests, server) for server in (silent, telling, bare)]
        mine, told, theirs = await alternate(rounds, *sides)
        report.speed_at_least("one event a request, speed of the bare endpoint", mine, theirs, 0.6)
        report.beside("the same with its log lines", told, theirs)
        await _arrays(telling, 1)
        arrays = in_milliseconds(await _arrays(telling, ARRAYS))
    report.at_most(f"an array of {ARRAY:,} events, p99", percentile(arrays, 99), "ms", 100, arrays)
    report.note(f"an array p50 {percentile(arrays, 50):.1f} ms")


async def _beside_busy_workers(ground: Ground, report: Report) -> None:
    await ground.bare.execute(BACKLOG_EVENTS, ground.organisation, BACKLOG)
    await ground.bare.execute("VACUUM (ANALYZE) webhook_queue")
    await ground.settle()
    async with _telling(ground, with_worker=True) as server:
        acks = in_milliseconds(await _acks(ground, server))
    report.at_most("an ack beside busy workers, p99", percentile(acks, 99), "ms", 50, acks)
    report.note(f"an ack p50 {percentile(acks, 50):.1f} ms")


@asynccontextmanager
async def _telling(ground: Ground, *, with_worker: bool) -> AsyncIterator[Server]:
    """A server that logs as one does by default, into a file."""
    databases = f"{DATABASE}={ground.organisation}"
    with (ground.runtime.settings.qrtrack_data_dir / "server.log").open("a") as log:
        async with serving(
            ground, with_worker=with_worker, log=log, LOG_LEVEL="info", ACCURATE_DATABASES=databases
        ) as server:
            yield server


@asynccontextmanager
async def _bare_server(ground: Ground) -> AsyncIterator[Server]:
    port = free_port()
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment["DATABASE_DSN"] = ground.url.replace("+asyncpg", "")
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare_webhook:app", "--port", str(port)]
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop yet
        [*command, "--no-access-log", "--log-level", "warning"], env=environment
    )
    try:
        await answering(port)
        yield Server(port, "", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


_numbers = itertools.count()


def _event() -> dict[str, Any]:
    number = next(_numbers)
    row = {"itemId": number, "itemNo": f"I-{number}", "action": "WRITE"}
    return {
        "databaseId": DATABASE,
        "type": "ITEM",
        "timestamp": "21/11/2026 10:00:00",
        "uuid": str(uuid4()),
        "data": [row],
    }


async def _requests(server: Server) -> float:
    """Seconds a request, with all connections busy."""
    left = iter(range(REQUESTS))

    async def send(client: Client) -> None:
        for _ in left:
            await client.post(PATH, [_event()])

    async with server.clients(CONNECTIONS) as clients:
        began = time.perf_counter()
        await asyncio.gather(*(send(client) for client in clients))
        return (time.perf_counter() - began) / REQUESTS


async def _arrays(server: Server, count: int) -> Sequence[float]:
    samples = []
    async with server.clients(1) as (client,):
        for _ in range(count):
            events = [_event() for _ in range(ARRAY)]
            samples.append(await timed(partial(client.post, PATH, events)))
    return samples


async def _acks(ground: Ground, server: Server) -> Sequence[float]:
    samples: list[float] = []

    async def send(client: Client) -> None:
        samples.append(await timed(partial(client.post, PATH, [_event()])))

    async with server.clients(ACKS_PER_SECOND) as clients:
        began, tasks = time.perf_counter(), []
        for number, client in zip(range(ACKS_PER_SECOND * ACK_SECONDS), itertools.cycle(clients), strict=False):
            await asyncio.sleep(max(0.0, began + number / ACKS_PER_SECOND - time.perf_counter()))
            tasks.append(asyncio.create_task(send(client)))
        await asyncio.gather(*tasks)
    left = await ground.bare.fetchval("SELECT count(*) FROM webhook_queue WHERE status = 'pending'")
    assert left, "the workers ran out of work"
    return samples
