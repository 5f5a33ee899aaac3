"""Packing a case of 100 from the queue over HTTP, beside bare asyncpg with the same effect under the same policies.

Bars: one station p95 15 ms and 2.5 times the p95 of bare asyncpg; eight stations on one batch 150 links a second, p95
100 ms, and nothing lost, doubled or interleaved, which SQL counts afterwards. Ours is `qrtrack serve` in a process of
its own, called through a raw keep-alive connection with a token, as a station would. The bare side takes the same lock,
role and organisation and does all in one statement: four round trips, no checks. One station calls both in turns.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator

from benchmarks.ground import Connection, Ground, alternate, in_milliseconds, open_ground
from benchmarks.report import Report, percentile
from benchmarks.seed import Seeded, seed_batch, tidy
from benchmarks.server import Client, Server, serving

BIND = """
SELECT set_config('qrtrack.org', $1, true), set_config('role', $3, true),
       pg_advisory_xact_lock(hashtextextended($2, 0))
"""
BARE_LINK = """
WITH run AS MATERIALIZED (
    SELECT id, sequence_number, code FROM qr_prepared_codes
    WHERE batch_id = $1 AND status = 'prepared'
      AND sequence_number >= (SELECT queue_head FROM qr_batch_variants WHERE batch_id = $1)
    ORDER BY sequence_number LIMIT 100
), filled AS (
    UPDATE qr_master_codes SET status = 'packed', actual_units = 100, completeness = 'inferred',
        first_sequence = (SELECT min(sequence_number) FROM run), last_sequence = (SELECT max(sequence_number) FROM run),
        first_code = (SELECT min(code) FROM run), last_code = (SELECT max(code) FROM run),
        packed_at = clock_timestamp(), packed_by = 'bare'
    WHERE master_code = $2 AND batch_id = $1 AND status = 'open' RETURNING id, case_number
), packed AS (
    UPDATE qr_codes SET status = 'packed', master_code_id = (SELECT id FROM filled)
    WHERE batch_id = $1 AND sequence_number = ANY(ARRAY(SELECT sequence_number FROM run))
      AND status IN ('generated', 'printed') RETURNING 1
), consumed AS (
    UPDATE qr_prepared_codes SET status = 'consumed', consumed_at = clock_timestamp()
    WHERE id = ANY(ARRAY(SELECT id FROM run)) AND status = 'prepared' RETURNING 1
), moved AS (
    UPDATE qr_batch_variants SET queue_head = (SELECT max(sequence_number) + 1 FROM run) WHERE batch_id = $1
), event AS (
    INSERT INTO trace_events (manufacturer_org_id, action, actor, batch_id, master_code_id, sequences, unit_count,
                              details)
    SELECT $3, 'case.packed', 'bare', $1, id,
           (SELECT range_agg(int4range(sequence_number, sequence_number, '[]')) FROM run), 100,
           jsonb_build_object('master_code', $2::text, 'case_number', case_number) FROM filled
)
SELECT (SELECT count(*) FROM packed) AS packed, (SELECT count(*) FROM consumed) AS consumed,
       (SELECT array_agg(code ORDER BY sequence_number) FROM run) AS codes
"""
# Every packed case holds one unbroken run of 100, and the queue, the codes and the cases tell the same number.
AUDIT = """
SELECT (SELECT count(*) FROM qr_codes WHERE batch_id = $1 AND status = 'packed') AS codes,
       (SELECT count(*) FROM qr_prepared_codes WHERE batch_id = $1 AND status = 'consumed') AS consumed,
       (SELECT sum(actual_units) FROM qr_master_codes WHERE batch_id = $1) AS units,
       (SELECT count(*) FROM (
            SELECT master_code_id FROM qr_codes WHERE batch_id = $1 AND status = 'packed' GROUP BY master_code_id
            HAVING count(*) <> 100 OR max(sequence_number) - min(sequence_number) <> 99) AS broken) AS broken
