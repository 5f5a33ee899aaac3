"""Worker processes, and when work of each kind last ended. The processes themselves report both."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

REPORT_PROCESS: Final = """
INSERT INTO worker_processes (id, host, polled_at, alive_until)
VALUES (:id, :host, clock_timestamp(), clock_timestamp() + make_interval(secs => :alive_seconds))
ON CONFLICT (id) DO UPDATE
SET polled_at = EXCLUDED.polled_at, alive_until = EXCLUDED.alive_until
"""
REMOVE_PROCESS: Final = "DELETE FROM worker_processes WHERE id = :id"
REPORT_ENDS: Final = """
INSERT INTO work_kinds AS known (kind, last_finished_at)
SELECT ended.kind, clock_timestamp() - make_interval(secs => ended.seconds)
FROM unnest(CAST(:kinds AS text[]), CAST(:seconds AS float8[])) AS ended (kind, seconds)
ORDER BY ended.kind
ON CONFLICT (kind) DO UPDATE
SET last_finished_at = GREATEST(known.last_finished_at, EXCLUDED.last_finished_at)
"""
LIST_ALIVE: Final = """
SELECT id, host, started_at, polled_at
FROM worker_processes
WHERE alive_until > now()
ORDER BY started_at, id
"""
LIST_LAST_ENDS: Final = "SELECT kind, last_finished_at FROM work_kinds"


class LivingWorker(NamedTuple):
    id: UUID
    host: str
    started_at: datetime
    polled_at: datetime


class LastEnd(NamedTuple):
    kind: str
    last_finished_at: datetime


class WorkerRepository(Repository):
    async def report(self, process_id: UUID, host: str, *, alive_seconds: float) -> None:
        """Records that the process is alive for the next `alive_seconds`."""
        await self._execute(REPORT_PROCESS, id=process_id, host=host, alive_seconds=alive_seconds)

    async def sign_off(self, process_id: UUID) -> None:
        await self._execute(REMOVE_PROCESS, id=process_id)

    async def report_ends(self, ages: Mapping[str, float]) -> None:
        """Records when work of each kind last ended. `ages` has for each kind the seconds since work last ended in this
        process.
        """
        await self._execute(REPORT_ENDS, kinds=list(ages), seconds=list(ages.values()))

    async def alive(self) -> list[LivingWorker]:
        return await self._fetch_all(LivingWorker, LIST_ALIVE)

    async def last_ends(self) -> Mapping[str, datetime]:
        return dict(await self._fetch_all(LastEnd, LIST_LAST_ENDS))
