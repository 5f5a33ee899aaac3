"""Worker processes: what they report about themselves, and the state of the work."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.repositories.periodic_tasks import PlannedTask
from qrtrack.repositories.workers import LivingWorker

REPORT_SECONDS: Final = 5.0
ALIVE_SECONDS: Final = 30.0


@dataclass(slots=True)
class ProcessActivity:
    """What this process reports about itself. Instants are values of time.monotonic()."""

    process_id: UUID = field(default_factory=uuid4)
    polled: float | None = None
    ended: dict[str, float] = field(default_factory=dict)

    def end(self, kind: str) -> None:
        self.ended[kind] = time.monotonic()

    @property
    def silent_seconds(self) -> float | None:
        """Seconds since the loop last polled and the database answered. None in a process without a loop."""
        return None if self.polled is None else time.monotonic() - self.polled


async def report_process(database: Database, activity: ProcessActivity, *, poll_seconds: float) -> None:
    """Reports that this process is alive. Without another report within half a minute or three polls, whichever is
    longer, the process counts as dead.
    """
    alive_seconds = max(ALIVE_SECONDS, 3 * poll_seconds)
    async with database.write() as repositories:
        await repositories.workers.report(activity.process_id, socket.gethostname(), alive_seconds=alive_seconds)
    await report_ends(database, activity)


async def report_ends(database: Database, activity: ProcessActivity) -> None:
    """Reports which kinds of work have ended since the last report. While the database is away, they are kept for the
    next report.
    """
    ended = dict(activity.ended)
    if not ended:
        return
    now = time.monotonic()
    try:
        async with database.write() as repositories:
            await repositories.workers.report_ends({kind: now - at for kind, at in ended.items()})
    except DatabaseUnavailable:
        return
    for kind, at in ended.items():
        if activity.ended.get(kind) == at:
            del activity.ended[kind]


async def sign_off(database: Database, activity: ProcessActivity) -> None:
    async with database.write() as repositories:
        await repositories.workers.sign_off(activity.process_id)


@dataclass(frozen=True, slots=True)
class KindHealth:
    """`oldest_age_seconds`: how long the oldest piece has been due; None when nothing is due."""

    queued: int
    running: int
    expired_leases: int
    oldest_age_seconds: float | None
    last_finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    kinds: dict[str, KindHealth]
    workers: Sequence[LivingWorker]
    tasks: Sequence[PlannedTask]


async def worker_health(database: Database) -> WorkerHealth:
    async with database.read() as repositories:
        queues = await repositories.gauges.queues()
        ends = await repositories.workers.last_ends()
        workers = await repositories.workers.alive()
        tasks = await repositories.periodic_tasks.all()
    kinds = {
        queue.kind: KindHealth(
            queue.queued, queue.running, queue.expired_leases, queue.oldest_seconds, ends.get(queue.kind)
        )
        for queue in queues
    }
    return WorkerHealth(kinds, workers, tasks)