"""
WARM_UP, STATIONS = 30, 8


async def run(*, full: bool) -> Report:
    report = Report("link")
    alone, together = (500, 2000) if full else (200, 600)
    async with open_ground() as ground, serving(ground, with_worker=False) as server:
        await _one_station(ground, report, server, alone)
        await _stations(ground, report, server, together)
        report.publish(ground.machine)
    return report


async def _one_station(ground: Ground, report: Report, server: Server, calls: int) -> None:
    mine, theirs = [await seed_batch(ground.bare, ground.organisation, 100_000, prepared=True) for _ in range(2)]
    await tidy(ground.bare)
    await ground.settle()
    my_cases, their_cases = itertools.count(1), itertools.count(1)

    async def over_http() -> float:
        return await _link(client, mine, next(my_cases))

    async def bare() -> float:
        return await _bare_link(ground, ground.bare, theirs, next(their_cases))

    async with server.clients(1) as (client,):
        await alternate(WARM_UP, over_http, bare)
        ours, baseline = map(in_milliseconds, await alternate(calls, over_http, bare))
    report.at_most("one station over HTTP, p95", percentile(ours, 95), "ms", 15, ours)
    for at in (50, 95):
        report.cost_at_most(
            f"one station, p{at} beside bare asyncpg", "ms", ours=ours, baseline=baseline, limit=2.5, at=at
        )
    wrong = [await _audit(ground, batch, calls + WARM_UP) for batch in (mine, theirs)]
    assert wrong == [0, 0]


async def _stations(ground: Ground, report: Report, server: Server, calls: int) -> None:
    batch = await seed_batch(ground.bare, ground.organisation, calls * 100, prepared=True)
    await tidy(ground.bare)
    await ground.settle()
    cases = iter(range(1, calls + 1))
    began = time.perf_counter()
    async with server.clients(STATIONS) as clients, asyncio.TaskGroup() as group:
        stations = [group.create_task(_station(client, batch, cases)) for client in clients]
    elapsed = time.perf_counter() - began
    times = in_milliseconds([second for station in stations for second in station.result()])
    report.at_least(f"{STATIONS} stations on one batch", calls / elapsed, "links/s", 150)
    report.at_most(f"{STATIONS} stations on one batch, p95", percentile(times, 95), "ms", 100, times)
    wrong = await _audit(ground, batch, calls)
    report.at_most("codes lost, doubled or out of their run", wrong, "codes", 0)


async def _station(client: Client, batch: Seeded, cases: Iterator[int]) -> list[float]:
    return [await _link(client, batch, number) for number in cases]


async def _link(client: Client, batch: Seeded, case: int) -> float:
    order = {
        "batch_id": str(batch.batch_id),
        "order_id": str(batch.order_id),
        "master_code": batch.master_code(case),
        "target_units": 100,
    }
    began = time.perf_counter()
    answer = await client.post("/api/manufacturer/link-to-master-from-queue", order)
    elapsed = time.perf_counter() - began
    assert answer["linked_count"] == 100
    return elapsed


async def _bare_link(ground: Ground, connection: Connection, batch: Seeded, case: int) -> float:
    began = time.perf_counter()
    async with connection.transaction():
        role = ground.runtime.database.tenant_role
        await connection.execute(BIND, str(ground.organisation), f"batch {batch.batch_id}", role)
        done = await connection.fetchrow(BARE_LINK, batch.batch_id, batch.master_code(case), ground.organisation)
    elapsed = time.perf_counter() - began
    assert done is not None
    assert done["packed"] == done["consumed"] == 100
    return elapsed


async def _audit(ground: Ground, batch: Seeded, cases: int) -> int:
    """How many units are not where they should be."""
    found = await ground.bare.fetchrow(AUDIT, batch.batch_id)
    assert found is not None
    units = 100 * cases
    return sum(abs(int(found[name]) - units) for name in ("codes", "consumed", "units")) + 100 * int(found["broken"])
