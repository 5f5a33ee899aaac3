"""Keeps the event loop, database connections and compiled statements for the next test of this process.

In a new connection PostgreSQL reads its catalogue anew, and a new engine compiles each statement anew: together that
was half of the time of `make test`. A connection is reset before the next test gets it, as pools do.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest.mock import patch

from sqlalchemy.ext.asyncio import AsyncEngine

from qrtrack import database, runtime
from qrtrack.postgresql import pools
from qrtrack.postgresql.connections import Connector, KeptAliveConnection
from qrtrack.repositories.base import Connection
from ticking import HANG_SECONDS


class KeptLoop(asyncio.SelectorEventLoop):
    """A loop that stays open. The runner of each test cancels the tasks that are left; `close` closes nothing."""

    def close(self) -> None:
        self._asyncgens_shutdown_called = self._executor_shutdown_called = False
        self._default_executor = None


class WarmConnection(KeptAliveConnection):
    """A connection that is reset and kept when the program closes it. A broken one is closed for good."""

    shelf: "list[WarmConnection]"
    codecs: set[str]

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        if timeout is not None or self.is_closed():
            await super().close(timeout=timeout)
            return
        try:
            await self.reset(timeout=HANG_SECONDS)
        except BaseException:
            self.terminate()
            raise
        self.shelf.append(self)

    async def set_type_codec(self, typename: str, **options: Any) -> None:
        """Sets each codec only once. The engine sets its codecs whenever it takes a connection, and that would drop the
        prepared statements.
        """
        if typename not in self.codecs:
            await super().set_type_codec(typename, **options)
            self.codecs.add(typename)


LOOP = KeptLoop()
SHELVES: defaultdict[str, list[WarmConnection]] = defaultdict(list)
ENGINES: dict[str, AsyncEngine] = {}


class WarmConnector(Connector):
    async def connect(self, *, plans: Mapping[str, str] | None = None, **options: Any) -> Connection:
        # A connection that listens has no plans, and is always a new one.
        if plans is None:
            return await super().connect(**options)
        shelf = SHELVES[f"{_name_of(self)} {plans} {options}"]
        while shelf:
            if not (kept := shelf.pop()).is_closed():
                return kept
        made: Any = await super().connect(plans=plans, **options)
        made.__class__ = WarmConnection
        made.shelf, made.codecs = shelf, set()
        return cast(WarmConnection, made)


def _name_of(connector: Connector) -> str:
    address = connector.address
    return f"{address.hosts} {sorted(address.options.items())} {connector.behind_pooler}"


def _open_engine(connector: Connector, *, size: int) -> AsyncEngine:
    """Returns the same engine each time. Closing the database gives it a new pool; its compiled statements stay."""
    name = f"{_name_of(connector)} {size}"
    if name not in ENGINES:
        ENGINES[name] = pools.open_engine(connector, size=size)
    return ENGINES[name]


async def _is_checked(*_: Any) -> None:
    """Replaces a check: the database of this test process was checked when its first runtime was opened."""


@contextmanager
def warm() -> Iterator[None]:
    """A database that is opened in this block gets the connections and the engine of the previous one, and is not
    checked again: the checks were 7 statements in each of 3,000 tests. Does nothing for fixtures of a test that is no
    coroutine: they run on another loop, and no connection outlives that loop.
    """
    if asyncio.get_running_loop() is not LOOP:
        yield
        return
    with ExitStack() as patches:
        patches.enter_context(patch.object(database, "Connector", WarmConnector))
        patches.enter_context(patch.object(database, "open_engine", _open_engine))
        for check in ("_wait_for", "_log_limits", "check_printed_hosts") if ENGINES else ():
            patches.enter_context(patch.object(runtime, check, _is_checked))
        yield


def close_all() -> None:
    """Closes the kept connections and the loop at the end of the process, while the server still runs."""

    async def close() -> None:
        for kept in (kept for shelf in SHELVES.values() for kept in shelf):
            await kept.close(timeout=HANG_SECONDS)

    LOOP.run_until_complete(close())
    SHELVES.clear()
    asyncio.SelectorEventLoop.close(LOOP)
