"""The driver's own connections beside the pool, for what is a single statement: taking webhooks in, being ready."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from qrtrack.repositories.base import Connection

# Each is busy for a millisecond or two.
FOR_WEBHOOKS: Final = 8
PATIENCE_SECONDS: Final = 10
# A server that has stopped without a word is as good as away.
STATEMENT_SECONDS: Final = 20
# A machine, or the way to it, that went without a word is noticed so soon. TCP alone would send again for a quarter of
# an hour, while a new server has long taken over.
UNANSWERED_SECONDS: Final = 20
NOTICED: Final = {
    "TCP_KEEPIDLE": UNANSWERED_SECONDS // 2,
    "TCP_KEEPINTVL": UNANSWERED_SECONDS // 4,
    "TCP_KEEPCNT": 2,
    "TCP_USER_TIMEOUT": UNANSWERED_SECONDS * 1000,
}
ADDRESS: Final = frozenset({"host", "port", "user", "password", "database", "ssl"})

NOTHING_KEPT: Final = {"statement_cache_size": 0}
PLANS_KEPT: Final = {"server_settings": {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}}


class NoticingConnection(asyncpg.Connection):
    """Breaks when nobody is at the other end any more: who waits for an answer is told, and a new one is opened."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        to_server = transport.get_extra_info("socket")
        if to_server.family == socket.AF_UNIX:
            return
        to_server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in NOTICED.items():
            # Not every system has all of them.
            if hasattr(socket, option):
                to_server.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def address_of(engine: AsyncEngine) -> dict[str, Any]:
    """How the driver itself is told where the engine's database is."""
    _, options = engine.dialect.create_connect_args(engine.url)
    return {name: value for name, value in options.items() if name in ADDRESS}


class Connections:
    """A few for one purpose, opened when they are needed: a storm of webhooks takes none from everybody else, and no
    other work takes theirs. Nothing is begun on them, so each statement is a transaction of its own.

    Their statements insert, or find few rows by their keys: one plan by index serves for every size of the tables, and
    is kept. Behind a pooler nothing is.
    """

    def __init__(self, address: dict[str, Any], *, behind_pooler: bool, at_a_time: int) -> None:
        self._options = address | (NOTHING_KEPT if behind_pooler else PLANS_KEPT)
        self._options |= {"command_timeout": STATEMENT_SECONDS, "connection_class": NoticingConnection}
        self._allowed = at_a_time
        self._in_use = 0
        self._turns = asyncio.Semaphore(at_a_time)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Connection]:
        """Raises TimeoutError when all are busy for too long."""
        async with asyncio.timeout(PATIENCE_SECONDS) if self._turns.locked() else nullcontext():
            await self._turns.acquire()
        self._in_use += 1
        try:
            connection = self._living() or await asyncpg.connect(timeout=PATIENCE_SECONDS, **self._options)
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                # What it still waits for is no answer to whoever comes next.
                connection.terminate()
                raise
            finally:
                self._idle.append(connection)
        finally:
            self._in_use -= 1
            self._turns.release()

    def use(self) -> dict[str, int]:
        """How many are held by somebody, how many are free, and how many there may be."""
        return {"in_use": self._in_use, "idle": len(self._idle), "allowed": self._allowed}

    def _living(self) -> "Connection | None":
        """The one used last, so that a few do the work of quiet hours. Those that have died, as all do when the server
        starts anew, are dropped.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def close(self) -> None:
        while (connection := self._living()) is not None:
            await connection.close()
