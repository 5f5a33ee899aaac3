import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from plant import Plant
from process import TENANT_ROLE, settings_of
from qrtrack import database as database_module
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.limits.batch_semaphores import LOCK_PERMITS
from qrtrack.postgresql import connections
from qrtrack.repositories.constraints import CodeTaken
from qrtrack.runtime import open_runtime
from ticking import HANG_SECONDS


async def run(database: Database, *statements: str, **options: Any) -> Any:
    """Runs the statements in one write transaction. Returns the single value of the last one."""
    found = None
    async with database.write(**options) as repositories:
        for statement in statements:
            result: Any = await repositories.trace._session.execute(text(statement))
            found = result.scalar_one_or_none() if result.returns_rows else None
    return found


NEW_TURN = "INSERT INTO queue_turns (kind, manufacturer_org_id, served_at) VALUES ('{}', gen_random_uuid(), now())"
TURNS = "SELECT count(*) FROM queue_turns WHERE kind = '{}'"


async def test_a_write_is_committed_on_leaving(plant: Plant, database: Database) -> None:
    await run(database, NEW_TURN.format("kept"))
    assert await run(database, TURNS.format("kept")) == 1


async def test_an_error_undoes_the_whole_block(plant: Plant, database: Database) -> None:
    with pytest.raises(DBAPIError):
        await run(database, NEW_TURN.format("undone"), "SELECT 1 / 0")
    assert await run(database, TURNS.format("undone")) == 0


async def test_a_refusal_raised_in_the_block_undoes_it_and_comes_out_as_it_is(plant: Plant, database: Database) -> None:
    async def refuse() -> None:
        async with database.write() as repositories:
            await repositories.trace._session.execute(text(NEW_TURN.format("refused")))
            raise NotFound("There is no such thing.")

    with pytest.raises(NotFound, match="no such thing"):
        await refuse()
    assert await run(database, TURNS.format("refused")) == 0


