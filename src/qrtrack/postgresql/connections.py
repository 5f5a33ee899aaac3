"""Opens connections to PostgreSQL, and keeps the small pools beside the main one: for webhooks and for readiness."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from qrtrack.postgresql.outages import DatabaseRefused, reason_of
from qrtrack.repositories.base import Connection
from qrtrack.settings.postgresql import PostgresAddress

# A webhook holds a connection for one or two milliseconds.
FOR_WEBHOOKS: Final = 8
PATIENCE_SECONDS: Final = 10
# In the small pools, a statement on a hung server times out after this.
STATEMENT_SECONDS: Final = 20
# TCP keepalive detects a dead peer within 20 s. Without it, TCP retransmits for 15 minutes, although a standby has
# taken over long before.
UNANSWERED_SECONDS: Final = 20
KEEPALIVE: Final = {
    "TCP_KEEPIDLE": UNANSWERED_SECONDS // 2,
    "TCP_KEEPINTVL": UNANSWERED_SECONDS // 4,
    "TCP_KEEPCNT": 2,
    "TCP_USER_TIMEOUT": UNANSWERED_SECONDS * 1000,
}
# After these errors the connector tries the next host.
NOT_THIS_HOST: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
# The errors of a server that does not know a setting or argument in `options`.
UNKNOWN_SETTING: Final = (asyncpg.PostgresSyntaxError, asyncpg.UndefinedObjectError, asyncpg.DataError)
PLANS_KEPT: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}


class KeptAliveConnection(asyncpg.Connection):
    """A connection with TCP keepalive: when the peer is dead, the waiting caller gets an error."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.transport = transport
        to_server = transport.get_extra_info("socket")
        if to_server.family == socket.AF_UNIX:
            return
        to_server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            # Some operating systems lack some of these options.
            if hasattr(socket, option):
                to_server.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens every connection of the program, each with all options of DATABASE_URL."""

    address: PostgresAddress
    behind_pooler: bool = False

    async def connect(self, *, plans: Mapping[str, str] | None = None, **options: Any) -> Connection:
        """Tries the hosts in order. `plans` are settings of the session. A pooler refuses them, so they are not sent to
        a pooler.

        Statements outside of a transaction run in READ COMMITTED. Behind a pooler, which refuses start-up settings,
        they run in the server's default isolation.
        """
        settings = dict(self.address.server_settings)
        if self.behind_pooler:
            # Behind a pooler, a prepared statement does not outlive its transaction.
            options["statement_cache_size"] = 0
        else:
            settings = {"application_name": "qrtrack", **settings, **(plans or {})}
            settings["default_transaction_isolation"] = "read committed"
        options |= {**self.address.options, "server_settings": settings, "connection_class": KeptAliveConnection}
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


class SmallPool:
    """A pool for one purpose, filled on demand: a burst of webhooks cannot occupy the main pool, and other work
    cannot delay webhooks. Each statement commits by itself.

    Every statement inserts or finds few rows by key, so generic index plans are forced and kept (not behind a pooler).

    asyncpg's own pool does not fit: it needs an event loop to be created, cannot close its idle connections at once to
    make room on a full server, and resets each connection with an extra round trip.
    """

    def __init__(self, connector: Connector, *, at_a_time: int) -> None:
        self._connector = connector
        self._allowed = at_a_time
        self._in_use = 0
        self._permits = asyncio.Semaphore(at_a_time)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Connection]:
        """Lends a connection for the block. Raises TimeoutError when all stay busy for too long."""
        async with asyncio.timeout(PATIENCE_SECONDS) if self._permits.locked() else nullcontext():
            await self._permits.acquire()
        self._in_use += 1
        try:
            connection = self._living() or await self._connector.connect(
                plans=PLANS_KEPT, command_timeout=STATEMENT_SECONDS
            )
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                # The answer of an interrupted statement must not reach the next user of the connection.
                connection.terminate()
                raise
            finally:
                self._idle.append(connection)
        finally:
            self._in_use -= 1
            self._permits.release()

    def use(self) -> dict[str, int]:
        return {"in_use": self._in_use, "idle": len(self._idle), "allowed": self._allowed}

    def _living(self) -> "Connection | None":
        """Returns the connection that was used last, so that few stay busy in quiet hours. Drops connections that a
        server restart has closed.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def give_up_idle(self) -> None:
        """Closes idle connections, to make room on a full server."""
        while (connection := self._living()) is not None:
            connection.terminate()

    async def close(self) -> None:
        while (connection := self._living()) is not None:
            await connection.close()
