"""The main paths through a real PgBouncer in transaction mode: no session outlives a transaction there."""

import asyncio
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from accurate import DATABASE, event
from fanout import FanOut, done
from plant import MadeBatch, Plant
from process import TENANT_ROLE, delete_rows, let_tests_skip_triggers, settings_of
from qrtrack.database import Database, DatabaseRefused
from qrtrack.domain.akselgate.faults import Fault
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import NotEnoughPrepared
from qrtrack.postgresql import embedded, schema_revision
from qrtrack.postgresql.connections import Connector
from qrtrack.repositories.queues import WEBHOOK_EVENTS
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.services.accurate.intake import receive_events
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.services.claims import claim_group
from qrtrack.services.packing.reconciliation import reconcile_batch
from qrtrack.services.packing.reverse_jobs import view_reverse_job
from qrtrack.services.recalculation import recalculate_one
from qrtrack.serving import running
from qrtrack.settings.postgresql import parse_address
from qrtrack.worker.loop import Worker
from ticking import HANG_SECONDS
from treasury import open_treasury, rows

PGBOUNCER = shutil.which("pgbouncer")
SERVERS = 4

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="needs the system package pgbouncer")


@pytest.fixture(scope="module")
def pooled_url() -> Iterator[str]:
    """A migrated database behind PgBouncer, which has few server connections, so that clients share each."""
    folder = Path(tempfile.mkdtemp(prefix="qrtrack-pooler-"))
    try:
        folder.chmod(0o755)
        home = folder / "postgresql"
        home.mkdir(mode=0o700)
        user = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            user = "nobody"
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        with embedded.start(folder, durable=False) as server:
            asyncio.run(_migrate(server.url()))
            asyncio.run(_defaults(server.url()))
            with _pgbouncer(folder, home, user) as port:
                yield f"postgresql+asyncpg://qrtrack@127.0.0.1:{port}/qrtrack"
    finally:
        shutil.rmtree(folder)


async def _migrate(url: str) -> None:
    engine = create_async_engine(url)
    await schema_revision.migrate(engine, tenant_role=TENANT_ROLE)
    await engine.dispose()
    await let_tests_skip_triggers(url)


async def _defaults(url: str) -> None:
    """Of a provider, for every session: nothing of ours may rest on them."""
    connection = await Connector(parse_address(url)).connect()
    await connection.execute("ALTER DATABASE qrtrack SET default_transaction_isolation = 'serializable'")
    await connection.execute("ALTER DATABASE qrtrack SET synchronous_commit = off")
    await connection.close()


class _pgbouncer:  # noqa: N801 - a context manager that reads like a function
    def __init__(self, folder: Path, home: Path, user: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        users = folder / "users.txt"
        users.write_text('"qrtrack" ""\n')
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\nqrtrack = host={home} port=5432 user=qrtrack\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\nauth_type = trust\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = {SERVERS}\nmax_client_conn = 200\n"
        )
        assert PGBOUNCER is not None
        self._process = subprocess.Popen(
            [PGBOUNCER, "-q", str(config)], user=user if os.geteuid() == 0 else None, cwd="/"
        )

    def __enter__(self) -> int:
        give_up = time.monotonic() + HANG_SECONDS
        while time.monotonic() < give_up:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return int(self._port)
            time.sleep(0.05)
        raise TimeoutError("PgBouncer does not listen")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(HANG_SECONDS)


@pytest.fixture
async def pooled(pooled_url: str, tmp_path: Path) -> AsyncIterator[Runtime]:
    settings = settings_of(pooled_url, tmp_path, database_pooler="transaction")
    async with open_runtime(settings) as runtime:
        try:
            yield runtime
        finally:
            await delete_rows(runtime.database)


async def test_a_batch_is_made_prepared_and_packed_by_eight_stations(pooled: Runtime, caller: Caller) -> None:
    plant = Plant(pooled, caller)
    batch = await plant.batch(2000)
    async with running(Worker(pooled)):
        job_id = await plant.submit(batch, ["SKA000007"])
        async with asyncio.timeout(HANG_SECONDS):
            while (await view_reverse_job(pooled.database, caller=caller, job_id=job_id)).job.status != "completed":
                await asyncio.sleep(0.05)
        await asyncio.gather(*(_station(plant, batch, station) for station in range(8)))
    sheet = await reconcile_batch(pooled.database, caller=caller, batch_id=batch.batch_id)
    assert (sheet.in_case, sheet.excluded, sheet.prepared, list(sheet.differences)) == (1999, 1, 0, [])


async def _station(plant: Plant, batch: MadeBatch, station: int) -> None:
    for case in range(station, 20, 8):
        try:
            await plant.pack(batch, case, station=f"S{station}")
        except NotEnoughPrepared:
            await plant.pack(batch, case, station=f"S{station}", allow_partial=True)


