"""Callers who hang up at any moment, once or more, while a few connections serve all of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from faults.processes import until
from plant import MadeBatch, Plant
from process import TENANT_ROLE
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.packing.case_packing import CaseAlreadyPacked, PackCase
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile, PackedCase, pack_case
from qrtrack.services.packing.links import unlink_codes

CONNECTIONS = 3
STATIONS = 8
UNITS = 10
CASES = 250

STATE = (
    "SELECT current_user = session_user, COALESCE(current_setting('qrtrack.org', true), ''),"
    " current_setting('lock_timeout'), current_setting('enable_seqscan'), current_setting('plan_cache_mode'),"
    " current_setting('transaction_read_only')"
)
AS_NEW = (True, "", "0", "on", "force_custom_plan", "off")
LEFT = (
    "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + (SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in %') AS left_over"
)


@pytest.fixture
async def few(migrated_url: str) -> AsyncIterator[Database]:
    database = Database.connect(migrated_url, pool_size=CONNECTIONS, tenant_role=TENANT_ROLE)
    yield database
    await database.close()


async def hung_up(random: Random, work: Coroutine[Any, Any, Any]) -> Any:
    """Its result, if it came to that."""
    task = asyncio.create_task(work)
    await asyncio.sleep(random.random() * random.choice([0.002, 0.02]))
    for _ in range(random.choice([1, 1, 2, 3])):
        task.cancel()
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        return await task


async def assert_as_new(few: Database, plant: Plant) -> None:
    """No connection of the pool holds or does what a request before has asked it for."""

    async def nothing_is_left() -> bool:
        # A connection that has left the pool in the middle of a statement is over a moment later.
        (found,) = await plant.sql(LEFT)
        return bool(found.left_over == 0)

    await until(nothing_is_left)
    assert few.pool_use()["main"]["in_use"] == 0
    async with AsyncExitStack() as open_connections:
        for _ in range(CONNECTIONS):
            connection = await open_connections.enter_async_context(few.unbegun.connect())
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            assert not driver.is_in_transaction()
            assert tuple(await driver.fetchrow(STATE)) == AS_NEW


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_caller_who_hangs_up_leaves_nothing_on_a_connection(plant: Plant, few: Database, seed: int) -> None:
    random, batch = Random(seed), await plant.prepared(CASES * UNITS, units_per_case=UNITS)
    tenant, cases = plant.caller.organisation_id, iter(batch.master_codes)

    async def pack() -> None:
        await packed(few, plant, batch, next(cases))

    async def read() -> None:
        async with few.read(tenant=tenant) as repositories:
            await repositories.batches.get(batch.batch_id)

    async def write() -> None:
        async with few.write(tenant=tenant, by_keys=True, busy_row=batch.batch_id) as repositories:
            await repositories.lock_batch(batch.order_id)
            await repositories.batches.get(batch.batch_id)

    async def write_at_once() -> None:
        async with few.write(tenant=tenant) as repositories:
            driver = repositories._connection
            with suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as both:
                    both.create_task(driver.execute("SELECT pg_sleep(0.01)"))
                    both.create_task(driver.execute("SELECT 1"))

    async def call() -> None:
        for _ in range(25):
            # Two statements at once are a defect, which the connection survives no less.
            with suppress(RuntimeError):
                work = random.choice([pack, pack, read, write, write_at_once])()
                await (hung_up(random, work) if random.random() < 0.7 else work)

    await asyncio.gather(*(call() for _ in range(STATIONS)))
    await assert_as_new(few, plant)
    assert not (await plant.reconcile(batch)).differences


async def packed(
    database: Database, plant: Plant, batch: MadeBatch, master_code: str, station: str | None = None
) -> PackedCase:
    request = PackCase(batch.batch_id, batch.order_id, master_code, station=station)
    return await pack_case(database, caller=plant.caller, request=request)


class Line:
    """Eight stations on one batch, and all that happens beside them."""

    def __init__(self, few: Database, plant: Plant, batch: MadeBatch, random: Random) -> None:
        self.few, self.plant, self.batch, self.random = few, plant, batch, random
        self.answers: dict[str, PackedCase] = {}
        self.emptied: set[str] = set()
        self.is_over = False

    async def beside(self, happens: Callable[[], Awaitable[None]], seconds: float) -> None:
        while not self.is_over:
            await asyncio.sleep(seconds)
            # It is killed, too.
            with suppress(DBAPIError):
                await happens()

    async def pack(self, cases: Iterator[str], station: str) -> None:
        for case in cases:
            done = False
            while not done:
                done = await self._try(case, station)

    async def _try(self, case: str, station: str) -> bool:
        work = packed(self.few, self.plant, self.batch, case, station)
        try:
            answer = await (hung_up(self.random, work) if self.random.random() < 0.3 else work)
        except CaseAlreadyPacked:
            return True
        except (DatabaseUnavailable, CodeTakenMeanwhile):
            return False
        if answer is not None:
            self.answers[case] = answer
        return answer is not None

    async def scan(self) -> None:
        """A consumer, who takes a unit that is about to be packed."""
        await self.plant.sql(
            "UPDATE qr_codes SET status = 'scanned' WHERE status = 'generated' AND sequence_number = ("
            "SELECT min(sequence_number) + CAST(:further AS int) FROM qr_prepared_codes WHERE status = 'prepared')",
            further=self.random.randrange(5 * UNITS),
        )

    async def unlink(self) -> None:
        if self.answers:
            case = self.random.choice(list(self.answers))
            self.emptied.add(case)
            undone = unlink_codes(self.few, caller=self.plant.caller, codes=None, master_code=case, reason="Dropped")
            with suppress(InvalidState, DatabaseUnavailable):
                await hung_up(self.random, undone)

    async def kill(self) -> None:
        await self.plant.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid() LIMIT 1"
        )


async def test_eight_stations_lose_and_double_nothing_whatever_happens_beside_them(plant: Plant, few: Database) -> None:
    batch = await plant.prepared((CASES + 50) * UNITS, units_per_case=UNITS)
    line = Line(few, plant, batch, Random(3))
    cases = iter(batch.master_codes[:CASES])
    async with asyncio.TaskGroup() as beside:
        for happens, seconds in [(line.scan, 0.01), (line.unlink, 0.05), (line.kill, 0.1)]:
            beside.create_task(line.beside(happens, seconds))
        await asyncio.gather(*(line.pack(cases, f"Station {number}") for number in range(STATIONS)))
        line.is_over = True
    await assert_as_new(few, plant)
    assert not (await plant.reconcile(batch)).differences
    await assert_each_in_its_case(line, plant)


async def assert_each_in_its_case(line: Line, plant: Plant) -> None:
    """What was answered is in the case, and no two cases of those that were not emptied lie in each other."""
    rows = await plant.sql(
        "SELECT master_code, array_agg(code.sequence_number ORDER BY code.sequence_number) AS numbers,"
        " array_agg(code.code ORDER BY code.sequence_number) AS codes,"
        " (SELECT count(*) FROM trace_events WHERE master_code_id = box.id AND action = 'case.packed') AS packings"
        " FROM qr_master_codes AS box JOIN qr_codes AS code ON code.master_code_id = box.id"
        " GROUP BY box.id ORDER BY min(code.sequence_number)"
    )
    kept = [row for row in rows if row.master_code not in line.emptied]
    assert {row.master_code for row in kept} == set(line.batch.master_codes[:CASES]) - line.emptied
    assert {(len(row.numbers), row.packings) for row in kept} == {(UNITS, 1)}
    for row in kept:
        answer = line.answers.get(row.master_code)
        assert answer is None or list(answer.linked_codes) == row.codes
    for row, following in pairwise(kept):
        assert row.numbers[-1] < following.numbers[0]
