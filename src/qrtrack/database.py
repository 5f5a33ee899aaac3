"""Transactions: the only code that begins and commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from qrtrack import schema_revision
from qrtrack.connections import FOR_WEBHOOKS, Connection, Connections, NoticingConnection, address_of
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.requests import RepeatableRequest
from qrtrack.repositories import Repositories
from qrtrack.repositories.constraints import domain_error

# SQLSTATE classes and codes that mean "not now": connection lost, no room, shutting down, deadlock, lock timeout.
PASSING = ("08", "53", "57P", "40001", "40P01", "55P03")
# Wrong user or password, no such database.
REFUSING = ("28", "3D")
# A request that has waited so long for a lock is told to come again.
LOCK_SECONDS = 10
# Who asks whether the service is ready waits no longer: a server that has stopped without a word is as good as away.
READY_SECONDS = 3
# How many of a process go for a batch's lock at a time, and for its row: there the next ones do their work before it.
LOCK_TURNS = 2
ROW_TURNS = 4
BY_KEYS = ("set_config('plan_cache_mode', 'force_generic_plan', true)", "set_config('enable_seqscan', 'off', true)")


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


class BatchTurns:
    """Who of this process may go for what many want at once: a batch's lock, or its row.

    A few at a time hold a connection for it: one that has it, and who comes next. All others wait here, without one: a
    busy batch must not take the pool from everybody else.
    """

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, batch_id: UUID | None, *, at_a_time: int) -> AsyncIterator[None]:
        if batch_id is None:
            yield
            return
        async with self._turns.setdefault(batch_id, asyncio.Semaphore(at_a_time)):
            yield


@dataclass(frozen=True, slots=True)
class Database:
    """Opens transactions. `request` makes the first effect of a request repeatable (Idempotency-Key)."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
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
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        webhooks, health = (
            Connections(address_of(engine), behind_pooler=behind_pooler, at_a_time=count) for count in (FOR_WEBHOOKS, 1)
        )
        return cls(engine, sessions, webhooks, health)

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
        async with self._turn(batch_lock, turn), self._transaction() as session:
            await _bind(session, tenant=tenant, batch_lock=batch_lock, by_keys=by_keys)
            repositories = Repositories(session, self.request)
            if self.request is not None:
                await repositories.idempotency.open(self.request)
            yield repositories
            if self.request is not None:
                await repositories.idempotency.keep(self.request)

    @asynccontextmanager
    async def read(self, *, tenant: UUID | None = None) -> AsyncIterator[Repositories]:
        """One READ ONLY transaction: a stray write fails."""
        async with self._transaction() as session:
            await _bind(session, tenant=tenant, read_only=True)
            yield Repositories(session)

    @asynccontextmanager
    async def direct(self, *, tenant: UUID | None = None, by_keys: bool = False) -> AsyncIterator[Connection]:
        """One write transaction on the driver's own connection, for the paths where SQLAlchemy's share is felt.

        The pool does not see what happens to a connection here, so one that broke is taken out of it by hand.
        """
        async with _in_words_of_the_trade(), self.engine.connect() as pooled:
            driver = await _living_driver(pooled)
            try:
                async with driver.transaction():
                    if tenant is not None:
                        steps = [*_tenant_steps("$1"), *(BY_KEYS if by_keys else ())]
                        await driver.execute(f"SELECT {', '.join(steps)}", str(tenant))
                    yield driver
            finally:
                if driver.is_closed():
                    await pooled.invalidate()

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """The driver's own connection, where each statement is a transaction that is committed when it returns: for the
        path that is one insert, and would otherwise be three round trips.
        """
        async with _in_words_of_the_trade(), self.webhooks.take() as connection:
            yield connection

    def _turn(self, batch_lock: UUID | None, turn: UUID | None) -> AbstractAsyncContextManager[None]:
        if batch_lock is not None:
            return self.turns.take(batch_lock, at_a_time=LOCK_TURNS)
        return self.turns.take(turn, at_a_time=ROW_TURNS)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        async with _in_words_of_the_trade(), self.sessions() as session, session.begin():
            yield session

    async def ready(self) -> dict[str, Any]:
        """On a connection of its own: it says how the database is, and not how busy the pool. Raises
        DatabaseUnavailable, DatabaseRefused or SchemaBehind.
        """
        try:
            async with asyncio.timeout(READY_SECONDS), _in_words_of_the_trade(), self.health.take() as connection:
                await schema_revision.check_revision(connection)
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


async def _living_driver(pooled: AsyncConnection) -> Connection:
    """The driver's connection; one that died in the pool, as all do when the server starts anew, is replaced."""
    driver: Connection | None = (await pooled.get_raw_connection()).driver_connection
    assert driver is not None
    if driver.is_closed():
        await pooled.invalidate()
        driver = (await pooled.get_raw_connection()).driver_connection
        assert driver is not None
    return driver


@asynccontextmanager
async def _in_words_of_the_trade() -> AsyncIterator[None]:
    """Raises DatabaseUnavailable, or the refusal that a violated constraint stands for."""
    try:
        yield
    except DBAPIError as error:
        refusal = DatabaseUnavailable() if error.connection_invalidated else _trouble(error.orig) or domain_error(error)
        if refusal is None:
            raise
        raise refusal from error
    except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        trouble = _trouble(error)
        if trouble is None:
            raise
        raise trouble from error
    except (PoolTimeout, OSError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable from error


def _trouble(error: BaseException | None) -> Unavailable | None:
    """What is the matter with the server, where the statement is not to blame."""
    if _is_passing(error):
        return DatabaseUnavailable()
    return DatabaseRefused(error) if _has_state(error, REFUSING) else None


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


async def _bind(
    session: AsyncSession,
    *,
    tenant: UUID | None = None,
    batch_lock: UUID | None = None,
    by_keys: bool = False,
    read_only: bool = False,
) -> None:
    """Sets what holds for this transaction only, in one round trip: behind a pooler a session is nobody's."""
    steps: list[str] = []
    values: dict[str, str] = {}
    if read_only:
        steps.append("set_config('transaction_read_only', 'on', true)")
    if by_keys:
        steps += BY_KEYS
    if tenant is not None:
        steps += _tenant_steps(":tenant")
        values["tenant"] = str(tenant)
    if batch_lock is not None:
        steps.append("pg_advisory_xact_lock(hashtextextended(:batch, 0))")
        values["batch"] = f"batch {batch_lock}"
    if steps:
        await session.execute(text(f"SELECT {', '.join(steps)}"), values)


def _tenant_steps(tenant: str) -> tuple[str, ...]:
    """`tenant` is how the parameter is written: each of the two ways to the database has its own."""
    return (
        f"set_config('qrtrack.org', {tenant}, true)",
        "set_config('role', 'qrtrack_tenant', true)",
        f"set_config('lock_timeout', '{LOCK_SECONDS}s', true)",
    )