async def test_many_reporters_of_a_fan_out_complete_it(pooled: Runtime, caller: Caller) -> None:
    fan_out = await FanOut.announce(pooled.database, caller, 300)
    await asyncio.gather(*(fan_out.report(done(number)) for number in range(300)))
    assert await fan_out.counts() == ("completed", 300, 300, 0, 100)
    await fan_out.set("processed_records = 7")
    assert (await recalculate_one(pooled.database, fan_out.batch_id)).repaired == 1


async def test_role_and_organisation_do_not_outlive_their_transaction(pooled: Runtime, caller: Caller) -> None:
    plant = Plant(pooled, caller)
    await plant.batch(10)
    found = await asyncio.gather(
        *(
            plant.sql("SELECT current_user, COALESCE(current_setting('qrtrack.org', true), ''), pg_sleep(0.02)")
            for _ in range(SERVERS * 4)
        )
    )
    assert {tuple(rows[0])[:2] for rows in found} == {("qrtrack", "")}


async def test_a_settlement_is_dispatched_called_back_and_dispatched_again(pooled_url: str, tmp_path: Path) -> None:
    """Identity, triggers, locks and the bound role behind connections that belong to nobody."""
    settings = settings_of(pooled_url, tmp_path, database_pooler="transaction")
    async with open_treasury(settings) as treasury:
        answers = await asyncio.gather(*(treasury.dispatch(key=f"K{number}") for number in range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
        (attempt,) = await treasury.attempts()
        results = {"REF1": "00", "REF2": "51"}
        calls = (treasury.call_back(attempt.id, name, result) for name, result in list(results.items()) * 10)
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
        assert await treasury.events() == ["callback", "callback", "closed"]
        treasury.gateway.faults.append(Fault.ERROR)
        assert (await treasury.dispatch(transactions=rows("REF2"))).status_code == 504
        unknown = (await treasury.attempts())[1]
        assert (await treasury.resolve(unknown.id, "not_sent")).status_code == 200
        assert (await treasury.dispatch(transactions=rows("REF2"))).json()["attempt_number"] == 3
        await sweep_attempts(treasury.runtime.database)
        assert [request.path for request in treasury.gateway.requests] == ["/transaction/insert"] * 3


async def test_webhooks_are_taken_in_once_and_processed(pooled: Runtime, caller: Caller) -> None:
    events = [event(uuid=f"e-{number}") for number in range(20)]
    owners = {DATABASE: caller.organisation_id}

    async def send(first: int) -> list[int]:
        body = json.dumps(events[first:] + events[:first]).encode()
        receipts = await receive_events(pooled.database, body, owners=owners, forward=False, wake=first == 0)
        ids = [receipt.queue_id for receipt in receipts]
        return ids[-first:] + ids[:-first] if first else ids

    async with running(Worker(pooled)):
        answers = await asyncio.gather(*(send(first % 20) for first in range(SERVERS * 10)))
        plant = Plant(pooled, caller)
        async with asyncio.timeout(HANG_SECONDS):
            while any(row.status != "done" for row in await plant.sql("SELECT status FROM webhook_queue")):
                await asyncio.sleep(0.05)
    assert len({tuple(ids) for ids in answers}) == 1
    assert len(await plant.sql("SELECT id FROM webhook_queue")) == 20


async def test_groups_are_claimed_by_many_at_once(pooled: Runtime, caller: Caller) -> None:
    """A claim is a transaction, and what was claimed is read behind it: each may be of another server connection."""
    body = json.dumps([event() for _ in range(300)]).encode()
    await receive_events(pooled.database, body, owners={DATABASE: caller.organisation_id}, forward=False, wake=False)

    taken: list[int] = []

    async def claim() -> None:
        while group := await claim_group(pooled.database, WEBHOOK_EVENTS, 3, lease_seconds=30):
            taken.extend(piece.id for piece in group.pieces)

    await asyncio.gather(*(claim() for _ in range(SERVERS * 5)))
    assert len(taken) == len(set(taken)) == 300


async def test_every_transaction_is_read_committed_and_waits_for_the_disk(pooled: Runtime) -> None:
    show = (
        "SELECT current_setting('transaction_isolation') AS isolation, current_setting('synchronous_commit') AS durable"
    )
    async with pooled.database.write() as repositories:
        assert tuple(await repositories._connection.fetchrow(show) or ()) == ("read committed", "on")
    async with pooled.database._driver(apart=True) as connection:
        assert await connection.fetchval(show) == "read committed"


async def test_without_the_setting_the_start_is_refused_with_its_name(pooled_url: str) -> None:
    database = Database.connect(pooled_url, pool_size=1)
    try:
        with pytest.raises(DatabaseRefused, match="DATABASE_POOLER=transaction") as refused:
            await database.ready()
        assert "unsupported startup parameter" in refused.value.reason
    finally:
        await database.close()


async def test_options_that_the_pooler_refuses_are_named(pooled_url: str) -> None:
    database = Database.connect(f"{pooled_url}?options=-c%20jit%3Doff", pool_size=1, behind_pooler=True)
    try:
        with pytest.raises(DatabaseRefused, match="options"):
            await database.ready()
    finally:
        await database.close()
