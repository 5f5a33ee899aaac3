"""What every repository is made of: SQL in, rows out, one session; or the driver's own connection, where it is hot."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import CursorResult, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

prepared = lru_cache(maxsize=512)(text)


# For the rest of the transaction. Connections of ours plan each statement anew; a foreign key is checked by a statement
# of its own for each row, and planning that one 10,000 times takes longer than inserting the rows.
KEEP_PLANS = "set_config('plan_cache_mode', 'auto', true)"


# A commit waits for the disk at least: with the server's or database's `synchronous_commit = off` a crash would undo
# what was answered, and a settlement that was sent would be sent again. What is stronger (`remote_apply`) stays.
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)


class Repository:
    """Bound to the session of one transaction. Without a tenant bound to it, statements see every organisation."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _rows(self, sql: str, **values: Any) -> Sequence[Row[Any]]:
        return (await self._session.execute(prepared(sql), values)).all()

    async def _row(self, sql: str, **values: Any) -> Row[Any]:
        return (await self._session.execute(prepared(sql), values)).one()

    async def _row_or_none(self, sql: str, **values: Any) -> Row[Any] | None:
        return (await self._session.execute(prepared(sql), values)).one_or_none()

    async def _scalar(self, sql: str, **values: Any) -> Any:
        return (await self._session.execute(prepared(sql), values)).scalar_one_or_none()

    async def _run(self, sql: str, **values: Any) -> int:
        """Rows touched."""
        result = await self._session.execute(prepared(sql), values)
        assert isinstance(result, CursorResult)
        return result.rowcount
