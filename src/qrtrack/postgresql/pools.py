"""SQLAlchemy's pool with our connections, for servers that allow fewer connections than the pool."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import queue

from qrtrack.postgresql.connections import PATIENCE_SECONDS, Connector
from qrtrack.postgresql.outages import is_full

# The back-off after a full server has refused a connection: for each refusal the server starts a process.
FULL_SECONDS: Final = 0.2
# Each statement is planned anew, which takes less than a millisecond. A kept plan that was made while a table was small
# can take minutes when the table has grown.
PLANNED_ANEW: Final = {"plan_cache_mode": "force_custom_plan", "jit": "off"}


class PatientPool(AsyncAdaptedQueuePool):
    """On a full server, a request takes whatever is free first: a connection that this process returns, or room on the
    server. It times out like the pool.
    """

    # Keeps SQLAlchemy's log lines about connections under its own logger.
    _sqla_logger_namespace = "sqlalchemy.pool.PatientPool"
    on_full: Callable[[], object] = staticmethod(lambda: None)
    _full_until = 0.0

    def _do_get(self) -> ConnectionPoolEntry:
        over = time.monotonic() + self._timeout
        while True:
            try:
                if time.monotonic() >= self._full_until:
                    return super()._do_get()
            except Exception as error:
                if not is_full(error) or time.monotonic() >= over:
                    raise
                self._full_until = time.monotonic() + FULL_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311
                self.on_full()
            with suppress(queue.Empty):
                return self._pool.get(True, FULL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311


def open_engine(connector: Connector, *, size: int) -> AsyncEngine:
    """Creates the engine. Its URL is only for display: `connector` opens the connections."""
    address = connector.address
    host, port = address.hosts[0]
    user = address.options.get("user")
    return create_async_engine(
        URL.create("postgresql+asyncpg", username=user, host=host, port=port, database=address.database),
        async_creator=partial(connector.connect, plans=PLANNED_ANEW),
        poolclass=PatientPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=PATIENCE_SECONDS,
        isolation_level="READ COMMITTED",
        # Parameters contain root keys and account numbers, so they must not appear in messages and tracebacks.
        hide_parameters=True,
    )
