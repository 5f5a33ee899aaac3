"""Transactions: the only code that begins and commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from qrtrack import schema_revision
from qrtrack.connections import FOR_WEBHOOKS, Connections, NoticingConnection, address_of
from qrtrack.domain.errors import DomainError, Unavailable
from qrtrack.domain.requests import RepeatableRequest
from qrtrack.repositories import Repositories
from qrtrack.repositories.base import Connection
from qrtrack.repositories.constraints import domain_error
from qrtrack.turns import BatchTurns

# SQLSTATE classes and codes that mean "not now": connection lost, no room, cancelled or shutting down, deadlock, lock
# timeout.
PASSING = ("08", "53", "57", "40001", "40P01", "55P03")
# Wrong user or password, no such database.
REFUSING = ("28", "3D")
# A standby, or a server whose provider holds writes back: another connection may find one that takes them.
READ_ONLY = ("25006",)
# A request that has waited so long for a lock is told to come again.
LOCK_SECONDS = 10
# Who asks whether the service is ready waits no longer: a server that has stopped without a word is as good as away.
READY_SECONDS = 3
BY_KEYS = ("SET LOCAL plan_cache_mode = force_generic_plan", "SET LOCAL enable_seqscan = off")


class DatabaseUnavailable(Unavailable):
    """No answer from PostgreSQL, or no free connection in time."""

    slug = "database-unavailable"
    title = "The database cannot be reached"

    def __init__(self) -> None:
        super().__init__("The database cannot answer at the moment. Try again in a few seconds.")


class DatabaseRefused(Unavailable):
    """There is a PostgreSQL, but not for this user, password or database: waiting does not help."""

    slug = "database-refused"
    title = "The database refuses the service"

    def __init__(self, reason: BaseException | None) -> None:
        super().__init__(f"The database refuses the service ({reason}): correct DATABASE_URL.")


@dataclass(frozen=True, slots=True)
class Database:
    """Opens transactions. `request` makes the first effect of a request repeatable (Idempotency-Key)."""

    engine: AsyncEngine
    # The same pool, where SQLAlchemy begins and commits nothing.
    unbegun: AsyncEngine
    webhooks: Connections
    health: Connections
    turns: BatchTurns = field(default_factory=BatchTurns)
    request: RepeatableRequest | None = None

    @classmethod
    def connect(cls, url: str, *, pool_size: int, behind_pooler: bool = False) -> Self:
        """Behind PgBouncer in transaction mode no statement outlives its transaction: asyncpg's cache is off there."""
        arguments: dict[str, Any] = {"timeout": 10, "connection_class": NoticingConnection}
        if behind_pooler:
            arguments["statement_cache_size"] = 0
        else:
            # A plan that was kept from when a table was small can take minutes once it is not; planning takes less
            # than a millisecond. Behind a pooler nothing is kept, and settings at the start are refused.
            arguments["server_settings"] = {"plan_cache_mode": "force_custom_plan", "jit": "off"}
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            connect_args=arguments,
            # Values are root keys and account numbers: they stay out of every message and trace.
            hide_parameters=True,
        )
        unbegun = engine.execution_options(isolation_level="AUTOCOMMIT")
        webhooks, health = (
            Connections(address_of(engine), behind_pooler=behind_pooler, at_a_time=count) for count in (FOR_WEBHOOKS, 1)
        )
        return cls(engine, unbegun, webhooks, health)

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
        opening = _opening(tenant=tenant, batch_lock=batch_lock, by_keys=by_keys)
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
        async with self._transaction(_opening(tenant=tenant, read_only=True), writes=False) as (pooled, driver):
            repositories = Repositories(pooled, driver)
            yield repositories
            await repositories.flush()

    @asynccontextmanager
    async def autocommit(self, *, apart: bool = False) -> AsyncIterator[Connection]:
        """The driver's own connection, where each statement is a transaction that is committed when it returns: for the
        paths of one statement, which would otherwise be three round trips.

        `apart`: one of those for webhooks, which no other work can hold up.
        """
        if not apart:
            async with self._transaction(None) as (_, driver):
                yield driver
            return
        async with _in_words_of_the_trade(), self.webhooks.take() as connection:
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError as error:
                connection.terminate()
                raise DatabaseUnavailable from error

    @asynccontextmanager
    async def _transaction(
        self, opening: str | None, *, writes: bool = True
    ) -> AsyncIterator[tuple[AsyncConnection, Connection]]:
        """Begun by the statements of `opening`, committed on leaving, rolled back on any error. Without any, each
        statement is a transaction of its own.

        SQLAlchemy would begin in a round trip of its own.
        """
        async with _in_words_of_the_trade(), self._living() as (pooled, driver):
            try:
                if opening:
                    await driver.execute(opening)
                yield pooled, driver
                if opening and await driver.execute("COMMIT") != "COMMIT":
                    raise RuntimeError("an error was passed over in the transaction: PostgreSQL has rolled it back")
            except BaseException as error:
                await _roll_back(pooled, driver)
                if writes and _has_state(getattr(error, "orig", error), READ_ONLY):
                    await pooled.invalidate()
                    raise DatabaseUnavailable from error
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

    async def ready(self) -> dict[str, Any]:
        """On a connection of its own: it says how the database is, and not how busy the pool. Raises
        DatabaseUnavailable, DatabaseRefused or SchemaBehind.
        """
        try:
            async with asyncio.timeout(READY_SECONDS), _in_words_of_the_trade(), self.health.take() as connection:
                await schema_revision.check_revision(connection)
                if await connection.fetchval("SHOW transaction_read_only") == "on":
                    connection.terminate()
                    raise DatabaseUnavailable
        except TimeoutError as error:
            raise DatabaseUnavailable from error
        return {"database": "ok", "schema": "ok"}

    def pool_use(self) -> dict[str, dict[str, int]]:
        """Connections of this process, by what they are for and what they are doing."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
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


@asynccontextmanager
async def _in_words_of_the_trade() -> AsyncIterator[None]:
    """Raises DatabaseUnavailable, DatabaseRefused, or the refusal that a violated constraint stands for."""
    try:
        yield
    except DBAPIError as error:
        refusal = DatabaseUnavailable() if error.connection_invalidated else _refusal(error.orig)
        if refusal is None:
            raise
        raise refusal from error
    except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error
    except (PoolTimeout, OSError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable from error


def _refusal(reported: BaseException | None) -> DomainError | None:
    """None for a defect of the program."""
    if _is_passing(reported):
        return DatabaseUnavailable()
    if _has_state(reported, REFUSING):
        return DatabaseRefused(reported)
    return domain_error(reported) or domain_error(getattr(reported, "__cause__", None))


def _is_passing(error: BaseException | None) -> bool:
    """Not now. So is a connection that was killed, between the moment its driver has heard of it and that of its end:
    the driver calls any use of it a failure of its own.
    """
    if any(isinstance(one, asyncpg.InternalClientError) for one in (error, getattr(error, "__cause__", None))):
        return True
    return _has_state(error, PASSING)


def _has_state(error: BaseException | None, classes: tuple[str, ...]) -> bool:
    sqlstate = getattr(error, "sqlstate", None)
    return isinstance(sqlstate, str) and sqlstate.startswith(classes)


def _opening(
    *, tenant: UUID | None = None, batch_lock: UUID | None = None, by_keys: bool = False, read_only: bool = False
) -> str:
    """Begins a transaction and sets what holds for it only, in one round trip: behind a pooler a session is nobody's.

    It takes no parameters, since several statements can have none; what stands in it are ids, written as ids are.
    """
    steps = ["BEGIN READ ONLY" if read_only else "BEGIN"]
    if by_keys:
        steps += BY_KEYS
    if tenant is not None:
        steps += [
            f"SET LOCAL qrtrack.org = '{_written(tenant)}'",
            "SET LOCAL ROLE qrtrack_tenant",
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'",
        ]
    if batch_lock is not None:
        steps.append(f"SELECT pg_advisory_xact_lock(hashtextextended('batch {_written(batch_lock)}', 0))")
    return "; ".join(steps)


def _written(identity: UUID) -> str:
    return str(UUID(int=identity.int))
