"""The program sets isolation and durability itself, whatever the defaults of the server are."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from accurate import DATABASE, event
from plant import Plant
from process import settings_of
from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.postgresql import schema_revision
from qrtrack.postgresql.connections import Connector
from qrtrack.repositories.console_sessions import ConsoleSessionRepository
from qrtrack.repositories.queues import WEBHOOK_EVENTS
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.services.accurate.intake import receive_events
from qrtrack.services.claims import claim_group
from qrtrack.services.console_sessions import end_session, make_sign_in_code, open_session_by_code, revoke_sessions
from qrtrack.settings.postgresql import parse_address

POOLERS = ["none", "transaction"]
NOT_COMMITTED_ONLY = ["repeatable read", "serializable"]


async def alter(url: str, action: str) -> None:
    connection = await Connector(parse_address(url)).connect()
    try:
        await connection.execute(f'ALTER DATABASE "{await connection.fetchval("SELECT current_database()")}" {action}')
    finally:
        await connection.close()


@asynccontextmanager
async def default(url: str, setting: str, value: str) -> AsyncIterator[None]:
    await alter(url, f"SET {setting} = '{value}'")
    try:
        yield
    finally:
        await alter(url, f"RESET {setting}")


@pytest.fixture
def pooler(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def strict(
    request: pytest.FixtureRequest, pooler: str, runtime: Runtime, migrated_url: str, tmp_path: Path
) -> AsyncIterator[Runtime]:
    """A process whose database has another default isolation. The fixture `runtime` deletes the rows."""
    changes = {"database_pooler": pooler, "accurate_databases": f"{DATABASE}={'0' * 32}"}
    async with (
        default(migrated_url, "default_transaction_isolation", request.param),
        open_runtime(settings_of(migrated_url, tmp_path, **changes)) as opened,
    ):
        yield opened


async def settings_in(database: Database) -> dict[str, tuple[str, str]]:
    """Returns isolation and durability of each kind of transaction."""
    show = "SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')"
    found: dict[str, Any] = {}
    async with database.write() as repositories:
        found["write"] = (await repositories.trace._session.execute(text(show))).one()
    async with database.read() as repositories:
        found["read"] = (await repositories.trace._session.execute(text(show))).one()
    async with database.engine.begin() as connection:
        found["migration"] = (await connection.execute(text(show))).one()
    async with database._driver(apart=True) as driver:
        found["webhooks"] = await driver.fetchrow(show)
    return {kind: tuple(values) for kind, values in found.items()}


@pytest.mark.parametrize("pooler", POOLERS, indirect=True)
@pytest.mark.parametrize("strict", NOT_COMMITTED_ONLY, indirect=True)
async def test_every_transaction_is_read_committed(strict: Runtime) -> None:
    found = await settings_in(strict.database)
    assert {kind: isolation for kind, (isolation, _) in found.items()} == dict.fromkeys(found, "read committed")


@pytest.mark.parametrize("pooler", POOLERS, indirect=True)
@pytest.mark.parametrize("strict", NOT_COMMITTED_ONLY, indirect=True)
async def test_forty_links_at_once_are_all_answered_right(strict: Runtime, caller: Caller) -> None:
    plant = Plant(strict, caller)
    batch = await plant.prepared(400, units_per_case=10)
    packed = await asyncio.gather(*(plant.pack(batch, case) for case in range(40)))
    assert len({code for case in packed for code in case.linked_codes}) == 400


@pytest.mark.parametrize("pooler", POOLERS, indirect=True)
@pytest.mark.parametrize("strict", NOT_COMMITTED_ONLY, indirect=True)
async def test_webhooks_sent_at_once_are_all_taken_in_and_claimed_once(strict: Runtime) -> None:
    events = [event(uuid=f"at-once-{number}") for number in range(40)]
    other = [event("ITEM", uuid=f"at-once-{number}") for number in range(40)]
    owners = strict.settings.database_owners

    async def send(bodies: list[Any]) -> set[int]:
        body = json.dumps(bodies).encode()
        return {
            receipt.queue_id
            for receipt in await receive_events(strict.database, body, owners=owners, forward=False, wake=True)
        }

    answers = await asyncio.gather(*(send(bodies) for _ in range(10) for bodies in (events, events[::-1], other)))
    assert len(set().union(*answers)) == 40
    taken: list[int] = []

    async def claim() -> None:
        while group := await claim_group(strict.database, WEBHOOK_EVENTS, 3, lease_seconds=30):
            taken.extend(piece.id for piece in group.pieces)

    await asyncio.gather(*(claim() for _ in range(10)))
    assert len(taken) == len(set(taken)) == 40


@pytest.mark.parametrize(
    ("level", "ours"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
@pytest.mark.parametrize("behind_pooler", [False, True])
async def test_a_commit_waits_for_the_disk_at_least(
    plant: Plant, migrated_url: str, level: str, ours: str, *, behind_pooler: bool
) -> None:
    async with default(migrated_url, "synchronous_commit", level):
        database = Database.connect(migrated_url, pool_size=2, behind_pooler=behind_pooler)
        try:
            assert (await settings_in(database))["write"][1] == ours
            await _take_in_where(plant, database, f"current_setting('synchronous_commit') = '{ours}'")
        finally:
            await database.close()


async def test_a_sign_out_survives_a_crash_of_the_server(
    plant: Plant, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commits of a sign-out, of a revocation and of a used link wait for the disk."""
    found: dict[str, str] = {}

    def watched(name: str) -> None:
        original = getattr(ConsoleSessionRepository, name)

        async def watch(repository: ConsoleSessionRepository, *args: Any, **options: Any) -> Any:
            found[name] = await repository._connection.fetchval("SHOW synchronous_commit")
            return await original(repository, *args, **options)

        monkeypatch.setattr(ConsoleSessionRepository, name, watch)

    for name in ("end", "revoke", "open_by_code"):
        watched(name)
    async with default(migrated_url, "synchronous_commit", "off"):
        database = Database.connect(migrated_url, pool_size=2)
        try:
            code = await make_sign_in_code(database, plant.caller)
            token = await open_session_by_code(database, code, station=None, hours=1)
            assert token is not None
            await end_session(database, token)
            await revoke_sessions(database, organisation_id=plant.caller.organisation_id, user_id=None)
        finally:
            await database.close()
    assert found == dict.fromkeys(("end", "revoke", "open_by_code"), "on")


