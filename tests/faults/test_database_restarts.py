"""PostgreSQL that goes away at once, without asking anybody, while workers are busy."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from faults.processes import ended, until, workers
from plant import MadeBatch, Plant
from qrtrack import embedded
from qrtrack.domain.identity import Caller, Role
from qrtrack.runtime import open_runtime
from qrtrack.settings import Settings


@pytest.fixture
def server(tmp_path: Path) -> Iterator[embedded.EmbeddedPostgres]:
    """A durable server of this test's own: what has been committed must be there after a crash."""
    with embedded.start(tmp_path / "data") as server:
        yield server


@pytest.fixture
async def own_plant(server: embedded.EmbeddedPostgres, settings: Settings) -> AsyncIterator[Plant]:
    from sqlalchemy.ext.asyncio import create_async_engine

    from qrtrack import schema_revision

    url = server.url()
    engine = create_async_engine(url)
    await schema_revision.migrate(engine)
    await engine.dispose()
    async with open_runtime(settings.model_copy(update={"database_url": url})) as runtime:
        yield Plant(runtime, Caller("restart", uuid4(), frozenset({Role.ADMIN})))


async def crash(tmp_path: Path, server: embedded.EmbeddedPostgres) -> None:
    """`pg_ctl stop -m immediate`, and a start a moment later."""
    pid = int((tmp_path / "data/postgresql/data/postmaster.pid").read_text().partition("\n")[0])
    os.kill(pid, signal.SIGQUIT)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.ensure_running)


async def test_every_loop_survives_a_database_that_crashes_under_load(
    own_plant: Plant, server: embedded.EmbeddedPostgres, tmp_path: Path
) -> None:
    plant = own_plant
    with workers(server.url(), tmp_path, lease_seconds=2, poll_seconds=0.1, shutdown_grace_seconds=2) as started:
        for _ in range(2):
            started.start()
        await started.at_work(2)
        batches = [await plant.order(20_000) for _ in range(4)]

        async def all_created() -> bool:
            return not await plant.sql("SELECT 1 FROM qr_batches WHERE codes_created_at IS NULL LIMIT 1")

        await crash(tmp_path, server)
        await until(all_created, seconds=40)
        for batch in batches:
            await plant.submit(MadeBatch(batch.batch_id, plant.order_id, batch.uniq_code, None, None, ()))
        for _ in range(2):
            await asyncio.sleep(0.3)
            await crash(tmp_path, server)

        async def all_completed() -> bool:
            return not await plant.sql("SELECT 1 FROM qr_reverse_jobs WHERE status <> 'completed' LIMIT 1")

        await until(all_completed, seconds=40)
        assert [process.poll() for process in started.processes] == [None, None]
        for process in started.processes:
            process.send_signal(signal.SIGTERM)
        assert [await ended(process) for process in started.processes] == [0, 0]
        log = started.log()
    found = await plant.sql(
        "SELECT result_summary->>'prepared' AS prepared, (SELECT count(*) FROM qr_prepared_codes"
        " WHERE job_id = job.id) AS rows FROM qr_reverse_jobs AS job"
    )
    assert [tuple(row) for row in found] == [("20000", 20_000)] * 4
    assert "Task exception was never retrieved" not in log
    assert "the database cannot be reached" in log
