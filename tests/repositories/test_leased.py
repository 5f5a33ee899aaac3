import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from plant import Plant, ended_and_queued_jobs, explained_claim, nodes_of, pages_of
from process import TENANT_ROLE
from qrtrack.database import Database
from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.repositories.leased import LeasedRepository, Queue
from qrtrack.repositories.queues import CREATING, HASHING, QUEUES, REVERSE_JOBS, WAKE_UP_CHANNEL
from qrtrack.services.claims import claim_work, keep_claim, release_claim
from qrtrack.settings import Settings

STAGES = "qr_batch_stages"


async def claim(database: Database, slots: int = 1, *, lease_seconds: float = 30) -> list[Claim]:
    return await claim_work(database, CREATING, slots, lease_seconds=lease_seconds)


async def finish(database: Database, held: Claim) -> None:
    async with database.write() as repositories:
        await repositories.leased(CREATING).finish(held)


async def fail(database: Database, held: Claim, *, permanent: bool = False) -> float | None:
    async with database.write() as repositories:
        return await repositories.leased(CREATING).fail(held, "no paper", permanent=permanent)


async def note(database: Database, held: Claim) -> None:
    async with database.write() as repositories:
        await repositories.leased(CREATING)._update(held, "error_message = 'half-way'")


async def beat(database: Database, held: Claim) -> None:
    await keep_claim(database, CREATING, held, lease_seconds=30)


async def release(database: Database, held: Claim) -> None:
    await release_claim(database, CREATING, held)


async def fail_for_good(database: Database, held: Claim) -> None:
    await fail(database, held, permanent=True)


LATE_WRITES: list[Callable[[Database, Claim], Awaitable[object]]] = [finish, fail, fail_for_good, note, beat, release]


async def test_eight_claimers_at_once_take_every_row_exactly_once(plant: Plant, database: Database) -> None:
    ids = await plant.queued(2_000)

    async def take() -> list[int]:
        taken: list[int] = []
        while claims := await claim(database, 9):
            taken += [held.number for held in claims]
        return taken

    taken = [row for part in await asyncio.gather(*(take() for _ in range(8))) for row in part]
    assert sorted(taken) == ids


@pytest.fixture
async def fifty_connections(settings: Settings) -> AsyncIterator[Database]:
    assert settings.database_url is not None
    database = Database.connect(settings.database_url, pool_size=50, tenant_role=TENANT_ROLE)
    yield database
    await database.close()


async def test_fifty_claimers_of_the_same_rows_all_get_work(plant: Plant, fifty_connections: Database) -> None:
    ids = [await plant.queued(organisation_id=uuid4()) for _ in range(50)]
    taken: list[Claim] = []
    async with AsyncExitStack() as claiming:
        # None of them has committed yet when the last one claims.
        for _ in range(50):
            repositories = await claiming.enter_async_context(fifty_connections.write())
            taken += await repositories.leased(CREATING).claim(1, lease_seconds=30)
    assert sorted(held.number for held in taken) == sorted(row for (row,) in ids)


async def test_fifty_claimers_at_once_get_one_of_fifty_rows_each(plant: Plant, fifty_connections: Database) -> None:
    ids = [row for _ in range(5) for row in await plant.queued(10, organisation_id=uuid4())]
    for _ in range(3):
        claims = await asyncio.gather(*(claim(fifty_connections) for _ in range(50)))
        assert [len(held) for held in claims] == [1] * 50
        assert sorted(held.number for (held,) in claims) == ids
        assert await claim(fifty_connections) == []
        await asyncio.gather(*(release(fifty_connections, held) for (held,) in claims))


async def test_a_claim_sets_token_lease_and_attempt_and_each_has_a_token_of_its_own(
    plant: Plant, database: Database
) -> None:
    await plant.queued(3)
    first, with_it = await claim(database, 2)
    [second] = await claim(database, 2)
    row = await plant.row(STAGES, first.id)
    assert (row.status, row.attempts, row.lease_token) == ("running", 1, first.token)
    assert len({first.token, with_it.token, second.token}) == 3
    assert row.started_at is not None
    assert row.finished_at is None
    assert (first.organisation_id, first.attempts, first.exhausted) == (plant.caller.organisation_id, 1, False)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_the_clock_of_the_database_decides_about_leases(plant: Plant, database: Database, skew: int) -> None:
    [row_id] = await plant.queued(1)
    now = time.time
    with patch("time.time", lambda: now() + skew):
        [held] = await claim(database, lease_seconds=20)
        await keep_claim(database, CREATING, held, lease_seconds=20)
        assert await claim(database) == []
    [row] = await plant.sql(
        "SELECT lease_expires_at - clock_timestamp() AS left FROM qr_batch_stages WHERE id = :id", id=row_id
    )
    assert timedelta(seconds=15) < row.left <= timedelta(seconds=20)


