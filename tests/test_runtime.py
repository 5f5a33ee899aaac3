"""What a process stands on while it runs: its own PostgreSQL is started again when somebody killed it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from process import settings_of
from qrtrack import runtime
from qrtrack.database import DatabaseUnavailable
from qrtrack.runtime import open_runtime


async def test_a_killed_embedded_server_is_started_again_by_whoever_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "EMBEDDED_LOOK_SECONDS", 0.05)
    settings = settings_of("postgresql://", tmp_path).model_copy(update={"database_url": None})
    async with open_runtime(settings) as opened:
        killed = server_pid(tmp_path)
        os.kill(int(killed), signal.SIGKILL)
        async with asyncio.timeout(60):
            while server_pid(tmp_path) in {killed, ""} or not await answers(opened):
                await asyncio.sleep(0.05)


def server_pid(folder: Path) -> str:
    """Empty while it starts."""
    file = folder / "postgresql/data/postmaster.pid"
    return file.read_text().partition("\n")[0] if file.exists() else ""


async def answers(opened: runtime.Runtime) -> bool:
    try:
        await opened.database.ready()
    except DatabaseUnavailable:
        return False
    return True
