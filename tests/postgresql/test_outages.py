"""The log says once why the database did not answer. The caller does not learn the reason."""

import time
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from qrtrack.database import Database, DatabaseRefused, DatabaseUnavailable
from qrtrack.postgresql import outages
from test_database import run
from ticking import altered


def told(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["event"] == "the database cannot answer"]


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [("57014", "canceling statement due to statement timeout"), ("53300", "sorry, too many clients already")],
)
async def test_the_servers_own_reason_is_told_once_and_not_to_the_caller(
    database: Database, sqlstate: str, words: str
) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION '{words}' USING ERRCODE = '{sqlstate}'; END $$"
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable) as error:
                await run(database, statement)
            assert words not in error.value.detail
    assert told(logs) == [f"{words} ({sqlstate})"]


async def test_a_statement_timeout_and_a_lost_connection_have_their_reasons(database: Database) -> None:
    with capture_logs() as logs:
        for statement in ("SELECT pg_sleep(5)", "SELECT pg_terminate_backend(pg_backend_pid())"):
            with pytest.raises(DatabaseUnavailable):
                await run(database, "SET LOCAL statement_timeout = '50ms'", statement)
    assert len(told(logs)) == 2
    assert "statement timeout" in told(logs)[0]


async def test_a_reason_that_returns_after_a_while_is_logged_again() -> None:
    nowhere = Database.connect("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1)
    now = 1_000.0
    with capture_logs() as logs, patch.object(outages, "time", altered(time, monotonic=lambda: now)):
        for pause in (0, outages.OVER_SECONDS - 1, outages.OVER_SECONDS):
            now += pause
            for way in (nowhere.ready, lambda: run(nowhere, "SELECT 1")):
                with pytest.raises(DatabaseUnavailable):
                    await way()
    assert len(told(logs)) == 2
    assert all("Connect call failed" in reason or "refused" in reason for reason in told(logs))
    await nowhere.close()


async def test_callers_do_not_see_the_database_servers_own_words(migrated_url: str) -> None:
    """The server's message names users and databases."""
    elsewhere = Database.connect(migrated_url.replace("/qrtrack", "/not_there", 1), pool_size=1)
    with pytest.raises(DatabaseRefused) as refused:
        await elsewhere.ready()
    assert "not_there" not in refused.value.detail
    assert "not_there" in refused.value.reason
    await elsewhere.close()


async def test_a_full_pool_is_named_by_its_setting(migrated_url: str) -> None:
    small = Database.connect(migrated_url, pool_size=1)
    small.engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    async with small.write() as repositories:
        await repositories.trace._session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable) as error:
            await run(small, "SELECT 1")
    assert "DATABASE_POOL_SIZE" in error.value.reason
    await small.close()
