"""The two bases of all repositories: on SQLAlchemy's session, and on the driver's connection for hot paths.

Both take SQL with named parameters (`:batch_id`) and return NamedTuples: `class FoundCode(NamedTuple)` names the
columns of its query, in their order. A query whose columns differ from the fields raises TypeError on its first row.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import asyncpg
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from qrtrack.domain.claims import Claim, LeaseLost
from qrtrack.domain.errors import DomainError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

prepared = lru_cache(maxsize=512)(text)

NAMED_PARAMETER: Final = re.compile(r"(?<!:):([a-z_]+)")


TypedRowT = TypeVar("TypedRowT", bound=NamedTuple)
FirstRowT = TypeVar("FirstRowT", bound=NamedTuple)
ValueT = TypeVar("ValueT")

# Keeps plans for the rest of the transaction. By default our connections plan each statement anew. A foreign key is
# checked by one statement for each row, and planning it 10,000 times takes longer than inserting the rows.
KEEP_PLANS = "set_config('plan_cache_mode', 'auto', true)"


# Makes the commit wait for the disk. With the server's `synchronous_commit = off`, a crash would undo what was
# answered, and a sent settlement would be sent again. Stronger settings (`remote_apply`) stay.
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)


class TypedQueries(ABC):
    """The queries that both bases share. Each base implements the abstract ones for its own connection."""

    @abstractmethod
    async def _fetch_all(self, kind: type[TypedRowT], sql: str, /, **values: Any) -> list[TypedRowT]: ...

    @abstractmethod
    async def _fetch_scalar(self, sql: str, /, **values: Any) -> Any:
        """Returns the first column of the row, or None without a row."""

    @abstractmethod
    async def _execute(self, sql: str, /, **values: Any) -> int:
        """Returns the number of changed rows."""

    async def _fetch_optional(self, kind: type[TypedRowT], sql: str, /, **values: Any) -> TypedRowT | None:
        """Returns the row, or None. More than one row raises ValueError."""
        rows = await self._fetch_all(kind, sql, **values)
        if len(rows) > 1:
            raise ValueError(MORE_THAN_ONE)
        return rows[0] if rows else None

    async def _fetch_one(self, kind: type[TypedRowT], sql: str, /, **values: Any) -> TypedRowT:
        """Returns the row of a statement that always returns exactly one."""
        (row,) = await self._fetch_all(kind, sql, **values)
        return row

    async def _fetch_existing(
        self, kind: type[TypedRowT], sql: str, missing: DomainError, /, **values: Any
    ) -> TypedRowT:
        """Returns the row. Raises `missing` without one."""
        row = await self._fetch_optional(kind, sql, **values)
        if row is None:
            raise missing
        return row

    async def _find_value(self, kind: type[ValueT], sql: str, /, **values: Any) -> ValueT | None:
        """Returns the first column of the row. Returns None without a row, and for NULL."""
        value = await self._fetch_scalar(sql, **values)
        return None if value is None else _checked(kind, value)

    async def _fetch_value(self, kind: type[ValueT], sql: str, /, **values: Any) -> ValueT:
        """Returns the first column of a statement that always returns one row, without NULL."""
        return _checked(kind, await self._fetch_scalar(sql, **values))

    async def _lock(self, name: str) -> None:
        """Takes the advisory lock of the name until the transaction ends."""
        await self._execute("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=name)


class Repository(TypedQueries):
    """Bound to the session of one transaction. If the transaction has no organisation, statements see the rows of
    all.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _fetch_all(self, kind: type[TypedRowT], sql: str, /, **values: Any) -> list[TypedRowT]:
        result = await self._session.execute(prepared(sql), values)
        _check_columns(kind, sql, tuple(result.keys()))
        return [kind._make(row) for row in result]

    async def _fetch_scalar(self, sql: str, /, **values: Any) -> Any:
        return (await self._session.execute(prepared(sql), values)).scalar_one_or_none()

    async def _fetch_values(self, kind: type[ValueT], sql: str, /, **values: Any) -> list[ValueT]:
        """Returns the first column of all rows, without NULL."""
        return [_checked(kind, value) for value in (await self._session.execute(prepared(sql), values)).scalars()]

    async def _execute(self, sql: str, /, **values: Any) -> int:
        """Returns the number of changed rows."""
        result = await self._session.execute(prepared(sql), values)
        assert isinstance(result, CursorResult)
        return result.rowcount

    async def _execute_fenced(self, claim: Claim, sql: str, /, **values: Any) -> None:
        """Changes the claimed row: `… WHERE id = :id AND lease_token = :lease_token AND status = 'running'`.

        Raises LeaseLost when no row matches: another worker has claimed the work, or somebody has cancelled, requeued
        or deleted it.
        """
        if await self._execute(sql, id=claim.id, lease_token=claim.token, **values) == 0:
            raise LeaseLost(claim)


class DriverRepository(TypedQueries):
    """Bound to the driver's connection: for statements that run often, as at every scan or webhook, and for COPY."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def _fetch_records(self, sql: str, /, **values: Any) -> Sequence["asyncpg.Record"]:
        statement, names = _numbered(sql)
        return await self._connection.fetch(statement, *(values[name] for name in names))

    async def _fetch_all(self, kind: type[TypedRowT], sql: str, /, **values: Any) -> list[TypedRowT]:
        rows = await self._fetch_records(sql, **values)
        if rows:
            _check_columns(kind, sql, tuple(rows[0].keys()))
        return [kind._make(row) for row in rows]

    async def _fetch_pairs(
        self, first: type[FirstRowT], second: type[TypedRowT], sql: str, /, **values: Any
    ) -> list[tuple[FirstRowT, TypedRowT]]:
        """Returns each row as two: its first columns, and its other columns."""
        rows, width = await self._fetch_records(sql, **values), len(first._fields)
        if rows:
            columns = tuple(rows[0].keys())
            _check_columns(first, sql, columns[:width])
            _check_columns(second, sql, columns[width:])
        return [(first._make(row[:width]), second._make(row[width:])) for row in rows]

    async def _fetch_scalar(self, sql: str, /, **values: Any) -> Any:
        statement, names = _numbered(sql)
        return await self._connection.fetchval(statement, *(values[name] for name in names))

    async def _execute(self, sql: str, /, **values: Any) -> int:
        """Returns the number of changed rows."""
        statement, names = _numbered(sql)
        status = await self._connection.execute(statement, *(values[name] for name in names))
        return rows_in(status)


MORE_THAN_ONE: Final = "the query returned more than one row"


def rows_in(status: str) -> int:
    """Returns the number of rows in the driver's status of a statement (`UPDATE 3`)."""
    return int(status.rpartition(" ")[2])


@lru_cache(maxsize=512)
def _check_columns(kind: type[NamedTuple], sql: str, columns: tuple[str, ...]) -> None:
    if columns != kind._fields:
        raise TypeError(f"{kind.__name__} has the fields {kind._fields}, its query the columns {columns}: {sql}")


def _checked(kind: type[ValueT], value: Any) -> ValueT:
    if not isinstance(value, kind):
        raise TypeError(f"the query returned {value!r} instead of {kind.__name__}")
    return value


@cache
def _numbered(sql: str) -> tuple[str, Sequence[str]]:
    """Returns the statement with numbered parameters, as the driver needs it, and the names in the order of the
    numbers.
    """
    places: dict[str, int] = {}
    statement = NAMED_PARAMETER.sub(lambda found: f"${places.setdefault(found[1], len(places) + 1)}", sql)
    return statement, tuple(places)