@pytest.mark.parametrize("write", LATE_WRITES, ids=lambda write: write.__name__)
async def test_a_worker_with_a_lost_lease_changes_nothing(
    plant: Plant, database: Database, write: Callable[[Database, Claim], Awaitable[object]]
) -> None:
    [row_id] = await plant.queued(1)
    [late] = await claim(database)
    await plant.expire(STAGES)
    [held] = await claim(database)
    before = await plant.row(STAGES, row_id)
    with pytest.raises(LeaseLost):
        await write(database, late)
    assert await plant.row(STAGES, row_id) == before
    await finish(database, held)


@pytest.mark.parametrize("write", LATE_WRITES, ids=lambda write: write.__name__)
async def test_ended_work_refuses_further_writes(
    plant: Plant, database: Database, write: Callable[[Database, Claim], Awaitable[object]]
) -> None:
    [row_id] = await plant.queued(1)
    [held] = await claim(database)
    await finish(database, held)
    before = await plant.row(STAGES, row_id)
    with pytest.raises(LeaseLost):
        await write(database, held)
    assert await plant.row(STAGES, row_id) == before


async def test_an_expired_lease_holds_until_another_worker_claims_the_row(plant: Plant, database: Database) -> None:
    await plant.queued(1)
    [held] = await claim(database)
    await plant.expire(STAGES)
    await beat(database, held)
    assert await claim(database) == []
    await finish(database, held)


async def test_an_expired_lease_is_claimed_by_the_same_statement_and_counts_the_attempt(
    plant: Plant, database: Database
) -> None:
    [row_id] = await plant.queued(1)
    [late] = await claim(database)
    assert await claim(database) == []
    await plant.expire(STAGES)
    [held] = await claim(database)
    assert (held.id, held.attempts, held.exhausted) == (row_id, 2, False)
    assert held.token != late.token


async def test_only_one_of_many_claimers_gets_an_expired_lease(plant: Plant, database: Database) -> None:
    await plant.queued(1)
    await claim(database)
    await plant.expire(STAGES)
    taken = await asyncio.gather(*(claim(database) for _ in range(8)))
    assert sum(map(len, taken)) == 1


async def test_the_last_attempt_is_counted_exactly_and_the_claim_after_it_is_exhausted(
    plant: Plant, database: Database
) -> None:
    [row_id] = await plant.queued(1)
    held = (await claim(database))[0]
    seen = [(held.attempts, held.exhausted)]
    for _ in range(CREATING.max_attempts):
        await plant.expire(STAGES)
        held = (await claim(database))[0]
        seen.append((held.attempts, held.exhausted))
    assert seen == [(1, False), (2, False), (3, False), (4, False), (4, True)]
    assert await fail(database, held) is None
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.error_message) == ("failed", 4, "no paper")


async def test_a_release_does_not_count_the_attempt_and_the_row_is_due_at_once(
    plant: Plant, database: Database
) -> None:
    [row_id] = await plant.queued(1)
    for _ in range(CREATING.max_attempts + 2):
        [held] = await claim(database)
        assert (held.attempts, held.exhausted) == (1, False)
        await release(database, held)
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.lease_token, row.finished_at) == ("queued", 0, None, None)


async def test_a_failed_attempt_waits_a_growing_jittered_time(plant: Plant, database: Database) -> None:
    await plant.queued(60)
    for attempt, delay in enumerate(CREATING.backoff_seconds, 1):
        claims = await claim(database, 60)
        assert {held.attempts for held in claims} == {attempt}
        told = [await fail(database, held) or 0 for held in claims]
        # `updated_at` is when the transaction began, so that its duration is in the wait.
        rows = await plant.sql("SELECT EXTRACT(EPOCH FROM run_at - updated_at) AS wait FROM qr_batch_stages")
        waits = [float(row.wait) for row in rows]
        assert min(told) <= min(waits)
        assert max(told) <= delay * 1.25
        assert delay * 0.75 <= min(waits) < delay
        assert max(waits) - min(waits) > delay * 0.35
        await plant.sql("UPDATE qr_batch_stages SET run_at = now()")
    claims = await claim(database, 60)
    assert await fail(database, claims[0]) is None


