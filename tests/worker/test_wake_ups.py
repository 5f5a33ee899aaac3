import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from accurate import DATABASE, event
from plant import Plant
from qrtrack.database import Database
from qrtrack.postgresql import wake_ups
from qrtrack.postgresql.connections import Connector
from qrtrack.postgresql.wake_ups import listen
from qrtrack.repositories.queues import CREATING, WAKE_UP_CHANNEL, WEBHOOK_EVENTS
from qrtrack.services.accurate.intake import WakeUpThrottle, receive_events
from qrtrack.services.claims import break_up_group, claim_group, release_group
from qrtrack.settings.postgresql import parse_address
from ticking import HANG_SECONDS


class Heard:
    """Counts wake-ups, and waits for the next one."""

    def __init__(self) -> None:
        self.times = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._event.set()

    async def next(self, seconds: float = HANG_SECONDS) -> None:
        await asyncio.wait_for(self._event.wait(), seconds)
        self._event.clear()


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator[Heard]:
    """From the first wake-up on: the one that comes with every connection."""
    heard = Heard()
    task = asyncio.create_task(listen(database.connector, heard))
    try:
        await heard.next()
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wake(database: Database) -> None:
    async with database.write() as repositories:
        await repositories.wake_workers(CREATING)


LISTENERS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    f" AND (query LIKE 'LISTEN {WAKE_UP_CHANNEL}%' OR query LIKE '%pg_listening_channels%')"
)


async def test_a_wake_up_is_received(database: Database) -> None:
    async with listening(database) as heard:
        await wake(database)
        await heard.next()
    assert heard.times == 2


async def test_webhooks_wake_workers_and_a_storm_of_them_seldom(database: Database) -> None:
    throttle = WakeUpThrottle()
    async with listening(database) as heard:
        body = json.dumps([event()]).encode()
        await receive_events(database, body, owners={}, forward=False, wake=throttle.due())
        await heard.next()
        assert heard.times == 2
        with patch("qrtrack.services.accurate.intake.WAKE_UP_SECONDS", 3600):
            assert not throttle.due()


@pytest.mark.parametrize("end", [release_group, break_up_group])
async def test_a_released_or_broken_up_group_wakes_workers(database: Database, end: Any) -> None:
    body = json.dumps([event()]).encode()
    await receive_events(database, body, owners={DATABASE: uuid4()}, forward=False, wake=False)
    group = await claim_group(database, WEBHOOK_EVENTS, 1, lease_seconds=30)
    async with listening(database) as heard:
        await end(database, WEBHOOK_EVENTS, group)
        await heard.next()


async def test_a_transaction_that_rolls_back_wakes_nobody(database: Database) -> None:
    async def give_up() -> None:
        async with database.write() as repositories:
            await repositories.wake_workers(CREATING)
            raise ZeroDivisionError

    async with listening(database) as heard:
        try:
            await give_up()
        except ZeroDivisionError:
            await wake(database)
        await heard.next()
        assert heard.times == 2


async def test_a_killed_listener_reconnects_and_wakes_once_for_missed_wake_ups(
    plant: Plant, database: Database
) -> None:
    with patch.object(wake_ups, "RECONNECT_SECONDS", 0.05):
        async with listening(database) as heard:
            # The listener's session may be between two of the statements that LISTENERS knows it by.
            while not (await plant.sql(f"SELECT pg_terminate_backend(pid) {LISTENERS}")):
                await asyncio.sleep(0.01)
            await heard.next()
            assert heard.times == 2
            await wake(database)
            await heard.next()
            assert heard.times == 3


async def test_a_listener_that_lost_its_channel_listens_again(plant: Plant, database: Database) -> None:
    """As behind a pooler that gives the session to somebody else."""
    connect = asyncpg.connect
    connections: list[Any] = []

    async def connect_and_show(**options: Any) -> Any:
        connection = await connect(**options)
        connections.append(connection)
        return connection

    await wake(database)  # The pool has its connection by then: those that are shown are the listener's.
    with (
        patch.object(wake_ups, "RECONNECT_SECONDS", 0.05),
        patch.object(wake_ups, "CHECK_SECONDS", 0.05),
        patch.object(asyncpg, "connect", connect_and_show),
    ):
        async with listening(database) as heard:
            while True:
                try:
                    await connections[0].execute("UNLISTEN *")
                    break
                except asyncpg.InterfaceError:  # It was just being asked.
                    await asyncio.sleep(0.001)
            await heard.next()
            await wake(database)
            await heard.next()
    assert len(connections) == 2
    assert connections[0].is_closed()


@pytest.mark.parametrize("error", [ConnectionRefusedError(), asyncpg.InternalClientError("killed at this moment")])
async def test_a_listener_without_a_database_keeps_connecting(database: Database, error: Exception) -> None:
    nowhere = Connector(parse_address("postgresql://nobody@127.0.0.1:1/nothing"))
    heard = Heard()
    attempts: list[object] = []
    enough = asyncio.Event()

    async def refused(**options: object) -> object:
        attempts.append(options)
        if len(attempts) == 3:
            enough.set()
        raise error

    with (
        patch.object(wake_ups, "RECONNECT_SECONDS", 0.01),
        patch.object(asyncpg, "connect", refused),
        capture_logs() as logs,
    ):
        task = asyncio.create_task(listen(nowhere, heard))
        await asyncio.wait_for(enough.wait(), HANG_SECONDS)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert heard.times == 0
    assert len(logs) == 1, "an outage is said once, and not at every attempt"


async def test_a_listener_that_is_cancelled_leaves_no_connection(plant: Plant, database: Database) -> None:
    async with listening(database):
        pass
    async with asyncio.timeout(HANG_SECONDS):
        while await plant.sql(f"SELECT pid {LISTENERS}"):
            await asyncio.sleep(0.01)
