"""Wakes workers by LISTEN/NOTIFY when work is queued. Optional: without it, workers find the work at their next
poll.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import asyncpg
import structlog

from qrtrack.postgresql.connections import Connector
from qrtrack.postgresql.outages import reason_of
from qrtrack.repositories.queues import WAKE_UP_CHANNEL

CHECK_SECONDS = 10.0
RECONNECT_SECONDS = 1.0
STILL_LISTENING = "SELECT count(*) FROM pg_listening_channels()"

log = structlog.get_logger()


async def listen(connector: Connector, on_wake_up: Callable[[], None]) -> None:
    """Calls `on_wake_up` for each NOTIFY, and after each reconnection, since notifications may have been missed. Runs
    until cancelled.

    Checks every ten seconds that the connection still listens: a pooler in between can take the session away.
    """
    is_logged = False
    while True:
        try:
            connection, lost = await connector.connect(), asyncio.Event()
            try:
                connection.add_termination_listener(partial(_set, lost))
                await connection.add_listener(WAKE_UP_CHANNEL, lambda *_: on_wake_up())
                on_wake_up()
                is_logged = False
                while not lost.is_set() and await connection.fetchval(STILL_LISTENING, timeout=5):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(lost.wait(), CHECK_SECONDS)
            finally:
                connection.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            if not is_logged:
                log.info("LISTEN failed: workers poll until it works again", reason=reason_of(error))
            is_logged = True
        await asyncio.sleep(RECONNECT_SECONDS)


def _set(event: asyncio.Event, _connection: object) -> None:
    event.set()
