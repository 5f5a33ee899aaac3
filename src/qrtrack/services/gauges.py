"""Figures of the whole service for those who watch it, read seldom enough that watching costs nothing."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.services.accurate.sources import connection_figures

KEPT_SECONDS: Final = 5.0
# However long reading them takes, a process does it no more than a twentieth of its time.
SHARE: Final = 20
PATIENCE_SECONDS: Final = 5.0
# A proxy that asks for readiness is not kept waiting for details.
SOON_SECONDS: Final = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Figures:
    """As the database had them at one moment. `accurate` is what `connection_figures` tells."""

    queues: Sequence[Any]
    workers_alive: int
    unknown_dispatches: int
    alarming_dispatch_events: Mapping[str, int]
    count_repairs: Mapping[str, int]
    accurate: Mapping[str, Any]


async def read_figures(database: Database, *, zone: ZoneInfo) -> Figures:
    async with database.read() as repositories:
        queues = await repositories.figures.queues()
        workers = await repositories.workers.alive()
        unknown = await repositories.figures.unknown_dispatches()
        alarming = await repositories.figures.alarming_dispatch_events()
        repairs = await repositories.recounts.repairs()
    return Figures(queues, len(workers), unknown, alarming, repairs, await connection_figures(database, zone=zone))


class FigureDesk:
    """Gives the newest figures of this process. Many who ask at once wait for the same look at the database."""

    def __init__(self, database: Database, zone: ZoneInfo) -> None:
        self._database = database
        self._zone = zone
        self._figures: Figures | None = None
        self._good_until = 0.0
        self._look: asyncio.Task[None] | None = None

    async def latest(self) -> Figures | None:
        """None while the database does not answer: who watches must not wait for it, least of all then."""
        return self._figures if await self._is_new(PATIENCE_SECONDS) else None

    async def at_hand(self) -> Figures | None:
        """The latest ones if they are there soon, else those of the look before."""
        await self._is_new(SOON_SECONDS)
        return self._figures

    async def _is_new(self, patience: float) -> bool:
        if self._look is None and time.monotonic() >= self._good_until:
            self._look = asyncio.create_task(self._renew())
        if self._look is not None:
            await asyncio.wait({self._look}, timeout=patience)
        return self._look is None

    async def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            self._figures = await self._read()
        finally:
            ended = time.monotonic()
            # Nothing read is no reason to wait longer for the next look.
            rest = SHARE * (ended - began) if self._figures else 0
            self._good_until = ended + max(KEPT_SECONDS, rest)
            self._look = None

    async def _read(self) -> Figures | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await read_figures(self._database, zone=self._zone)
        except (DatabaseUnavailable, TimeoutError):
            return None
        except Exception:
            log.exception("the figures could not be read")
            return None
