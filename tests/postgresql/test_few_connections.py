"""A server that allows fewer connections than a process may open: requests wait for a connection, and fail only after
the pool's timeout.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest
from sqlalchemy import make_url

from process import TENANT_ROLE
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.postgresql import pools
from test_database import run
from ticking import HANG_SECONDS

ALLOWED = 3


@pytest.fixture
async def crowded(database: Database, migrated_url: str) -> AsyncIterator[Database]:
    await run(
        database,
        f"CREATE ROLE crowded LOGIN PASSWORD 'crowded' CONNECTION LIMIT {ALLOWED}",
        "GRANT crowded TO CURRENT_USER WITH INHERIT TRUE",
        "GRANT SELECT ON alembic_version TO crowded",
        f"GRANT {TENANT_ROLE} TO crowded WITH SET TRUE, INHERIT FALSE",
    )
    url = make_url(migrated_url).set(username="crowded", password="crowded").render_as_string(hide_password=False)
    crowded = Database.connect(url, pool_size=20, tenant_role=TENANT_ROLE)
    yield crowded
    await crowded.close()
    await run(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'crowded'",
        "DROP OWNED BY crowded",
        "DROP ROLE crowded",
    )


async def ask(crowded: Database) -> None:
    assert await run(crowded, "SELECT 1 FROM pg_sleep(0.02)") == 1


async def take_in(crowded: Database) -> None:
    async with crowded._driver(apart=True) as connection:
        assert await connection.fetchval("SELECT 1 FROM pg_sleep(0.02)") == 1


@pytest.mark.parametrize("order", ["requests", "webhooks", "both"])
async def test_forty_at_once_are_all_answered(crowded: Database, order: str) -> None:
    """The kind that came first holds all connections: the other kind uses one of them, or the first kind closes idle
    ones.
    """
    kinds = {"requests": [ask, take_in, ask], "webhooks": [take_in, ask, take_in]}.get(order)
    if kinds is None:
        await asyncio.gather(*(kind(crowded) for _ in range(40) for kind in (ask, take_in)))
        return
    for kind in kinds:
        await asyncio.gather(*(kind(crowded) for _ in range(40)))
        await crowded.ready()


async def test_a_full_server_is_unavailable_after_the_pools_timeout(crowded: Database) -> None:
    other = Database.connect(crowded_url(crowded), pool_size=20)
    other.engine.pool._timeout = 0.3  # type: ignore[attr-defined]
    async with AsyncExitStack() as held:
        held.push_async_callback(other.close)
        for _ in range(ALLOWED):
            await held.enter_async_context(crowded.read())
        with pytest.raises(DatabaseUnavailable) as full:
            await run(other, "SELECT 1")
        assert "too many connections" in full.value.reason


async def test_a_request_takes_room_that_another_process_frees(crowded: Database) -> None:
    other = Database.connect(crowded_url(crowded), pool_size=20)
    await asyncio.gather(*(ask(other) for _ in range(ALLOWED)))
    with patch.object(pools, "FULL_SECONDS", 0.05):
        asking = asyncio.create_task(ask(crowded))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await other.close()
        await asyncio.wait_for(asking, HANG_SECONDS)


def crowded_url(crowded: Database) -> str:
    address = crowded.connector.address
    [(host, port)] = address.hosts
    return f"postgresql://crowded:crowded@/{address.database}?host={host}&port={port}"