async def test_work_is_not_due_during_its_back_off(plant: Plant, database: Database) -> None:
    [row_id] = await plant.queued(1)
    await plant.sql("UPDATE qr_batch_stages SET run_at = now() + interval '1 hour'")
    assert await claim(database) == []
    await plant.sql("UPDATE qr_batch_stages SET run_at = now()")
    assert [held.id for held in await claim(database)] == [row_id]


async def test_cancelled_work_has_ended_and_its_worker_loses_the_lease(plant: Plant, database: Database) -> None:
    job_id = await plant.submit(await plant.batch(3))
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    async with database.write() as repositories:
        await repositories.leased(REVERSE_JOBS).cancel(job_id)
    row = await plant.row("qr_reverse_jobs", job_id)
    assert (row.status, row.lease_token, row.lease_expires_at) == ("cancelled", None, None)
    assert row.finished_at is not None
    with pytest.raises(LeaseLost):
        await keep_claim(database, REVERSE_JOBS, held, lease_seconds=30)
    assert await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30) == []


async def test_requeued_work_is_due_at_once_with_all_attempts(plant: Plant, database: Database) -> None:
    job_id = await plant.submit(await plant.batch(3))
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    async with database.write() as repositories:
        await repositories.leased(REVERSE_JOBS).fail(held, "no paper", permanent=True)
    async with database.write() as repositories:
        await repositories.leased(REVERSE_JOBS).requeue(job_id)
    row = await plant.row("qr_reverse_jobs", job_id)
    assert (row.status, row.attempts, row.error_message, row.finished_at) == ("queued", 0, None, None)
    [again] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    assert (again.id, again.attempts) == (job_id, 1)


async def test_a_permanent_failure_is_not_retried(plant: Plant, database: Database) -> None:
    [row_id] = await plant.queued(1)
    [held] = await claim(database)
    assert await fail(database, held, permanent=True) is None
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.lease_token) == ("failed", 1, None)
    assert row.finished_at is not None
    assert await claim(database) == []


async def test_one_job_waits_for_one_of_another_organisations_thousand(plant: Plant, database: Database) -> None:
    crowd = set(await plant.queued(1_000))
    assert [held.id in crowd for held in await claim(database)] == [True]
    [lone] = await plant.queued(1, organisation_id=uuid4())
    assert [held.id for held in await claim(database)] == [lone]
    assert [held.id in crowd for held in await claim(database)] == [True]


async def test_organisations_are_served_round_robin_starting_with_the_one_served_longest_ago(
    plant: Plant, database: Database
) -> None:
    organisations = [uuid4() for _ in range(3)]
    for organisation_id in organisations:
        await plant.queued(5, organisation_id=organisation_id)
    rounds = [[(await claim(database))[0].organisation_id for _ in range(3)] for _ in range(3)]
    assert all(set(served) == set(organisations) for served in rounds)
    assert rounds[0] == rounds[1] == rounds[2]
    several = [held.organisation_id for held in await claim(database, 5)]
    assert {organisation_id: several.count(organisation_id) for organisation_id in organisations} == {
        rounds[0][0]: 2,
        rounds[0][1]: 2,
        rounds[0][2]: 1,
    }


async def test_a_high_priority_does_not_delay_another_organisation(plant: Plant, database: Database) -> None:
    urgent, calm = uuid4(), uuid4()
    await plant.queued(10, organisation_id=urgent, priority=9)
    await plant.queued(10, organisation_id=calm)
    assert {held.organisation_id for held in await claim(database, 2)} == {urgent, calm}


async def test_priority_then_age_decide_inside_an_organisation(plant: Plant, database: Database) -> None:
    old = await plant.queued(2)
    await plant.sql("UPDATE qr_batch_stages SET run_at = run_at - interval '1 minute' WHERE id = :id", id=old[1])
    urgent = await plant.queued(1, priority=9)
    middle = await plant.queued(1, priority=5)
    order = [(await claim(database))[0].id for _ in range(4)]
    assert order == [*urgent, *middle, old[1], old[0]]


