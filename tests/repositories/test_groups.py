"""Groups: each piece in one of them, whoever comes late changes nothing, and a lease that ran out is noticed once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from accurate import DATABASE, Accurate, event
from plant import nodes_of
from process import settings_of
from qrtrack.database import Database
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Group, LeaseLost
from qrtrack.repositories import groups
from qrtrack.repositories.groups import LEAST_OF_EACH, GroupRepository
from qrtrack.repositories.queues import WEBHOOK_EVENTS
from qrtrack.services.claims import break_up_group, claim_group, release_group
from qrtrack.settings import Settings
from ticking import HANG_SECONDS

OTHER_DATABASE = 77
OTHER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")


@pytest.fixture
def settings(migrated_url: str, tmp_path: Any, caller: Any) -> Settings:
    databases = f"{DATABASE}={caller.organisation_id},{OTHER_DATABASE}={OTHER}"
    return settings_of(migrated_url, tmp_path, accurate_databases=databases)


async def claim(database: Database, size: int = 1000) -> Group[ClaimedEvent] | None:
    return await claim_group(database, WEBHOOK_EVENTS, size, lease_seconds=30)


async def finish(database: Database, group: Group[ClaimedEvent], ids: list[int] | None = None) -> set[int]:
    ended = ids_of(group) if ids is None else ids
    async with database.write() as repositories:
        return await repositories.groups(WEBHOOK_EVENTS).finish(
            group, ended, ["done"] * len(ended), [None] * len(ended)
        )


async def release(database: Database, group: Group[ClaimedEvent]) -> None:
    await release_group(database, WEBHOOK_EVENTS, group)


async def break_up(database: Database, group: Group[ClaimedEvent]) -> None:
    await break_up_group(database, WEBHOOK_EVENTS, group)


@asynccontextmanager
async def constrained(accurate: Accurate, condition: str) -> AsyncIterator[None]:
    """Groups that the table takes must satisfy this."""
    await accurate.sql(f"ALTER TABLE leased_groups ADD CONSTRAINT as_told CHECK ({condition}) NOT VALID")
    try:
        yield
    finally:
        await accurate.sql("ALTER TABLE leased_groups DROP CONSTRAINT as_told")


def ids_of(group: Group[ClaimedEvent] | None) -> list[int]:
    return [] if group is None else [piece.id for piece in group.pieces]


async def test_concurrent_claimers_claim_every_piece_exactly_once(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(200)))
    groups = await asyncio.gather(*(claim(database, 7) for _ in range(40)))
    taken = [ids_of(group) for group in groups]
    # Nobody goes away with less than there was for him.
    assert sorted(map(len, taken)) == [0] * 11 + [4] + [7] * 28
    assert sorted(id_ for ids in taken for id_ in ids) == [row.id for row in await accurate.rows()]


async def test_a_claim_does_not_update_pieces(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(3)))
    before = await accurate.sql("SELECT ctid, xmin, xmax FROM webhook_queue ORDER BY id")
    group = await accurate.group()
    await release(database, group)
    assert await accurate.sql("SELECT ctid, xmin, xmax FROM webhook_queue ORDER BY id") == before
    assert ids_of(await claim(database)) == ids_of(group)


async def test_a_claim_does_not_wait_for_the_disk_and_leaves_other_commits_as_they_were(
    accurate: Accurate, database: Database
) -> None:
    await accurate.send(event())
    async with (
        database._driver(apart=False) as connection,
        constrained(accurate, "current_setting('synchronous_commit') = 'off'"),
    ):
        await connection.execute("SET synchronous_commit = on")
        token, groups = uuid4(), GroupRepository(connection, WEBHOOK_EVENTS)
        assert await groups.claim(token, 1, lease_seconds=30) == 0
        assert await groups.claimed(token) is not None
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        await connection.execute("RESET synchronous_commit")


async def test_a_queue_whose_columns_are_not_the_fields_of_its_piece_is_refused(
    accurate: Accurate, database: Database
) -> None:
    await accurate.send(event())
    with pytest.raises(TypeError, match="ClaimedEvent has the fields"):
        await claim_group(database, replace(WEBHOOK_EVENTS, columns="job.id, job.type"), 1, lease_seconds=30)


async def test_organisations_take_turns_inside_of_a_group(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(50)), *(event(databaseId=OTHER_DATABASE) for _ in range(2)))
    group = await accurate.group(6)
    assert sum(piece.manufacturer_org_id == OTHER for piece in group.pieces) == 2


async def test_the_organisation_served_longest_ago_comes_first(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(3)), *(event(databaseId=OTHER_DATABASE) for _ in range(3)))
    owners = [(await accurate.group(1)).pieces[0].manufacturer_org_id for _ in range(6)]
    assert owners[0] != owners[1]
    assert owners == owners[:2] * 3


async def test_a_claim_looks_at_the_first_few_events_of_each_organisation(
    accurate: Accurate, database: Database
) -> None:
    await accurate.sql(
        "INSERT INTO webhook_queue (manufacturer_org_id, type, payload) SELECT CAST(lpad(CAST(organisation AS text),"
        " 32, '0') AS uuid), 'ITEM', '{}' FROM generate_series(1, 60) AS organisation, generate_series(1, 50)"
    )
    *_, statement = GroupRepository(Mock(), WEBHOOK_EVENTS)._claim(uuid4(), 60, 30).split(";")
    [[plan]] = await accurate.sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
    [looked_at] = [node["Actual Rows"] for node in nodes_of(plan[0]["Plan"]) if node["Node Type"] == "WindowAgg"]
    assert looked_at == 60 * LEAST_OF_EACH
    await accurate.sql("DELETE FROM leased_groups")
    group = await accurate.group(60)
    assert len({piece.manufacturer_org_id for piece in group.pieces}) == len(group.pieces) == 60


async def test_pieces_that_are_not_due_are_not_claimed(accurate: Accurate, database: Database) -> None:
    await accurate.send(event())
    await accurate.sql("UPDATE webhook_queue SET run_at = now() + interval '1 hour'")
    assert await claim(database) is None


async def test_an_end_is_written_with_its_attempt_and_its_beginning(accurate: Accurate, database: Database) -> None:
    await accurate.send(event(), event())
    group = await accurate.group()
    assert await finish(database, group) == set(ids_of(group))
    for row in await accurate.rows():
        assert (row.status, row.attempts, row.lease_token, row.error) == ("done", 1, None, None)
        assert row.created_at <= row.started_at <= row.finished_at
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_pieces_left_out_of_an_end_are_free_again(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(3)))
    group = await accurate.group()
    first, *others = ids_of(group)
    await finish(database, group, [first])
    assert await accurate.tries() == [("done", 1), ("pending", 0), ("pending", 0)]
    assert ids_of(await claim(database)) == others


@pytest.mark.parametrize("end", [finish, release, break_up])
async def test_a_worker_that_lost_its_group_changes_nothing(accurate: Accurate, database: Database, end: Any) -> None:
    await accurate.send(event(), event())
    late = await accurate.group()
    await accurate.expire_groups()
    assert await claim(database) is None
    await accurate.sql("UPDATE webhook_queue SET attempts = 0")
    held = await accurate.group()
    before = await accurate.sql("SELECT webhook_queue.*, ctid FROM webhook_queue ORDER BY id")
    if end is release:
        await release(database, late)
    else:
        with pytest.raises(LeaseLost, match="webhook_event"):
            await end(database, late)
    assert await accurate.sql("SELECT webhook_queue.*, ctid FROM webhook_queue ORDER BY id") == before
    assert await finish(database, held) == set(ids_of(held))


async def test_an_expired_lease_of_a_group_holds_until_a_claimer_notices(
    accurate: Accurate, database: Database
) -> None:
    await accurate.send(event())
    group = await accurate.group()
    await accurate.expire_groups()
    assert await finish(database, group) == set(ids_of(group))


async def test_one_of_many_claimers_breaks_up_an_expired_group(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(5)))
    await accurate.group()
    await accurate.expire_groups()
    assert await asyncio.gather(*(claim(database) for _ in range(20))) == [None] * 20
    assert await accurate.tries() == [("pending", 1)] * 5
    # They are tried one by one from now on.
    assert await claim(database) is None


async def test_a_worker_that_is_finishing_an_expired_group_is_in_time(accurate: Accurate, database: Database) -> None:
    await accurate.send(event())
    group = await accurate.group()
    await accurate.expire_groups()
    async with database.write() as repositories:
        await repositories.groups(WEBHOOK_EVENTS).finish(group, ids_of(group), ["done"], [None])
        async with asyncio.timeout(HANG_SECONDS):
            assert await claim(database) is None
    assert await accurate.tries() == [("done", 1)]


async def test_breaking_up_skips_pieces_that_another_transaction_has_locked(
    accurate: Accurate, database: Database
) -> None:
    await accurate.send(*(event() for _ in range(3)))
    written, *_ = ids_of(await accurate.group())
    await accurate.expire_groups()
    # As whoever passes it on does, and he may have been stopped.
    async with database.engine.begin() as other:
        await other.execute(text("UPDATE webhook_queue SET forward_status = 'sent' WHERE id = :id"), {"id": written})
        async with asyncio.timeout(HANG_SECONDS):
            assert await claim(database) is None
        assert await accurate.tries() == [("pending", 0), ("pending", 1), ("pending", 1)]
    assert ids_of(await claim(database)) == [written]


async def test_breaking_up_counts_the_attempt(accurate: Accurate, database: Database) -> None:
    await accurate.send(event(), event())
    await break_up(database, await accurate.group())
    assert await accurate.tries() == [("pending", 1)] * 2
    assert all(row.started_at is not None for row in await accurate.rows())
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_breaking_up_skips_pieces_that_left_the_group(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event() for _ in range(3)))
    group = await accurate.group()
    # As a process of an earlier version does, which knows of no groups.
    ended, failed, _ = ids_of(group)
    await accurate.sql(
        "UPDATE webhook_queue SET status = 'dead', attempts = 8, finished_at = now() WHERE id = :id", id=ended
    )
    await accurate.sql("UPDATE webhook_queue SET attempts = 2 WHERE id = :id", id=failed)
    await break_up(database, group)
    assert await accurate.tries() == [("dead", 8), ("pending", 2), ("pending", 1)]


async def test_a_failed_claim_claims_nothing_and_releases_the_lock(accurate: Accurate, database: Database) -> None:
    await accurate.send(event())
    async with constrained(accurate, "false"):
        with pytest.raises(Exception, match="as_told"):
            await claim(database)
    assert len(ids_of(await claim(database))) == 1


async def test_concurrent_ends_claims_and_expiries_never_deadlock(accurate: Accurate, database: Database) -> None:
    await accurate.send(*(event(databaseId=database_id) for database_id in (DATABASE, OTHER_DATABASE) * 150))
    counter = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    [before] = await accurate.sql(counter)
    over = asyncio.Event()

    async def work() -> None:
        while group := await claim(database, 7):
            try:
                await finish(database, group)
            except LeaseLost:
                continue

    async def let_leases_run_out() -> None:
        while not over.is_set():
            await accurate.expire_groups()
            await asyncio.sleep(0.005)

    spoiling = asyncio.create_task(let_leases_run_out())
    await asyncio.gather(*(work() for _ in range(8)))
    over.set()
    await spoiling
    found = await accurate.tries()
    assert set(found) <= {("done", 1), ("pending", 1)}
    assert ("done", 1) in found
    await asyncio.sleep(0.05)
    [after] = await accurate.sql(counter)
    assert after.deadlocks == before.deadlocks
    assert await accurate.sql("SELECT token FROM leased_groups WHERE token <> :none", none=uuid4()) == []


async def test_a_cancelled_claimer_leaves_no_group_behind(
    accurate: Accurate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accurate.send(event(), event())
    # Between the commit of the claim and the answer that tells of it.
    monkeypatch.setattr(groups, "CLAIMED", "SELECT pg_sleep(60)")
    claiming = asyncio.create_task(claim(database))
    async with asyncio.timeout(HANG_SECONDS):
        while not await accurate.sql("SELECT token FROM leased_groups"):
            await asyncio.sleep(0.01)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert await accurate.sql("SELECT token FROM leased_groups") == []
    assert await accurate.tries() == [("pending", 0)] * 2
