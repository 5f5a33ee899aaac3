"""Worker processes and the ends of their work, as they tell of themselves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository


class WorkerRepository(Repository):
    async def report(self, process_id: UUID, host: str, *, alive_seconds: float) -> None:
        await self._run(
            "INSERT INTO worker_processes (id, host, polled_at, alive_until)"
            " VALUES (:id, :host, clock_timestamp(), clock_timestamp() + make_interval(secs => :alive_seconds))"
            " ON CONFLICT (id) DO UPDATE SET polled_at = EXCLUDED.polled_at, alive_until = EXCLUDED.alive_until",
            id=process_id,
            host=host,
            alive_seconds=alive_seconds,
        )

    async def sign_off(self, process_id: UUID) -> None:
        await self._run("DELETE FROM worker_processes WHERE id = :id", id=process_id)

    async def report_ends(self, ages: Mapping[str, float]) -> None:
        """How many seconds ago work of each kind last came to an end in one process."""
        await self._run(
            "INSERT INTO work_kinds AS known (kind, last_finished_at)"
            " SELECT ended.kind, clock_timestamp() - make_interval(secs => ended.seconds)"
            " FROM unnest(CAST(:kinds AS text[]), CAST(:seconds AS float8[])) AS ended (kind, seconds)"
            " ORDER BY ended.kind ON CONFLICT (kind)"
            " DO UPDATE SET last_finished_at = GREATEST(known.last_finished_at, EXCLUDED.last_finished_at)",
            kinds=list(ages),
            seconds=list(ages.values()),
        )

    async def alive(self) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, host, started_at, polled_at FROM worker_processes WHERE alive_until > now()"
            " ORDER BY started_at, id"
        )

    async def last_ends(self) -> Mapping[str, datetime]:
        rows = await self._rows("SELECT kind, last_finished_at FROM work_kinds")
        return {row.kind: row.last_finished_at for row in rows}
