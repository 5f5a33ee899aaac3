"""1,037 reporters at once, again and again: every run ends at 1037/1037 by itself, whatever happens to some of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

import asyncpg
import pytest

from fanout import FanOut, done, failed
from process import TENANT_ROLE
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.identity import Caller
from qrtrack.repositories.progress.sync_records import SyncRecordRepository
from qrtrack.services.recalculation import recalculate_progress

RECORDS = 1037
RUNS = 20
COMPLETED = ("completed", RECORDS, RECORDS - 21, 21, 100)

Report = Callable[[FanOut, int], Coroutine[Any, Any, None]]


class Undone(Exception):
    """A reporter whose transaction is rolled back."""


@pytest.fixture
async def nodes(database: Database, migrated_url: str) -> AsyncIterator[list[Database]]:
    """Four processes, each with connections of its own."""
    others = [Database.connect(migrated_url, pool_size=10, tenant_role=TENANT_ROLE) for _ in range(3)]
    yield [database, *others]
    for other in others:
        await other.close()


class Killer:
    """Ends sessions of others, as an administrator or a server that runs out of memory does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self.kills = 0

    async def kill(self, pid: int) -> None:
        """Returns when the session is gone."""
        async with self._lock:
            await self._connection.fetchval("SELECT pg_terminate_backend($1)", pid)
            while await self._connection.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def at_work(self, draw: random.Random) -> AsyncIterator[None]:
        """Kills sessions that are doing something, a tenth as many as there are records."""
        working = asyncio.create_task(self._work(draw))
        try:
            yield
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def _work(self, draw: random.Random) -> None:
        while self.kills < RECORDS // 10:
            rows = await self._connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            if rows:
                await self._connection.fetchval("SELECT pg_terminate_backend($1)", draw.choice(rows)["pid"])
                self.kills += 1
            await asyncio.sleep(draw.uniform(0, 0.03))


@pytest.fixture
async def killer(migrated_url: str) -> AsyncIterator[Killer]:
    connection = await asyncpg.connect(migrated_url.replace("+asyncpg", ""))
    yield Killer(connection)
    await connection.close()


async def plainly(reporter: FanOut, number: int) -> None:
    await reporter.report(outcome(number))


async def until_it_is_in(reporter: FanOut, number: int) -> None:
    """As the page says: no answer means to send it again."""
    while True:
        try:
            await reporter.report(outcome(number))
        except (DatabaseUnavailable, Undone):
            await asyncio.sleep(random.uniform(0, 0.05))
        else:
            return


def outcome(number: int) -> Any:
    return failed(number) if number % 50 == 0 else done(number)


async def run(
    nodes: list[Database],
    caller: Caller,
    report: Report,
    *,
    together: bool = False,
    disturbed: AbstractAsyncContextManager[object] | None = None,
) -> None:
    """One fan-out, all of its records reported at once, while somebody watches.

    Each is a transaction of its own, or those that meet in a process are counted `together`.
    """
    fan_out = await FanOut.announce(nodes[0], caller, RECORDS)
    shared = [fan_out.through(node) for node in nodes]
    async with disturbed or nullcontext(), asyncio.TaskGroup() as group:
        group.create_task(watch(fan_out))
        for number in random.sample(range(RECORDS), RECORDS):
            place = number % len(nodes)
            group.create_task(report(shared[place] if together else fan_out.through(nodes[place]), number))
    # What was killed in the pool would only be noticed when it is used. The session that was killed last may end later.
    await nodes[0].engine.dispose()
    with suppress(DatabaseUnavailable):
        await fan_out.counts()
    assert await fan_out.counts() == COMPLETED
    assert len(await fan_out.recorded()) == RECORDS
    summary = (await fan_out.view()).summary
    assert summary is not None
    assert (summary["success"], summary["failed"], len(summary["first_failures"])) == (RECORDS - 21, 21, 10)
    found = await recalculate_progress(nodes[0], silent_seconds=0)
    assert (found.checked, found.repaired) == (0, 0)


async def watch(fan_out: FanOut) -> None:
    """Progress never falls, adds up, and 100 is never shown before the end."""
    last = 0
    while last < RECORDS:
        with suppress(DatabaseUnavailable):
            status, processed, succeeded, failures, percentage = await fan_out.counts()
            assert processed >= last
            assert (processed, percentage) == (succeeded + failures, 100 * processed // RECORDS)
            assert (percentage == 100) == (status == "completed") == (processed == RECORDS)
            last = processed
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("together", [False, True])
async def test_all_reporters_at_once(nodes: list[Database], caller: Caller, number: int, *, together: bool) -> None:
    await run(nodes, caller, plainly, together=together)


@pytest.mark.parametrize("number", range(RUNS))
async def test_with_a_tenth_rolled_back_and_repeated(
    nodes: list[Database], caller: Caller, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some before they were counted, some after."""
    undone = stumbling(monkeypatch, number, stumble=roll_back)
    await run(nodes, caller, until_it_is_in)
    assert len(undone) == RECORDS // 10


@pytest.mark.parametrize("number", range(RUNS))
async def test_with_a_tenth_killed_and_repeated(
    nodes: list[Database], caller: Caller, number: int, monkeypatch: pytest.MonkeyPatch, killer: Killer
) -> None:
    """Their sessions are ended by the server, before they were counted or while they hold the batch's row."""

    async def kill(records: SyncRecordRepository) -> None:
        await killer.kill(records._connection.get_server_pid())

    killed = stumbling(monkeypatch, number, stumble=kill)
    await run(nodes, caller, until_it_is_in)
    assert len(killed) == RECORDS // 10


@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("together", [False, True])
async def test_with_sessions_killed_at_any_moment(
    nodes: list[Database], caller: Caller, number: int, killer: Killer, *, together: bool
) -> None:
    """Also while they commit: whether a report was counted, only its repetition tells."""
    disturbed = killer.at_work(random.Random(number))
    await run(nodes, caller, until_it_is_in, together=together, disturbed=disturbed)
    assert together or killer.kills > 5


def stumbling(
    monkeypatch: pytest.MonkeyPatch, seed: int, *, stumble: Callable[[SyncRecordRepository], Awaitable[None]]
) -> list[int]:
    """A tenth of the reports stumbles once, half of them before the count and half of them after it; which ones."""
    draw, calls, stumbled = random.Random(seed), iter(range(10 * RECORDS)), list[int]()
    chosen = set(draw.sample(range(RECORDS), RECORDS // 10))
    count = SyncRecordRepository.count

    async def counting(self: SyncRecordRepository, *arguments: Any) -> Any:
        number = next(calls)
        if number not in chosen:
            return await count(self, *arguments)
        stumbled.append(number)
        if number % 2:
            await count(self, *arguments)
        await stumble(self)
        return await count(self, *arguments)

    monkeypatch.setattr(SyncRecordRepository, "count", counting)
    return stumbled


async def roll_back(_records: SyncRecordRepository) -> None:
    raise Undone
