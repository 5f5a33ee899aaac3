"""A process waits for its database, and starts the embedded PostgreSQL again when it was killed."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from process import free_port, settings_of
from qrtrack import chosen_database, runtime
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.runtime import open_runtime
from test_database import starting_up
from ticking import HANG_SECONDS


async def test_a_killed_embedded_server_is_started_again_by_whoever_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_database, "EMBEDDED_LOOK_SECONDS", 0.05)
    settings = settings_of("postgresql://", tmp_path).model_copy(update={"database_url": None})
    async with open_runtime(settings) as opened:
        killed = server_pid(tmp_path)
        os.kill(int(killed), signal.SIGKILL)
        async with asyncio.timeout(HANG_SECONDS):
            while server_pid(tmp_path) in {killed, ""} or not await answers(opened):
                await asyncio.sleep(0.05)


def server_pid(folder: Path) -> str:
    """Returns the process id of the server, or an empty text while it starts."""
    file = folder / "postgresql/data/postmaster.pid"
    return file.read_text().partition("\n")[0] if file.exists() else ""


async def answers(opened: runtime.Runtime) -> bool:
    try:
        await opened.database.ready()
    except DatabaseUnavailable:
        return False
    return True


async def test_a_start_says_why_it_waits_and_each_reason_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_url: str
) -> None:
    monkeypatch.setattr(runtime, "LOOK_SECONDS", 0.02)
    port = free_port()

    async def opened() -> None:
        async with open_runtime(settings_of(f"postgresql://u:hunter2@127.0.0.1:{port}/q", tmp_path)):
            pass

    def reasons() -> list[str]:
        return [line["reason"] for line in logs if "waiting for it" in line["event"]]

    with capture_logs() as logs:
        start = asyncio.create_task(opened())
        async with asyncio.timeout(HANG_SECONDS):
            while not reasons():
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            async with starting_up(port):
                while len(reasons()) < 2:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.2)
                start.cancel()
                await asyncio.gather(start, return_exceptions=True)
    assert len(reasons()) == 2
    assert "the database system is starting up (57P03)" in reasons()[1]
    assert "hunter2" not in str(logs)
    assert f"127.0.0.1:{port}" in str(logs[0])


@pytest.mark.parametrize(("most", "warned"), [(10, False), (500, True)])
async def test_a_start_says_how_many_connections_it_may_open(
    migrated_url: str, tmp_path: Path, *, most: int, warned: bool
) -> None:
    with capture_logs() as logs:
        async with open_runtime(settings_of(migrated_url, tmp_path, database_pool_size=most)):
            pass
    [line] = [line for line in logs if "max_connections" in line]
    assert line["log_level"] == ("warning" if warned else "info")
    assert line["this_process_may_open"] == most + 10
    assert line["processes_that_fit"] == line["allowed_for_us"] // (most + 10)


async def test_a_server_without_fsync_causes_a_warning_at_the_start(migrated_url: str, tmp_path: Path) -> None:
    database = Database.connect(migrated_url, pool_size=1)
    is_durable = (await database.limits()).is_durable
    await database.close()
    with capture_logs() as logs:
        async with open_runtime(settings_of(migrated_url, tmp_path)):
            pass
    assert any("fsync = off" in line["event"] for line in logs) is not is_durable
