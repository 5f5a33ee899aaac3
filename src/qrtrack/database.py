"""Begins and commits the transactions of use cases: `write` and `read`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Self
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from qrtrack.domain.requests import RepeatableRequest
from qrtrack.limits.batch_semaphores import BatchSemaphores, TenantSemaphores
from qrtrack.postgresql import database_checks, schema_revision
from qrtrack.postgresql.connections import FOR_WEBHOOKS, PLANS_KEPT, Connector, SmallPool
from qrtrack.postgresql.outages import DatabaseRefused, DatabaseUnavailable, Outages, has_state, is_full, reason_of
from qrtrack.postgresql.pools import PatientPool, open_engine
from qrtrack.postgresql.tenant_role import quoted, try_role
from qrtrack.repositories import DriverRepositories, Repositories
from qrtrack.repositories.base import DURABLE, Connection
from qrtrack.repositories.server import ServerLimits, ServerRepository
from qrtrack.settings.postgresql import parse_address
from qrtrack.settings.values import DEFAULT_TENANT_ROLE

__all__ = ["Database", "DatabaseRefused", "DatabaseUnavailable"]

# PostgreSQL reports these on a standby or a read-only server: another connection may reach a server that accepts
# writes.
READ_ONLY = ("25006",)
# A request that waits longer for a lock is answered with 503.
LOCK_SECONDS = 10
# Readiness times out after 3 s: a hung server counts as down.
READY_SECONDS = 3
# Shorter than the readiness timeout, so that readiness can report a full server as the reason.
ROOM_SECONDS = 2
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_READING = f"{BEGIN} READ ONLY"
BY_KEYS = [f"SET LOCAL {name} = {value}" for name, value in PLANS_KEPT.items()]


@dataclass(frozen=True, slots=True)
class Database:
    """Opens transactions. `request` is the request whose effect is stored under its Idempotency-Key, if it has one."""

    connector: Connector
    engine: AsyncEngine
    # The same pool in AUTOCOMMIT mode: SQLAlchemy sends no BEGIN and no COMMIT.
    unbegun: AsyncEngine
    webhooks: SmallPool
    health: SmallPool
    tenant_role: str
    tenants: TenantSemaphores
    semaphores: BatchSemaphores = field(default_factory=BatchSemaphores)
    outages: Outages = field(default_factory=Outages)
    request: RepeatableRequest | None = None

    @classmethod
    def connect(
        cls, url: str, *, pool_size: int, behind_pooler: bool = False, tenant_role: str = DEFAULT_TENANT_ROLE
    ) -> Self:
        """Raises ValueError for an address that cannot be used."""
        connector = Connector(parse_address(url), behind_pooler)
        engine = open_engine(connector, size=pool_size)
        webhooks, health = (SmallPool(connector, at_a_time=count) for count in (FOR_WEBHOOKS, 1))
        assert isinstance(engine.pool, PatientPool)
        engine.pool.on_full = webhooks.give_up_idle
        unbegun = engine.execution_options(isolation_level="AUTOCOMMIT")
        return cls(connector, engine, unbegun, webhooks, health, tenant_role, TenantSemaphores(pool_size))

    def answering(self, request: RepeatableRequest | None) -> Self:
        """Returns the same database, bound to one request that its caller may repeat."""
        return replace(self, request=request)

    @asynccontextmanager
    async def write(
        self,
        *,
        tenant: UUID | None = None,
        batch_lock: UUID | None = None,
        by_keys: bool = False,
        busy_row: UUID | None = None,
    ) -> AsyncIterator[Repositories]:
        """Opens one transaction: it commits when the block ends, and rolls back on any error.

        With `tenant`, row-level security shows and accepts only rows of this organisation. With `batch_lock`, the
        transaction waits until no other one changes the queue of this batch. The lock is a separate statement, so that
        the next one sees what the previous holder committed. `by_keys` says that every statement finds few rows by key,
        so generic index plans are forced and kept. Other transactions plan each statement anew. `busy_row` is a batch
        whose row many requests update at the same time. A semaphore limits how many of them hold a connection.
        """
        opening = _opening(self.tenant_role, tenant=tenant, batch_lock=batch_lock, by_keys=by_keys)
        async with (
            self.semaphores.acquired(lock=batch_lock, row=busy_row),
            self.tenants.acquired(tenant),
            self._transaction(opening) as (pooled, driver),
        ):
            repositories = Repositories(pooled, driver, self.request)
            if self.request is not None:
                await repositories.idempotency.open(self.request)
            yield repositories
            await repositories.flush()
            if self.request is not None:
                await repositories.idempotency.keep(self.request)

    @asynccontextmanager
    async def read(self, *, tenant: UUID | None = None) -> AsyncIterator[Repositories]:
        """Opens one READ ONLY transaction: a write in it fails."""
        opening = _opening(self.tenant_role, tenant=tenant, read_only=True)
        async with self.tenants.acquired(tenant), self._transaction(opening, writes=False) as (pooled, driver):
            repositories = Repositories(pooled, driver)
            yield repositories
            await repositories.flush()

    @asynccontextmanager
    async def autocommit(self, *, apart: bool = False) -> AsyncIterator[DriverRepositories]:
        """Lends a connection on which each statement commits by itself. This saves two of three round trips where one
        statement is enough. Behind a pooler the statement runs in the server's default isolation, so it must not depend
        on isolation.

        With `apart` it is a connection reserved for webhooks, which no other work can occupy. Behind a pooler, the
        block is then one transaction that commits when it ends. When the server is full, a connection of the main pool
        is used.
        """
        async with self._driver(apart=apart) as connection:
            yield DriverRepositories(connection)

    @asynccontextmanager
    async def _driver(self, *, apart: bool) -> AsyncIterator[Connection]:
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

    def _begun(self, connection: Connection) -> AbstractAsyncContextManager[object]:
        return connection.transaction(isolation="read_committed") if self.connector.behind_pooler else nullcontext()

    @asynccontextmanager
    async def _beside(self, pool: SmallPool, *, seconds: float | None = None) -> AsyncIterator[Connection]:
        """Lends a connection of `pool`, or one of the main pool when the server is full. Raises the server's
        refusal when none is free within `seconds`.
        """
        async with AsyncExitStack() as taken:
            try:
                connection = await taken.enter_async_context(pool.take())
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
        """Begins with the statements of `opening`, commits when the block ends, and rolls back on any error. Without
        `opening`, each statement is its own transaction. SQLAlchemy sends no BEGIN: it would cost another round trip.
        """
        with self.outages.translated():
            async with self._living() as (pooled, driver):
                try:
                    if opening:
                        await driver.execute(opening)
                    yield pooled, driver
                    if opening and await driver.execute("COMMIT") != "COMMIT":
                        raise RuntimeError("an error was ignored inside the transaction: PostgreSQL has rolled it back")
                except BaseException as error:
                    await _roll_back(pooled, driver)
                    if writes and has_state(getattr(error, "orig", error), READ_ONLY):
                        await pooled.invalidate()
                        raise DatabaseUnavailable(reason_of(error)) from error
                    raise

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
        """Returns a working connection. A server restart closes all connections of the pool; they are discarded
        here.
        """
        while True:
            async with self.unbegun.connect() as pooled:
                driver: Connection | None = (await pooled.get_raw_connection()).driver_connection
                assert driver is not None
                if not driver.is_closed():
                    yield pooled, driver
                    return
                await pooled.invalidate()

    async def migrate(self) -> str:
        """Migrates the schema to the newest revision and returns it. Raises the errors of `ready`, except
        SchemaBehind.
        """
        with self.outages.translated(quietly=True):
            return await schema_revision.migrate(self.engine, tenant_role=self.tenant_role)

    async def ready(self, *, quietly: bool = False) -> None:
        """Checks the database on a separate connection, so that a busy pool does not count as an outage. Raises
        DatabaseUnavailable, DatabaseRefused, DatabaseUnfit, SchemaBehind, SchemaNewer or TenantRoleUnusable. With
        `quietly` it logs nothing, because the caller logs the reason.
        """
        with self.outages.translated(quietly=quietly):
            async with asyncio.timeout(READY_SECONDS), self._beside(self.health, seconds=ROOM_SECONDS) as connection:
                state = await ServerRepository(connection).state()
                database_checks.refuse_encoding(state.encoding, state.database, state.quoted_user)
                await schema_revision.check_revision(connection)
                await try_role(connection, self.tenant_role)
                if state.is_read_only:
                    connection.terminate()
                    raise DatabaseUnavailable(
                        "the server takes no writes: it is a standby, or its provider has blocked writes"
                    )

    async def limits(self) -> ServerLimits:
        with self.outages.translated():
            async with self._beside(self.health) as connection:
                return await ServerRepository(connection).limits()

    @property
    def most_connections(self) -> int:
        """Returns how many connections this process may open: the pool, those for webhooks, one for readiness, one for
        LISTEN.
        """
        return self._pool.size() + FOR_WEBHOOKS + 2

    @property
    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        return pool

    def pool_use(self) -> dict[str, dict[str, int]]:
        """Returns the connections of this process by purpose and state."""
        pool = self._pool
        main = {"in_use": pool.checkedout(), "idle": pool.checkedin(), "allowed": pool.size()}
        return {"main": main, "webhooks": self.webhooks.use()}

    async def close(self) -> None:
        await self.webhooks.close()
        await self.health.close()
        await self.engine.dispose()


async def _roll_back(pooled: AsyncConnection, driver: Connection) -> None:
    """Rolls back. A connection whose ROLLBACK fails leaves the pool (it broke, or the task was cancelled again)."""
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
    """Returns BEGIN and all settings of the transaction as one query: one round trip. The settings are local to the
    transaction, since a pooler shares the session. Isolation and durability are set here, whatever the server's
    defaults are.

    Several statements in one query can have no parameters, so the UUIDs and the quoted role are part of the text.
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
