"""A server whose provider has switched synchronous_commit off crashes: what was answered is there afterwards."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import make_url

from accurate import event
from process import let_tests_skip_triggers, settings_of
from qrtrack.database import Database
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.postgresql import embedded, schema_revision
from qrtrack.postgresql.connections import Connector
from qrtrack.services.accurate.intake import receive_events
from qrtrack.settings.postgresql import parse_address
from treasury import open_treasury


@pytest.fixture
async def forgetful(server: embedded.EmbeddedPostgres) -> str:
    url = server.url()
    database = Database.connect(url, pool_size=1)
    await schema_revision.migrate(database.engine)
    await database.close()
    await let_tests_skip_triggers(url)
    # The program's own role may not change settings of the server.
    superuser = make_url(url).set(username="postgres").render_as_string(hide_password=False)
    connection = await Connector(parse_address(superuser)).connect()
    for setting in (
        "synchronous_commit = off",
        "wal_writer_delay = '10s'",
        "bgwriter_delay = '10s'",
        "autovacuum = off",
    ):
        await connection.execute(f"ALTER SYSTEM SET {setting}")
    await connection.execute("SELECT pg_reload_conf()")
    # What the start wrote is over by then: the server has nothing else to write for ten seconds.
    await connection.execute("CHECKPOINT")
    await connection.close()
    return url


async def crash(server: embedded.EmbeddedPostgres, folder: Path) -> None:
    """As `pg_ctl stop -m immediate`: what is not in the log on disk is gone."""
    postmaster = int((folder / "data/postgresql/data/postmaster.pid").read_text().partition("\n")[0])
    os.kill(postmaster, signal.SIGQUIT)
    while Path(f"/proc/{postmaster}").exists():
        await asyncio.sleep(0.02)
    await asyncio.to_thread(server.ensure_running)


async def test_a_commit_that_does_not_wait_is_lost(
    server: embedded.EmbeddedPostgres, forgetful: str, tmp_path: Path
) -> None:
    """Without this the tests below would prove nothing."""
    connection = await Connector(parse_address(forgetful)).connect()
    await connection.execute("INSERT INTO queue_turns VALUES ('lost', gen_random_uuid(), now())")
    await crash(server, tmp_path)
    connection = await Connector(parse_address(forgetful)).connect()
    assert await connection.fetchval("SELECT count(*) FROM queue_turns WHERE kind = 'lost'") == 0
    await connection.close()


@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_acknowledged_webhooks_and_conflicts_are_there_after_a_crash(
    server: embedded.EmbeddedPostgres, forgetful: str, tmp_path: Path, pooler: str
) -> None:
    database = Database.connect(forgetful, pool_size=1, behind_pooler=pooler == "transaction")
    for kind in ("ITEM", "SALES_INVOICE"):
        body = json.dumps([event(kind, uuid="kept")]).encode()
        await receive_events(database, body, owners={}, forward=False, wake=True)
    await crash(server, tmp_path)
    await database.close()
    connection = await Connector(parse_address(forgetful)).connect()
    assert await connection.fetchval("SELECT array_agg(uuid) FROM webhook_queue") == ["kept"]
    assert await connection.fetchval("SELECT count(*) FROM webhook_conflicts") == 1
    await connection.close()


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.ERROR])
@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_a_settlement_that_was_sent_cannot_be_paid_again_after_a_crash(
    server: embedded.EmbeddedPostgres, forgetful: str, tmp_path: Path, pooler: str, fault: Fault
) -> None:
    async with open_treasury(settings_of(forgetful, tmp_path, database_pooler=pooler)) as treasury:
        treasury.gateway.faults.append(fault)
        first = await treasury.dispatch(key="K1")
        await crash(server, tmp_path)
        while (again := await treasury.dispatch(key="K2")).status_code == 503:
            await asyncio.sleep(0.1)
        assert again.status_code == 409
        assert [(row.id, row.outcome) for row in await treasury.attempts()] == [
            (first.json()["log_id"], "accepted" if fault is Fault.NONE else "unknown")
        ]
        assert [request.path for request in treasury.gateway.requests] == ["/transaction/insert"]