async def test_a_lone_organisation_gets_every_slot(plant: Plant, database: Database) -> None:
    ids = await plant.queued(20)
    assert sorted(held.number for held in await claim(database, 16)) == ids[:16]


async def test_the_kinds_of_one_table_do_not_take_each_others_rows(plant: Plant, database: Database) -> None:
    ids = await plant.queued(2)
    await plant.sql("UPDATE qr_batch_stages SET stage = 'hashing' WHERE id = :id", id=ids[1])
    assert [held.id for held in await claim_work(database, HASHING, 9, lease_seconds=30)] == [ids[1]]
    assert [held.id for held in await claim(database, 9)] == [ids[0]]


async def test_claimers_of_many_organisations_at_once_never_deadlock(plant: Plant, database: Database) -> None:
    for _ in range(12):
        await plant.queued(40, organisation_id=uuid4())
    [before] = await plant.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def take() -> int:
        taken = 0
        while claims := await claim(database, 5):
            taken += len(claims)
            for held in claims:
                await finish(database, held)
        return taken

    assert sum(await asyncio.gather(*(take() for _ in range(8)))) == 480
    await plant.sql("SELECT pg_stat_force_next_flush()")
    [after] = await plant.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after.deadlocks == before.deadlocks


async def test_work_queued_in_a_rolled_back_transaction_does_not_exist(plant: Plant, database: Database) -> None:
    [row_id] = await plant.queued(1)
    batch_id = (await plant.row(STAGES, row_id)).batch_id

    async def queue_and_give_up() -> None:
        async with database.write() as repositories:
            await repositories.code_creation.queue_chunks(
                batch_id, plant.caller.organisation_id, "hashing", quantity=50, chunk_size=10
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await queue_and_give_up()
    assert await claim_work(database, HASHING, 9, lease_seconds=30) == []


async def test_an_uncommitted_claim_leaves_the_row_queued(plant: Plant, database: Database) -> None:
    [row_id] = await plant.queued(1)
    before = await plant.row(STAGES, row_id)

    async def claim_and_give_up() -> None:
        async with database.write() as repositories:
            assert len(await repositories.leased(CREATING).claim(1, lease_seconds=30)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await claim_and_give_up()
    after = await plant.row(STAGES, row_id)
    assert (after.status, after.attempts, after.ctid) == (before.status, 0, before.ctid)


async def test_a_heartbeat_is_a_hot_update(plant: Plant, database: Database) -> None:
    await plant.queued(100)
    claims = await claim(database, 20)
    # What this connection has not told the statistics yet: of other connections, they hear at any time.
    count = "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_xact_user_tables WHERE relname = :table"
    updates = hot = 0
    async with database.engine.connect() as connection:
        session: Any = connection

        async def counters() -> Any:
            return (await connection.execute(text(count), {"table": STAGES})).one()

        for _ in range(25):
            for held in claims:
                before = await counters()
                await LeasedRepository(session, CREATING).renew(held, lease_seconds=30)
                after = await counters()
                await connection.commit()
                updates += after.updates - before.updates
                hot += after.hot - before.hot
    assert updates == 500
    assert hot / 500 >= 0.95


async def test_no_index_has_a_column_that_heartbeats_or_progress_update(plant: Plant) -> None:
    rows = await plant.sql("SELECT indexdef FROM pg_indexes WHERE tablename IN ('qr_batch_stages', 'qr_reverse_jobs')")
    moved = ("lease", "updated_at", "progress", "next_sequence", "prepared_count", "remaining", "attempts")
    assert rows
    assert not [row.indexdef for row in rows if any(word in row.indexdef for word in moved)]


async def test_a_claim_reads_live_rows_only(plant: Plant, database: Database) -> None:
    await ended_and_queued_jobs(database, ended=50_000)
    plan = await explained_claim(database)
    scans = [node for node in nodes_of(plan["Plan"]) if node.get("Relation Name") == "qr_reverse_jobs"]
    indexes = {node["Index Name"] for node in scans if "Index Name" in node}
    assert indexes == {"ix_qr_reverse_jobs_claim", "pk_qr_reverse_jobs"}
    assert "Seq Scan" not in {node["Node Type"] for node in scans}
    assert pages_of(plan) < 2_000


IMPOSSIBLE_STAGES = {
    "terminal without an end": "status = 'completed'",
    "an end without being terminal": "finished_at = now()",
    "running without a lease": "status = 'running'",
    "running with half a lease": "status = 'running', lease_token = gen_random_uuid()",
    "a lease without running": "lease_token = gen_random_uuid(), lease_expires_at = now()",
    "terminal and leased": (
        "status = 'failed', finished_at = now(), lease_token = gen_random_uuid(), lease_expires_at = now()"
    ),
    "a state nobody knows": "status = 'paused'",
    "a stage nobody knows": "stage = 'printing'",
    "fewer attempts than none": "attempts = -1",
    "a priority beyond nine": "priority = 10",
    "a chunk that ends before it begins": "last_sequence = 0",
}


@pytest.mark.parametrize("assignments", IMPOSSIBLE_STAGES.values(), ids=IMPOSSIBLE_STAGES.keys())
async def test_the_database_refuses_an_impossible_chunk(plant: Plant, assignments: str) -> None:
    await plant.queued(1)
    with pytest.raises(IntegrityError, match="check constraint"):
        await plant.sql(f"UPDATE qr_batch_stages SET {assignments}")


IMPOSSIBLE_JOBS = {
    "progress over 100": "progress = 101",
    "progress below 0": "progress = -1",
    "100 before it is completed": "progress = 100",
    "completed below 100": "status = 'completed', finished_at = now(), result_summary = '{}', progress = 99",
    "completed without a result": "status = 'completed', finished_at = now(), progress = 100",
    "a result before it is completed": "result_summary = '{}'",
    "cancelled without an end": "status = 'cancelled'",
    "running without a lease": "status = 'running'",
    "a state nobody knows": "status = 'processing'",
}


@pytest.mark.parametrize("assignments", IMPOSSIBLE_JOBS.values(), ids=IMPOSSIBLE_JOBS.keys())
async def test_the_database_refuses_an_impossible_job(plant: Plant, assignments: str) -> None:
    await plant.submit(await plant.batch(1))
    with pytest.raises(IntegrityError, match="check constraint"):
        await plant.sql(f"UPDATE qr_reverse_jobs SET {assignments}")


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.kind)
async def test_the_database_limits_attempts_as_the_queue_does(plant: Plant, queue: Queue) -> None:
    (found,) = await plant.sql(
        "SELECT pg_get_constraintdef(oid) AS condition FROM pg_constraint WHERE conname = :name",
        name=f"ck_{queue.table}_attempts",
    )
    assert found.condition == f"CHECK (((attempts >= 0) AND (attempts <= {queue.max_attempts})))"


async def test_the_database_refuses_a_code_prepared_twice(plant: Plant) -> None:
    await plant.prepared(1)
    again = (
        "INSERT INTO qr_prepared_codes"
        " (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code, status, consumed_at)"
        " SELECT job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code, {}, {}"
        " FROM qr_prepared_codes LIMIT 1"
    )
    with pytest.raises(IntegrityError, match="uq_qr_prepared_codes_prepared"):
        await plant.sql(again.format("'prepared'", "NULL::timestamptz"))
    await plant.sql(again.format("'consumed'", "now()"))
    with pytest.raises(IntegrityError, match="consumed"):
        await plant.sql(again.format("'consumed'", "NULL::timestamptz"))


async def test_only_an_enqueue_wakes_workers(plant: Plant, database: Database) -> None:
    wake_ups: list[object] = []
    listener = await database.connector.connect()
    try:
        await listener.add_listener(WAKE_UP_CHANNEL, lambda *heard: wake_ups.append(heard[-1]))

        async def heard() -> list[object]:
            # What was sent before this statement arrives before its answer.
            await listener.execute("SELECT 1")
            found = wake_ups.copy()
            wake_ups.clear()
            return found

        batch = await plant.order(30)
        assert await heard() == ["creating"]
        await plant.work("creating")
        assert await heard() == ["hashing"]
        [held] = await claim_work(database, HASHING, 1, lease_seconds=30)
        await keep_claim(database, HASHING, held, lease_seconds=30)
        assert await heard() == []
        await release_claim(database, HASHING, held)
        assert await heard() == ["hashing"]
        await plant.work("hashing")
        assert await heard() == []
        made = await plant.batch(30)
        await heard()
        await plant.submit(made)
        assert await heard() == ["reverse_job"]
        await plant.work("reverse_job")
        assert await heard() == []
        assert batch.batch_id != made.batch_id
    finally:
        await listener.close()
