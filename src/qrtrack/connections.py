"""Opens connections, and keeps the small pools beside the main one: for webhooks and for readiness."""

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

# A webhook needs one for a millisecond or two.
FOR_WEBHOOKS: Final = 8
PATIENCE_SECONDS: Final = 10
# A statement on a hung server times out.
STATEMENT_SECONDS: Final = 20
# TCP keepalive detects a dead peer within 20 s. Without it TCP retransmits for 15 minutes, while a new server has long
# taken over.
UNANSWERED_SECONDS: Final = 20
KEEPALIVE: Final = {
    "TCP_KEEPIDLE": UNANSWERED_SECONDS // 2,
    "TCP_KEEPINTVL": UNANSWERED_SECONDS // 4,
    "TCP_KEEPCNT": 2,
    "TCP_USER_TIMEOUT": UNANSWERED_SECONDS * 1000,
}
# After these errors the next host is tried.
NOT_THIS_HOST: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
# The server's errors for an unknown setting or argument in `options`.
UNKNOWN_SETTING: Final = (asyncpg.PostgresSyntaxError, asyncpg.UndefinedObjectError, asyncpg.DataError)
PLANS_KEPT: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}


class KeptAliveConnection(asyncpg.Connection):
    """Fails when its peer is dead, so that whoever waits for an answer gets an error."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.transport = transport
        to_server = transport.get_extra_info("socket")
        if to_server.family == socket.AF_UNIX:
            return
        to_server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            # Not every operating system has all of them.
            if hasattr(socket, option):
                to_server.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens every connection of the program: each gets all options of DATABASE_URL."""

    address: PostgresAddress
    behind_pooler: bool = False

    async def connect(self, *, plans: Mapping[str, str] | None = None, **options: Any) -> Connection:
        """Tries the hosts in order. `plans`: settings of the session, which a pooler refuses.

        A statement outside of a transaction runs in READ COMMITTED, too; behind a pooler, which refuses start-up
        settings, in the server's default isolation.
        """
        settings = dict(self.address.server_settings)
        if self.behind_pooler:
            # A prepared statement does not outlive its transaction there.
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


class Connections:
    """A small pool for one purpose, filled on demand: a storm of webhooks cannot occupy the main pool, and other work
    cannot delay webhooks. Each statement commits by itself.

    All statements insert, or find few rows by key, so generic index plans are forced and kept (not behind a pooler).

    asyncpg's own pool needs an event loop to be made, cannot close its idle connections at once to make room on a full
    server, and resets each connection in another round trip.
    """

    def __init__(self, connector: Connector, *, at_a_time: int) -> None:
        self._connector = connector
        self._allowed = at_a_time
        self._in_use = 0
        self._permits = asyncio.Semaphore(at_a_time)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Connection]:
        """Raises TimeoutError when all are busy for too long."""
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
                # A late answer must not reach the next user.
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
        """The connection used last, so that quiet hours need few. Drops those that a server restart has closed."""
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
