"""Real processes on a real server of their own: `qrtrack worker`, started, killed and asked to stop."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy.exc import DBAPIError, ProgrammingError

from plant import Plant
from process import TENANT_ROLE
from qrtrack.database import DatabaseUnavailable
from ticking import HANG_SECONDS

SECRET = "d1f0a4b79c3e48f2b6a5908e7c1d2f3a-tests"


class Workers:
    """The `qrtrack worker` processes of one database."""

    def __init__(self, url: str, folder: Path, **settings: Any) -> None:
        self._log = folder / "workers.log"
        self._environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
        } | {
            "DATABASE_URL": url,
            "DATABASE_TENANT_ROLE": TENANT_ROLE,
            "QRTRACK_DATA_DIR": str(folder / "var"),
            "JWT_SECRET": SECRET,
            "SECRET_KEY": SECRET,
            "CRON_SECRET": SECRET,
            "BCRYPT_COST": "4",
            "HASH_THREADS": "1",
            "DATABASE_POOL_SIZE": "8",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """`qrtrack worker`, unless told otherwise."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "qrtrack.cli", *(command or ("worker",))],
                env=self._environment,
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    async def serve(self, port: int, *options: str) -> subprocess.Popen[bytes]:
        """`qrtrack serve`; returns when it is ready."""
        process = self.start("serve", "--port", str(port), *options)

        async def ready() -> bool:
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
                with suppress(httpx2.HTTPError):
                    return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            return False

        await until(ready)
        return process

    def revive(self) -> None:
        """As a supervisor does: a process that could not even begin, its database being away, is started again."""
        for process in [process for process in self.processes if process.poll() is not None]:
            self.processes.remove(process)
            self.start()

    async def at_work(self, processes: int) -> None:
        """Waits until so many have begun to work."""

        async def begun() -> bool:
            return self.log().count("] working") >= processes

        await until(begun)

    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextmanager
def workers(url: str, folder: Path, **settings: Any) -> Iterator[Workers]:
    started = Workers(url, folder, **settings)
    try:
        yield started
    finally:
        for process in started.processes:
            process.kill()
            process.wait()


async def ended(process: subprocess.Popen[bytes], seconds: float = HANG_SECONDS) -> int:
    return await asyncio.to_thread(process.wait, seconds)


async def until(condition: Callable[[], Awaitable[Any]], *, every: float = 0.02) -> float:
    """Waits for what another process does; how long it took. A database that is away does not know yet."""
    began = time.monotonic()
    while True:
        try:
            if await condition():
                return time.monotonic() - began
        except ProgrammingError:
            raise
        except (OSError, DBAPIError, DatabaseUnavailable):
            pass
        assert time.monotonic() - began < HANG_SECONDS, "it does not happen"
        await asyncio.sleep(every)


async def patiently(plant: Plant, statement: str, **values: Any) -> Sequence[Any]:
    """The statement, through connections that are being killed."""
    over = time.monotonic() + HANG_SECONDS
    while True:
        try:
            return await plant.sql(statement, **values)
        except (OSError, DBAPIError):
            if time.monotonic() > over:
                raise
            await asyncio.sleep(0.05)


async def kill_now(processes: Sequence[subprocess.Popen[bytes]], number: int = signal.SIGKILL) -> None:
    for process in processes:
        process.send_signal(number)
    for process in processes:
        await ended(process)
