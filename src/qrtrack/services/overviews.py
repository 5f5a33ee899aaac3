"""The overview of one organisation, with what the caller's role may see."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from qrtrack.database import Database
from qrtrack.domain.identity import Caller, Permission
from qrtrack.repositories.overviews import LastError, OwnQueue, PackedHour, RunningWork
from qrtrack.repositories.queues import QUEUES

SHOWN: Final = 8
SHOWN_STATIONS: Final = 12
SILENT_SECONDS: Final = 12 * 3600
"""The same limit as that of the alert QrtrackWebhookSilence."""

OTHERS_SEEN_WITH: Final = {
    "batch": Permission.PACK,
    "progress": Permission.DOCUMENTS_AND_PROGRESS,
    "failed_batches": Permission.PACK,
    "failed_jobs": Permission.PACK,
    "failed_label_jobs": Permission.PACK,
    "unknown_prints": Permission.PACK,
    "printers_away": Permission.PACK,
    "verification_alerts": Permission.PACK,
    "verification_reports": Permission.PACK,
    "dead_webhooks": Permission.RESOLVE_AND_REPLAY,
    "silence": Permission.RESOLVE_AND_REPLAY,
    "unknown_dispatches": Permission.DISPATCH,
}
SEEN_WITH: Final = {queue.kind: queue.seen_with for queue in QUEUES if queue.seen_with} | OTHERS_SEEN_WITH
"""The kinds of queued work, and all else that the overview shows, each with the permission that shows it."""


@dataclass(frozen=True, slots=True)
class StationDay:
    """What a station packed today. `cases` has one count for each hour from `PackedToday.hours`."""

    station: str | None
    cases: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.cases)


@dataclass(frozen=True, slots=True)
class PackedToday:
    """The stations, the busiest first. `others` counts the cases of all further stations."""

    hours: Sequence[int]
    stations: Sequence[StationDay]
    others: int

    @property
    def total(self) -> int:
        return sum(station.total for station in self.stations) + self.others

    @property
    def most(self) -> int:
        """Returns the highest count of one station in one hour."""
        return max((count for station in self.stations for count in station.cases), default=0)


@dataclass(frozen=True, slots=True)
class Silence:
    """An Accurate database that has sent nothing, and for how long."""

    database_id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The data of the overview. `wanted` counts by kind what needs a person; kinds without any are left out."""

    running: Sequence[RunningWork]
    queues: Sequence[OwnQueue]
    packed: PackedToday | None
    errors: Sequence[LastError]
    wanted: Mapping[str, int]
    silences: Sequence[Silence]


async def read_overview(database: Database, *, caller: Caller, now: datetime, owned: Collection[int]) -> Overview:
    """Reads the overview. `now` is in the plant's zone, which decides what today is. `owned` are the organisation's
    databases of Accurate.
    """
    seen = {kind for kind, permission in SEEN_WITH.items() if caller.may(permission)}
    organisation_id, zone = caller.organisation_id, now.tzinfo
    assert isinstance(zone, ZoneInfo)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    async with database.read(tenant=organisation_id) as repositories:
        overviews = repositories.overviews
        running = await overviews.running(organisation_id, limit=SHOWN)
        queues = await overviews.queues(organisation_id)
        wanted = await overviews.wanted(organisation_id)
        errors = await overviews.errors(organisation_id, sorted(seen), limit=SHOWN)
        packed = None
        if caller.may(Permission.PACK):
            hours = await overviews.packed(organisation_id, since=midnight, zone=zone.key)
            packed = packed_today(hours, until=now.hour)
    return Overview(
        running=[work for work in running if work.kind in seen],
        queues=[queue for queue in queues if queue.kind in seen and queue.queued + queue.running],
        packed=packed,
        errors=errors,
        wanted={name: count for name, count in wanted.items() if count and name in seen},
        silences=await _silences(database, owned) if owned and "silence" in seen else (),
    )


def packed_today(packed: Sequence[PackedHour], *, until: int) -> PackedToday:
    """Returns the cases of each station by hour, from the first hour with a case to `until`."""
    if not packed:
        return PackedToday((), (), 0)
    hours = range(min(row.hour for row in packed), max(until, *(row.hour for row in packed)) + 1)
    counts: dict[str | None, dict[int, int]] = defaultdict(dict)
    for row in packed:
        counts[row.station][row.hour] = row.cases
    days = [StationDay(station, [of.get(hour, 0) for hour in hours]) for station, of in counts.items()]
    days.sort(key=lambda day: (-day.total, day.station or ""))
    return PackedToday(hours, days[:SHOWN_STATIONS], sum(day.total for day in days[SHOWN_STATIONS:]))


async def _silences(database: Database, owned: Collection[int]) -> list[Silence]:
    """Returns the databases that have gone silent. A database that has never sent an event is not listed."""
    async with database.read() as repositories:
        sources = await repositories.accurate_sources.sources()
    heard: dict[int, float] = {}
    for source in sources:
        if source.database_id in owned:
            heard[source.database_id] = min(source.silent_seconds, heard.get(source.database_id, source.silent_seconds))
    return [Silence(database_id, seconds) for database_id, seconds in heard.items() if seconds > SILENT_SECONDS]
