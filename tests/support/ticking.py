"""A clock that tests move: the heartbeat sleeps by it and reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace

import pytest

from qrtrack.worker import heartbeat

HANG_SECONDS = 300
"""Real time after which a test that waits for a condition has failed."""


def altered(module: ModuleType, **functions: Callable[..., object]) -> SimpleNamespace:
    """A copy of `time` or `asyncio` for the module under test. Everything else keeps the real functions."""
    return SimpleNamespace(**vars(module) | functions)


class Clock:
    """The clock. `tick` ends one sleep and moves the time by the length of that sleep."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._ticks = asyncio.Semaphore(0)
        self._limit = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await self._ticks.acquire()
        self.now += seconds

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        self._limit = self.now + seconds
        yield

    async def hang(self, *_: object, **__: object) -> None:
        """Moves the time to the end of `timeout`, and raises TimeoutError."""
        self.now = self._limit
        raise TimeoutError

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self._ticks.release()


def ticking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    replaced: dict[str, Callable[..., object]] = {
        "monotonic": clock.monotonic,
        "sleep": clock.sleep,
        "timeout": clock.timeout,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(heartbeat, name, function)
    return clock
