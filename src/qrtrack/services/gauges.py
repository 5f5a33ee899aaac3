"""Gauges of the whole service. They are read so rarely that monitoring costs almost nothing."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.repositories.gauges import QueueDepth
from qrtrack.services.accurate.sources import AccurateHealth, read_accurate_health

KEPT_SECONDS: Final = 5.0
READ_SECONDS: Final = 5.0
# Readiness waits at most this long for new gauges: a proxy must not wait longer for details.
SOON_SECONDS: Final = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gauges:
    """The values of one moment."""

    queues: Sequence[QueueDepth]
    workers_alive: int
    unknown_dispatches: int
    alarming_dispatch_events: Mapping[str, int]
    printers_away: int
    count_repairs: Mapping[str, int]
    verification_alerts: Mapping[str, int]
    verification_reports: int
    accurate: AccurateHealth


async def read_gauges(database: Database, *, zone: ZoneInfo) -> Gauges:
    async with database.read() as repositories:
        queues = await repositories.gauges.queues()
        workers = await repositories.workers.alive()
        unknown = await repositories.gauges.unknown_dispatches()
        alarming = await repositories.gauges.alarming_dispatch_events()
        away = await repositories.gauges.printers_away()
        repairs = await repositories.recalculation.repairs()
        alerts = await repositories.gauges.verification_alerts()
        reports = await repositories.gauges.verification_reports()
    accurate = await read_accurate_health(database, zone=zone)
    return Gauges(queues, len(workers), unknown, alarming, away, repairs, alerts, reports, accurate)


class GaugeCache:
    """The newest gauges of this process. All callers share one read, and its result for five seconds."""

    def __init__(self, database: Database, zone: ZoneInfo, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._zone = zone
        self._clock = clock
        self._gauges: Gauges | None = None
        self._kept_until = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def latest(self) -> Gauges | None:
        """Returns None if the gauges cannot be read, for example while the database does not answer."""
        return self._gauges if await self._is_read(READ_SECONDS) else None

    async def at_hand(self) -> Gauges | None:
        """Returns the gauges. Waits at most half a second for new ones, then returns the previous ones."""
        await self._is_read(SOON_SECONDS)
        return self._gauges

    async def _is_read(self, seconds: float) -> bool:
        if self._reading is None and self._clock() >= self._kept_until:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=seconds)
        return self._reading is None

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            self._gauges = await self._fetch()
        finally:
            self._kept_until = self._clock() + KEPT_SECONDS
            self._reading = None

    async def _fetch(self) -> Gauges | None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await read_gauges(self._database, zone=self._zone)
        except (DatabaseUnavailable, TimeoutError):
            return None
        except Exception:
            log.exception("the gauges could not be read")
            return None