async def test_a_cancelled_block_is_undone_and_its_connection_given_back(plant: Plant, database: Database) -> None:
    inside = asyncio.Event()

    async def wait() -> None:
        async with database.write() as repositories:
            await repositories.trace._session.execute(text(NEW_TURN.format("cancelled")))
            inside.set()
            await repositories.trace._session.execute(text("SELECT pg_sleep(30)"))

    task = asyncio.create_task(wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pool: Any = database.engine.pool
    assert pool.checkedout() == 0
    assert await run(database, TURNS.format("cancelled")) == 0


async def test_a_block_that_is_cancelled_while_it_waits_for_its_lock_or_is_undone_leaves_nothing_open(
    database: Database,
) -> None:
    batch_id = uuid4()

    async def begin() -> None:
        async with database.write(batch_lock=batch_id):
            pass

    async with database.write(batch_lock=batch_id):
        for cancellations in range(3):
            task = asyncio.create_task(begin())
            await asyncio.sleep(0.05)
            for _ in range(cancellations + 1):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
    state = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
    assert await run(database, state) == 0
    await asyncio.wait_for(begin(), HANG_SECONDS)


async def test_an_ignored_error_does_not_end_in_a_commit(plant: Plant, database: Database) -> None:
    async def pass_over() -> None:
        async with database.write() as repositories:
            session = repositories.trace._session
            await session.execute(text(NEW_TURN.format("passed over")))
            with suppress(DBAPIError):
                await session.execute(text("SELECT 1 / 0"))

    with pytest.raises(RuntimeError, match="rolled it back"):
        await pass_over()
    assert await run(database, TURNS.format("passed over")) == 0


@pytest.mark.parametrize("way", ["write", "read"])
async def test_pending_changes_are_flushed_before_the_commit(plant: Plant, way: str) -> None:
    batch_id = (await plant.order()).batch_id

    async def rename() -> None:
        async with getattr(plant.runtime.database, way)() as repositories:
            (await repositories.batches.get(batch_id)).product_name = "Gold 2 g"

    if way == "read":
        with pytest.raises(DBAPIError, match="read-only"):
            await rename()
    else:
        await rename()
        assert (await plant.row("qr_batches", batch_id)).product_name == "Gold 2 g"


async def test_a_reading_block_refuses_to_write(database: Database) -> None:
    async def write() -> None:
        async with database.read() as repositories:
            await repositories.trace._session.execute(text(NEW_TURN.format("stray")))

    with pytest.raises(DBAPIError, match="read-only"):
        await write()


async def test_role_and_organisation_last_as_long_as_the_transaction(database: Database) -> None:
    organisation_id = uuid4()
    seen = "SELECT current_user || ' ' || coalesce(current_setting('qrtrack.org', true), '')"
    assert await run(database, seen, tenant=organisation_id) == f"{TENANT_ROLE} {organisation_id}"
    for _ in range(30):
        user, _, organisation = str(await run(database, seen)).partition(" ")
        assert user != TENANT_ROLE
        assert organisation == ""


async def test_the_batch_lock_lets_one_transaction_in_at_a_time_and_shows_it_what_the_last_one_did(
    plant: Plant, database: Database
) -> None:
    batch_id, seen = uuid4(), []

    async def count_up() -> None:
        async with database.write(batch_lock=batch_id) as repositories:
            session = repositories.trace._session
            seen.append((await session.execute(text(TURNS.format("lock")))).scalar_one())
            await session.execute(text(NEW_TURN.format("lock")))

    await asyncio.gather(*(count_up() for _ in range(10)))
    assert sorted(seen) == list(range(10))


async def test_the_lock_of_one_batch_does_not_keep_another_waiting(database: Database) -> None:
    async with database.write(batch_lock=uuid4()):
        assert await asyncio.wait_for(run(database, "SELECT 1", batch_lock=uuid4()), HANG_SECONDS) == 1


@pytest.mark.parametrize("sqlstate", ["08006", "53300", "57P01", "57P03", "40001", "40P01", "55P03"])
async def test_transient_errors_are_unavailable(database: Database, sqlstate: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await run(database, f"DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$")


async def test_a_defect_stays_a_defect_and_shows_no_value(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as repositories:
            await repositories.trace._session.execute(
                text("SELECT CAST(:secret AS text) || 1 / CAST(:zero AS int)"), {"secret": "hunter2", "zero": 0}
            )

    with pytest.raises(DBAPIError) as error:
        await fail()
    assert "hunter2" not in str(error.value)


async def test_a_connection_that_was_killed_is_unavailable_once_and_then_replaced(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await run(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert await run(database, "SELECT 1") == 1


@pytest.mark.parametrize("turns_of_the_loop", range(5))
@pytest.mark.parametrize("way", ["refused", "driver", "session"])
async def test_a_killed_connection_is_unavailable_at_every_moment(
    migrated_url: str, way: str, turns_of_the_loop: int
) -> None:
    """The driver notices the end of the connection within several iterations of the event loop. The test uses the
    connection, or rolls it back, after each of them.
    """
    database = Database.connect(migrated_url, pool_size=1, tenant_role=TENANT_ROLE)

    async def after_the_kill(pid: int) -> None:
        killer = Thread(target=asyncio.run, args=[kill(migrated_url, pid)])
        killer.start()
        killer.join()
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)

    async def use_it() -> None:
        if way == "session":
            async with database.write() as repositories:
                session = repositories.trace._session
                await after_the_kill((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())
                await session.execute(text("SELECT 1"))
            return
        async with database.write() as repositories:
            driver = repositories._connection
            await after_the_kill(driver.get_server_pid())
            if way == "refused":
                raise NotFound("There is no such thing.")
            await driver.execute("SELECT 1")

    try:
        # A refusal stays one: what it was found by is undone with the connection.
        with pytest.raises(NotFound if way == "refused" else DatabaseUnavailable):
            await use_it()
        assert await run(database, "SELECT 1") == 1
    finally:
        await database.close()


async def kill(url: str, pid: int) -> None:
    """Kills the session, and returns when the server has ended it."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
    await connection.close()


async def test_connections_killed_in_the_pool_cost_at_most_one_failure_each(plant: Plant, database: Database) -> None:
    await asyncio.gather(*(run(database, "SELECT pg_sleep(0.05)") for _ in range(6)))
    await plant.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    failures = 0
    for _ in range(20):
        try:
            assert await run(database, "SELECT 1") == 1
        except DatabaseUnavailable:
            failures += 1
    assert failures <= 6


@pytest.mark.parametrize("turns_of_the_loop", range(6))
async def test_a_caller_that_hangs_up_while_a_dead_connection_is_replaced_leaves_the_pool_usable(
    migrated_url: str, turns_of_the_loop: int
) -> None:
    small = Database.connect(migrated_url, pool_size=1, tenant_role=TENANT_ROLE)
    async with small.write() as repositories:
        driver = repositories._connection
        pid = driver.get_server_pid()
    await kill(migrated_url, pid)
    while not driver.is_closed():
        await asyncio.sleep(0.001)
    task = asyncio.create_task(run(small, "SELECT 1"))
    for _ in range(turns_of_the_loop):
        await asyncio.sleep(0)
    task.cancel()
    # While the error is still looked at, as somebody who logs it does.
    with pytest.raises(asyncio.CancelledError) as _error:
        await task
    assert small.pool_use()["main"]["in_use"] == 0
    assert await run(small, "SELECT 1") == 1
    await small.close()


async def test_a_full_pool_is_unavailable_for_now(migrated_url: str) -> None:
    small = Database.connect(migrated_url, pool_size=1, tenant_role=TENANT_ROLE)
    small.engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    try:
        async with small.write(batch_lock=uuid4()):
            with pytest.raises(DatabaseUnavailable):
                await run(small, "SELECT 1")
            await small.ready()
        assert await run(small, "SELECT 1") == 1
    finally:
        await small.close()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Any) -> None:
    nowhere = Database.connect(f"postgresql+asyncpg://postgres@/qrtrack?host={tmp_path}&port=5432", pool_size=1)
    with pytest.raises(DatabaseUnavailable):
        await nowhere.ready()
    await nowhere.close()


async def test_a_hung_server_is_not_ready(database: Database) -> None:
    await database.ready()
    with patch.object(database_module, "READY_SECONDS", 0.2):
        async with database.engine.begin() as blocker:
            await blocker.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    await database.ready()
    await database.ready()


async def test_a_server_that_takes_a_connection_and_says_nothing_is_unavailable() -> None:
    has_gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        has_gone.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mute = Database.connect(f"postgresql+asyncpg://u:p@127.0.0.1:{port}/qrtrack", pool_size=1)
    with patch.object(database_module, "READY_SECONDS", 0.2), pytest.raises(DatabaseUnavailable):
        await mute.ready()
    await mute.close()
    await has_gone.wait()
    server.close()


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="relays to the embedded server's socket")
async def test_the_first_of_several_hosts_that_answers_is_used(migrated_url: str) -> None:
    # At once: each waits for the silent one until its time is up.
    orders = ("silent,closed,server", "closed,silent,server")
    await asyncio.gather(*(first_of(migrated_url, listed) for listed in orders))


async def first_of(migrated_url: str, listed: str) -> None:
    """The first two hosts hang or refuse: readiness, the connections for webhooks and the pool reach the third."""
    gone: list[asyncio.Event] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone.append(has_gone := asyncio.Event())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        has_gone.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with by_network(migrated_url) as url:
        ports = {"silent": silent.sockets[0].getsockname()[1], "closed": 1, "server": make_url(url).port}
        hosts = ",".join(f"127.0.0.1:{ports[name]}" for name in listed.split(","))
        database = Database.connect(
            f"postgresql://postgres@{hosts}/{make_url(url).database}?sslmode=disable", pool_size=1
        )

        async def of_webhooks() -> Any:
            async with database._driver(apart=True) as connection:
                return await connection.fetchval("SELECT 1")

        # At once: each waits in vain for the silent one.
        _, pooled, beside = await asyncio.gather(database.ready(), run(database, "SELECT 1"), of_webhooks())
        assert (pooled, beside) == (1, 1)
        await database.close()
    silent.close()
    assert len(gone) == 3
    for has_gone in gone:
        await has_gone.wait()


@asynccontextmanager
async def by_network(url: str) -> AsyncIterator[str]:
    """Yields the address of the same database over TCP: the embedded server itself listens only on a socket in a
    folder.
    """
    options = make_url(url)
    path = f"{options.query['host']}/.s.PGSQL.{options.query['port']}"
    ended: list[asyncio.Event] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(65536):
            writer.write(block)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        mine = ended[-1]
        from_server, to_server = await asyncio.open_unix_connection(path)
        await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))
        mine.set()

    relay = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    yield f"postgresql+asyncpg://{options.username}@127.0.0.1:{port}/{options.database}"
    relay.close()
    for one in ended:
        await one.wait()


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="relays to the embedded server's socket")
async def test_keepalive_detects_a_dead_peer(migrated_url: str) -> None:
    """Without keepalive, requests would wait for as long as TCP retransmits, and would occupy the whole pool."""
    async with by_network(migrated_url) as url:
        remote = Database.connect(url, pool_size=1, tenant_role=TENANT_ROLE)
        async with remote.write() as repositories, remote._driver(apart=True) as other:
            for driver in (repositories._connection, other):
                to_server = driver._transport.get_extra_info("socket")  # type: ignore[attr-defined]
                assert to_server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                for option in filter(lambda name: hasattr(socket, name), connections.KEEPALIVE):
                    set_to = to_server.getsockopt(socket.IPPROTO_TCP, getattr(socket, option))
                    assert set_to == connections.KEEPALIVE[option], option
        await remote.close()


@pytest.mark.parametrize(
    ("limit", "pause"),
    [
        ("statement_timeout", "SELECT pg_sleep(5)"),
        ("idle_in_transaction_session_timeout", None),
        ("transaction_timeout", "SELECT pg_sleep(5)"),
    ],
)
async def test_a_timeout_of_the_server_is_unavailable(database: Database, limit: str, pause: str | None) -> None:
    """Providers and operators set such limits. A person who cancels a statement causes the same error."""
    if not await run(database, f"SELECT count(*) FROM pg_settings WHERE name = '{limit}'"):
        pytest.skip(f"needs a PostgreSQL that knows {limit}")

    async def take_too_long() -> None:
        async with database.write() as repositories:
            await repositories.trace._session.execute(text(f"SET LOCAL {limit} = '50ms'"))
            await asyncio.sleep(0 if pause else 0.3)
            await repositories.trace._session.execute(text(pause or "SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        await take_too_long()
    assert await run(database, "SELECT 1") == 1


@pytest.fixture
async def read_only(database: Database, migrated_url: str) -> AsyncIterator[Database]:
    """A process whose server takes no more writes: it has become a standby, or its provider has blocked writes."""
    name = make_url(migrated_url).database
    await run(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    held_back = Database.connect(migrated_url, pool_size=1, tenant_role=TENANT_ROLE)
    yield held_back
    await held_back.close()
    await run(database, f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def test_a_read_only_server_is_unavailable_until_it_accepts_writes(
    read_only: Database, database: Database
) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await run(read_only, NEW_TURN.format("early"))
        for apart in (True, False):
            with pytest.raises(DatabaseUnavailable):
                async with read_only._driver(apart=apart) as connection:
                    await connection.execute(NEW_TURN.format("early"))
        with pytest.raises(DatabaseUnavailable):
            await read_only.ready()
    assert await run(read_only, "SELECT 1") == 1
    await run(database, f"ALTER DATABASE {read_only.engine.url.database} RESET default_transaction_read_only")
    with pytest.raises(DatabaseUnavailable):
        await run(read_only, NEW_TURN.format("early"))
    await run(read_only, NEW_TURN.format("late"))
    await read_only.ready()


async def test_a_known_violated_constraint_is_a_domain_error(plant: Plant, database: Database) -> None:
    await plant.batch(2)
    with pytest.raises(CodeTaken):
        await run(database, "UPDATE qr_codes SET code = 'SKA000001'")


async def test_any_other_violated_constraint_is_a_defect(plant: Plant, database: Database) -> None:
    await plant.batch(1)
    with pytest.raises(IntegrityError):
        await run(database, "UPDATE qr_codes SET status = 'lost'")


async def test_behind_a_pooler_no_statement_is_kept(migrated_url: str) -> None:
    pooled = Database.connect(migrated_url, pool_size=1, behind_pooler=True, tenant_role=TENANT_ROLE)
    try:
        await run(pooled, "SELECT 2")
        assert await run(pooled, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT 2%'") == 0
    finally:
        await pooled.close()


async def test_a_busy_batch_leaves_the_other_connections_to_everybody_else(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    batch = await plant.batch(10)
    settings = settings_of(migrated_url, tmp_path, database_pool_size=4)
    async with open_runtime(settings) as small, plant.runtime.database.write(batch_lock=batch.batch_id):

        async def scan() -> None:
            async with small.database.write(tenant=plant.caller.organisation_id, batch_lock=batch.batch_id):
                pass

        scans = [asyncio.create_task(scan()) for _ in range(8)]
        waiters = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while await run(plant.runtime.database, waiters) < LOCK_PERMITS:
            await asyncio.sleep(0.01)
        assert await run(small.database, "SELECT 1") == 1
        for waiting in scans:
            waiting.cancel()
        await asyncio.gather(*scans, return_exceptions=True)


async def test_a_wait_for_a_lock_times_out_as_unavailable(plant: Plant) -> None:
    batch = await plant.batch(10)
    database = plant.runtime.database
    with patch.object(database_module, "LOCK_SECONDS", 0.1):
        async with database.write(batch_lock=batch.batch_id):
            with pytest.raises(DatabaseUnavailable):
                async with database.write(tenant=plant.caller.organisation_id, batch_lock=batch.batch_id):
                    pass


async def test_a_storm_of_webhooks_takes_no_connection_from_everybody_else(migrated_url: str, tmp_path: Path) -> None:
    settings = settings_of(migrated_url, tmp_path, database_pool_size=1)
    async with open_runtime(settings) as small, AsyncExitStack() as held:
        for _ in range(connections.FOR_WEBHOOKS):
            await held.enter_async_context(small.database._driver(apart=True))
        with patch.object(connections, "PATIENCE_SECONDS", 0.05), pytest.raises(DatabaseUnavailable):
            await held.enter_async_context(small.database._driver(apart=True))
        async with asyncio.timeout(HANG_SECONDS):
            assert await run(small.database, "SELECT 1") == 1
        await held.aclose()
        async with small.database._driver(apart=True) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_statement_that_is_cancelled_costs_no_connection(migrated_url: str, tmp_path: Path) -> None:
    settings = settings_of(migrated_url, tmp_path, database_pool_size=1)
    async with open_runtime(settings) as small:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), small.database._driver(apart=False) as connection:
                    await connection.execute("SELECT pg_sleep(60); SELECT 1")
            async with asyncio.timeout(HANG_SECONDS):
                assert await run(small.database, "SELECT 1") == 1


@pytest.mark.parametrize("apart", [True, False])
async def test_an_autocommitted_row_is_visible_when_the_statement_returns(database: Database, *, apart: bool) -> None:
    async with database._driver(apart=apart) as connection:
        await connection.execute(
            "INSERT INTO webhook_queue (type, payload, content_hash, status) VALUES ('ITEM', '{}', '', 'unassigned')"
        )
        assert await run(database, "SELECT count(*) FROM webhook_queue") == 1


STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


@asynccontextmanager
async def starting_up(port: int = 0) -> AsyncIterator[int]:
    """Yields the port of a server that answers every client as PostgreSQL does while it recovers from a crash."""
    told = set()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.add(writer)
        with suppress(asyncio.IncompleteReadError):
            while (await reader.readexactly(8))[4:] == SSL_REQUEST:
                writer.write(b"N")
        writer.write(b"E" + (len(STARTING_UP) + 4).to_bytes(4) + STARTING_UP)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in told:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in told), return_exceptions=True)


SSL_REQUEST = (80877103).to_bytes(4)


@pytest.mark.parametrize("way", ["write", "read", "autocommit"])
async def test_a_server_that_is_starting_up_is_away_whichever_way_one_comes(way: str) -> None:
    async with starting_up() as port:
        database = Database.connect(f"postgresql+asyncpg://u:p@127.0.0.1:{port}/qrtrack", pool_size=2)
        try:
            with pytest.raises(DatabaseUnavailable):
                async with getattr(database, way)() as opened:
                    await opened.accurate_sources.sources()
        finally:
            await database.close()
