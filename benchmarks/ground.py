"""What benchmarks stand on: a durable PostgreSQL of their own, migrated, an open runtime, and a bare connection."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import psutil
from pydantic import SecretStr

from benchmarks.report import describe_machine
from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Role
from qrtrack.postgresql import embedded
from qrtrack.postgresql.connections import Connector
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.settings import Settings
from qrtrack.settings.postgresql import parse_address
from qrtrack.worker.handlers import HANDLERS
from qrtrack.worker.loop import Slots, Worker

SECRET = "a-secret-of-the-benchmarks-58c1d7f0b2e94a63"
HANDLER_OF = {handler.queue.kind: handler for handler in HANDLERS}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True)
class Ground:
    """One organisation on a fresh database. `bare` is the superuser's connection, past row-level security."""

    url: str
    runtime: Runtime
    bare: Connection
    machine: dict[str, Any]
    caller: Caller = field(default_factory=lambda: Caller(str(uuid4()), uuid4(), frozenset({Role.ADMIN})))

    @property
    def organisation(self) -> UUID:
        return self.caller.organisation_id

    async def connect(self) -> Connection:
        """Another bare connection."""
        return await _bare(self.url)

    async def settle(self) -> None:
        """What earlier work left to be written is written: no round pays for another's."""
        await self.bare.execute("CHECKPOINT")

    @asynccontextmanager
    async def working(self, **slots: int) -> AsyncIterator[None]:
        """The standing worker of a server, with these slots of each kind and none of the others."""
        worker = Worker(self.runtime, [Slots(HANDLER_OF[kind], count) for kind, count in slots.items()])
        loop = asyncio.create_task(worker.run())
        # The first look at an empty queue is over, and the connection for wake-ups listens.
        await asyncio.sleep(0.2)
        try:
            yield
        finally:
            await worker.stop()
            await loop


@asynccontextmanager
async def open_ground(**changes: Any) -> AsyncIterator[Ground]:
    """A database as a plant would run it, nothing switched off for speed, in a temporary folder.

    `changes` are settings of the runtime.
    """
    with tempfile.TemporaryDirectory(prefix="qrtrack-bench-") as folder, embedded.start(Path(folder)) as server:
        url = server.url()
        await _migrate(url)
        settings = _settings(url, Path(folder), **changes)
        async with open_runtime(settings) as runtime:
            bare = await _bare(url)
            try:
                version = str(await bare.fetchval("SHOW server_version"))
                yield Ground(url, runtime, bare, describe_machine(version))
            finally:
                await bare.close()


async def _bare(url: str) -> Connection:
    return await Connector(parse_address(url.replace("//qrtrack@", "//postgres@"))).connect()


async def _migrate(url: str) -> None:
    database = Database.connect(url, pool_size=1)
    await database.migrate()
    await database.close()


def _settings(url: str, folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "qrtrack_data_dir": folder,
        "database_url": url,
        "jwt_secret": SecretStr(SECRET),
        "secret_key": SecretStr(SECRET),
        "cron_secret": SecretStr(SECRET),
        "hash_threads": os.cpu_count() or 1,
    }
    return Settings(_env_file=None, **values | changes)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def alternate(rounds: int, *sides: Callable[[], Awaitable[float]]) -> list[list[float]]:
    """Each side once a round, in turns that change: a drift of the machine meets all of them alike."""
    samples: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for place in range(len(sides)):
            side = (place + number) % len(sides)
            samples[side].append(await sides[side]())
    return samples


class MemoryWatch:
    """The most that this process grew while it was watched, in MiB of resident memory."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._highest = 0

    async def watch(self, work: Awaitable[float]) -> tuple[float, float]:
        """What the work returns, and the growth."""
        before = self._highest = self._process.memory_info().rss
        watching = asyncio.create_task(self._look())
        try:
            result = await work
        finally:
            watching.cancel()
        self._highest = max(self._highest, self._process.memory_info().rss)
        return result, (self._highest - before) / 2**20

    async def _look(self) -> None:
        while True:
            self._highest = max(self._highest, self._process.memory_info().rss)
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], Awaitable[object]], *, pause: float = 0.005) -> None:
    """Asked anew after each pause: what is waited for happens in another process or in a worker's own task."""
    while True:
        if await condition():
            return
        await asyncio.sleep(pause)


def in_milliseconds(seconds: Sequence[float]) -> list[float]:
    return [second * 1000 for second in seconds]