async def _take_in_where(plant: Plant, database: Database, condition: str) -> None:
    """Receives a conflicting duplicate of a webhook, and checks that its rows are written under the condition."""
    for table in ("webhook_queue", "webhook_conflicts"):
        await plant.sql(f"ALTER TABLE {table} ADD CONSTRAINT durable CHECK ({condition}) NOT VALID")
    try:
        bodies = [json.dumps([event(kind, uuid="same")]).encode() for kind in ("ITEM", "SALES_INVOICE")]
        _, [receipt] = [await receive_events(database, body, owners={}, forward=False, wake=False) for body in bodies]
        assert receipt.conflict
    finally:
        for table in ("webhook_queue", "webhook_conflicts"):
            await plant.sql(f"ALTER TABLE {table} DROP CONSTRAINT durable")


async def test_a_database_that_forgets_after_the_start_changes_nothing(plant: Plant, migrated_url: str) -> None:
    """The connections for webhooks are open already, and keep the settings with which their sessions began."""
    database = Database.connect(migrated_url, pool_size=1)
    try:
        async with database._driver(apart=True) as driver:
            await driver.execute("SET synchronous_commit = off")
        await _take_in_where(plant, database, "current_setting('synchronous_commit') = 'on'")
    finally:
        await database.close()


async def test_a_migration_has_no_limit_of_the_provider(migrated_url: str) -> None:
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    shown: list[Any] = []
    sign = "&" if "?" in migrated_url else "?"

    def show(connection: Any) -> None:
        shown.extend(connection.execute(text(f"SHOW {limit}")).scalar_one() for limit in limits)

    database = Database.connect(f"{migrated_url}{sign}options=-c%20statement_timeout%3D7s", pool_size=1)
    try:
        async with database.engine.begin() as connection:
            assert (await connection.execute(text("SHOW statement_timeout"))).scalar_one() == "7s"
            await connection.execute(text(schema_revision.NO_LIMITS))
            await connection.run_sync(show)
    finally:
        await database.close()
    assert shown == ["0", "0", "0"]
