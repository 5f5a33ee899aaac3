"""The one way to a connection, and the connections beside the pool: taking webhooks in, being ready."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from qrtrack.outages import DatabaseRefused, reason_of
from qrtrack.repositories.base import Connection
from qrtrack.settings.postgresql import PostgresAddress

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
# Errors after which the next host is tried.
NOT_THIS_HOST: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
# What the server says of a setting or an argument in `options` that it does not know.
UNKNOWN_SETTING: Final = (asyncpg.PostgresSyntaxError, asyncpg.UndefinedObjectError, asyncpg.DataError)
PLANS_KEPT: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}


class NoticingConnection(asyncpg.Connection):
    """Breaks when nobody is at the other end any more: who waits for an answer is told, and a new one is opened."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.transport = transport
        to_server = transport.get_extra_info("socket")
        if to_server.family == socket.AF_UNIX:
            return
        to_server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in NOTICED.items():
            # Not every system has all of them.
            if hasattr(socket, option):
                to_server.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens every connection of the program, so that each gets the whole address."""

    address: PostgresAddress
    behind_pooler: bool = False

    async def connect(self, *, plans: Mapping[str, str] | None = None, **options: Any) -> Connection:
        """Tries the hosts in their order. `plans`: settings of the session, which a pooler refuses.

        A statement outside of a transaction runs in READ COMMITTED too. Behind a pooler such statements must not rest
        on that: there is no setting at the start.
        """
        settings = dict(self.address.server_settings)
        if self.behind_pooler:
            # No statement outlives its transaction there.
            options["statement_cache_size"] = 0
        else:
            settings = {"application_name": "qrtrack", **settings, **(plans or {})}
            settings["default_transaction_isolation"] = "read committed"
        options |= {**self.address.options, "server_settings": settings, "connection_class": NoticingConnection}
        failures: list[str] = []
        for host, port in self.address.hosts:
            try:
                return await asyncpg.connect(host=host, port=port, timeout=self.address.seconds, **options)
            except NOT_THIS_HOST as error:
                if len(self.address.hosts) == 1:
                    raise
                failures.append(f"{host}: {reason_of(error)}")
            except UNKNOWN_SETTING as error:
                raise DatabaseRefused(reason_of(error), "correct options in DATABASE_URL") from error
        raise ConnectionError("; ".join(failures))


class Connections:
    """A few for one purpose, opened when they are needed: a storm of webhooks takes none from everybody else, and no
    other work takes theirs. Nothing is begun on them, so each statement is a transaction of its own.

    Their statements insert, or find few rows by their keys: one plan by index serves for every size of the tables, and
    is kept. Behind a pooler nothing is.
    """

    def __init__(self, connector: Connector, *, at_a_time: int) -> None:
        self._connector = connector
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
            connection = self._living() or await self._connector.connect(
                plans=PLANS_KEPT, command_timeout=STATEMENT_SECONDS
            )
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

    def give_up_idle(self) -> None:
        """Makes room on a server that has none for another connection."""
        while (connection := self._living()) is not None:
            connection.terminate()

    async def close(self) -> None:
        while (connection := self._living()) is not None:
            await connection.close()
