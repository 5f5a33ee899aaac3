"""Transactions: the only code that begins and commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from qrtrack import database_checks, schema_revision
from qrtrack.batch_semaphores import BatchTurns
from qrtrack.connections import FOR_WEBHOOKS, Connections, Connector
from qrtrack.domain.requests import RepeatableRequest
from qrtrack.outages import DatabaseRefused, DatabaseUnavailable, Outages, has_state, is_full, reason_of
from qrtrack.pools import PatientPool, open_engine
from qrtrack.repositories import Repositories
from qrtrack.repositories.base import DURABLE, Connection
from qrtrack.repositories.server import ServerLimits, read_limits
from qrtrack.settings.postgresql import parse_address
from qrtrack.settings.values import DEFAULT_TENANT_ROLE
from qrtrack.tenant_role import quoted, try_role

__all__ = ["Database", "DatabaseRefused", "DatabaseUnavailable"]

# A standby, or a server whose provider holds writes back: another connection may find one that takes them.
READ_ONLY = ("25006",)
# A request that has waited so long for a lock is told to come again.
LOCK_SECONDS = 10
# Who asks whether the service is ready waits no longer: a server that has stopped without a word is as good as away.
READY_SECONDS = 3
# Shorter, so that a full server is named as the reason.
ROOM_SECONDS = 2
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_READING = f"{BEGIN} READ ONLY"
BY_KEYS = ("SET LOCAL plan_cache_mode = force_generic_plan", "SET LOCAL enable_seqscan = off")


@dataclass(frozen=True, slots=True)
class Database:
    """Opens transactions. `request` makes the first effect of a request repeatable (Idempotency-Key)."""

    connector: Connector
    engine: AsyncEngine
    # The same pool, where SQLAlchemy begins and commits nothing.
    unbegun: AsyncEngine
    webhooks: Connections
    health: Connections
    tenant_role: str
    turns: BatchTurns = field(default_factory=BatchTurns)
    outages: Outages = field(default_factory=Outages)
    request: RepeatableRequest | None = None

    @classmethod
    def connect(
        cls, url: str, *, pool_size: int, behind_pooler: bool = False, tenant_role: str = DEFAULT_TENANT_ROLE
    ) -> Self:
        """Raises ValueError for an address that cannot be used."""
        connector = Connector(parse_address(url), behind_pooler)
        engine = open_engine(connector, size=pool_size)
        webhooks, health = (Connections(connector, at_a_time=count) for count in (FOR_WEBHOOKS, 1))
        assert isinstance(engine.pool, PatientPool)
        engine.pool.on_full = webhooks.give_up_idle
        unbegun = engine.execution_options(isolation_level="AUTOCOMMIT")
        return cls(connector, engine, unbegun, webhooks, health, tenant_role)

    def answering(self, request: RepeatableRequest | None) -> Self:
        """The same database, for one request that its caller may send again."""
        return replace(self, request=request)

    @asynccontextmanager
    async def write(
        self,
        *,
        tenant: UUID | None = None,
        batch_lock: UUID | None = None,
        by_keys: bool = False,
        turn: UUID | None = None,
    ) -> AsyncIterator[Repositories]:
        """One transaction: commits on leaving, rolls back on any error.

        `tenant` binds it to an organisation: row-level security shows and takes that organisation's rows only.
        `batch_lock` waits until this transaction is the only one that moves the batch's queue. It is taken in a
        statement of its own, so that the next one sees what the previous holder committed.
        `by_keys`: its statements find few rows by their keys, so that one plan by index serves for every size of the
        tables: it is kept, where others are planned anew each time.
        `turn` names what many of this process want to move at once: they take turns before they take a connection.
        """
        opening = _opening(self.tenant_role, tenant=tenant, batch_lock=batch_lock, by_keys=by_keys)
        async with self.turns.take(lock=batch_lock, row=turn), self._transaction(opening) as (pooled, driver):
            repositories = Repositories(pooled, driver, self.request)
            if self.request is not None:
                await repositories.idempotency.open(self.request)
            yield repositories
            await repositories.flush()
            if self.request is not None:
                await repositories.idempotency.keep(self.request)

    @asynccontextmanager
    async def read(self, *, tenant: UUID | None = None) -> AsyncIterator[Repositories]:
        """One READ ONLY transaction: a stray write fails."""
        async with self._transaction(_opening(self.tenant_role, tenant=tenant, read_only=True), writes=False) as (
            pooled,
            driver,
        ):
            repositories = Repositories(pooled, driver)
            yield repositories
            await repositories.flush()

    @asynccontextmanager
    async def autocommit(self, *, apart: bool = False) -> AsyncIterator[Connection]:
        """The driver's own connection, where each statement is a transaction that is committed when it returns: for the
        paths of one statement, which would otherwise be three round trips.

        Behind a pooler such a statement has the isolation of the server's default: it must not rest on it.

        `apart`: one of those for webhooks, which no other work can hold up. Behind a pooler the block is one
        transaction there, committed on leaving. A server that has no room for one more lends one of the pool.
        """
        if not apart:
            async with self._transaction(None) as (_, driver):
                yield driver
            return
        with self.outages.translated():
            async with self._beside(self.webhooks) as connection:
                try:
                    async with self._begun(connection):
                        yield connection
                except asyncpg.ReadOnlySQLTransactionError as error:
                    connection.terminate()
                    raise DatabaseUnavailable(reason_of(error)) from error

    def _begun(self, connection: Connection) -> Any:
        return connection.transaction(isolation="read_committed") if self.connector.behind_pooler else nullcontext()

    @asynccontextmanager
    async def _beside(self, connections: Connections, *, seconds: float | None = None) -> AsyncIterator[Connection]:
        """On a full server, one of the pool; when none is free within `seconds`, raises what the server said."""
        async with AsyncExitStack() as taken:
            try:
                connection = await taken.enter_async_context(connections.take())
            except asyncpg.PostgresError as error:
                if not is_full(error):
                    raise
                try:
                    async with asyncio.timeout(seconds):
                        _, connection = await taken.enter_async_context(self._transaction(None))
                except TimeoutError:
                    raise error from None
            yield connection

    @asynccontextmanager
    async def _transaction(
        self, opening: str | None, *, writes: bool = True
    ) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
        """Begun by the statements of `opening`, committed on leaving, rolled back on any error. Without any, each
        statement is a transaction of its own.

        SQLAlchemy would begin in a round trip of its own.
        """
        with self.outages.translated():
            async with self._living() as (pooled, driver):
                try:
                    if opening:
                        await driver.execute(opening)
                    yield pooled, driver
                    if opening and await driver.execute("COMMIT") != "COMMIT":
                        raise RuntimeError("an error was passed over in the transaction: PostgreSQL has rolled it back")
                except BaseException as error:
                    await _roll_back(pooled, driver)
                    if writes and has_state(getattr(error, "orig", error), READ_ONLY):
                        await pooled.invalidate()
                        raise DatabaseUnavailable(reason_of(error)) from error
                    raise

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
        """All connections in the pool die when the server starts anew: each that is found dead leaves it."""
        while True:
            async with self.unbegun.connect() as pooled:
                driver: Connection | None = (await pooled.get_raw_connection()).driver_connection
                assert driver is not None
                if not driver.is_closed():
                    yield pooled, driver
                    return
                await pooled.invalidate()

    async def migrate(self) -> str:
        """Brings the schema to the newest revision and returns it. Raises what `ready` raises."""
        with self.outages.translated(quietly=True):
            return await schema_revision.migrate(self.engine, tenant_role=self.tenant_role)

    async def ready(self, *, quietly: bool = False) -> dict[str, Any]:
        """On a connection of its own: it says how the database is, and not how busy the pool. Raises
        DatabaseUnavailable, DatabaseRefused, DatabaseUnfit, SchemaBehind, SchemaNewer or TenantRoleUnusable.
        `quietly`: the caller tells the reason.
        """
        with self.outages.translated(quietly=quietly):
            async with asyncio.timeout(READY_SECONDS), self._beside(self.health, seconds=ROOM_SECONDS) as connection:
                state = await connection.fetchrow(database_checks.STATE)
                assert state is not None
                database_checks.refuse_encoding(state["encoding"], state["database"], state["quoted_user"])
                await schema_revision.check_revision(connection)
                await try_role(connection, self.tenant_role)
                if state["read_only"]:
                    connection.terminate()
                    raise DatabaseUnavailable("the server takes no writes: it is a standby, or its provider's setting")
        return {"database": "ok", "schema": "ok"}

    async def limits(self) -> ServerLimits:
        with self.outages.translated():
            async with self._beside(self.health) as connection:
                return await read_limits(connection)

    @property
    def most_connections(self) -> int:
        """The pool, those for webhooks, one for readiness and one for hints."""
        return self._pool.size() + FOR_WEBHOOKS + 2

    @property
    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        return pool

    def pool_use(self) -> dict[str, dict[str, int]]:
        """Connections of this process, by what they are for and what they are doing."""
        pool = self._pool
        main = {"in_use": pool.checkedout(), "idle": pool.checkedin(), "allowed": pool.size()}
        return {"main": main, "webhooks": self.webhooks.use()}

    async def close(self) -> None:
        await self.webhooks.close()
        await self.health.close()
        await self.engine.dispose()


async def _roll_back(pooled: AsyncConnection, driver: Connection) -> None:
    """A connection that cannot be rolled back, as it broke or its task is cancelled once more, leaves the pool."""
    is_clean = False
    try:
        with suppress(Exception):
            await driver.execute("ROLLBACK")
            is_clean = True
    finally:
        if not is_clean:
            await pooled.invalidate()


def _opening(
    role: str,
    *,
    tenant: UUID | None = None,
    batch_lock: UUID | None = None,
    by_keys: bool = False,
    read_only: bool = False,
) -> str:
    """Begins a transaction and sets what holds for it only, in one round trip: behind a pooler a session is nobody's.
    Isolation and durability are what the program needs, whatever the server's defaults.

    It takes no parameters, since several statements can have none; what stands in it are ids, written as ids are,
    and the quoted role.
    """
    steps = [BEGIN_READING] if read_only else [BEGIN, DURABLE]
    if by_keys:
        steps += BY_KEYS
    if tenant is not None:
        steps += [
            f"SET LOCAL qrtrack.org = '{_written(tenant)}'",
            f"SET LOCAL ROLE {quoted(role)}",
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'",
        ]
    if batch_lock is not None:
        steps.append(f"SELECT pg_advisory_xact_lock(hashtextextended('batch {_written(batch_lock)}', 0))")
    return "; ".join(steps)


def _written(identity: UUID) -> str:
    return str(UUID(int=identity.int))
