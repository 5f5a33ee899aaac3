"""Tasks that come round again: one row each."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository

# The queue's turns go by organisation, and these tasks are the service's own.
SERVICE: Final = UUID(int=0)


class PeriodicTaskRepository(Repository):
    async def plan(self, every: Mapping[str, float]) -> None:
        """Makes the rows that are missing, each due after its first pause (seconds, by name)."""
        await self._run(
            "INSERT INTO periodic_tasks (name, manufacturer_org_id, status, run_at)"
            " SELECT planned.name, CAST(:service AS uuid), 'queued', now() + make_interval(secs => planned.seconds)"
            " FROM unnest(CAST(:names AS text[]), CAST(:seconds AS float8[])) AS planned (name, seconds)"
            " ORDER BY planned.name ON CONFLICT (name) DO NOTHING",
            service=SERVICE,
            names=list(every),
            seconds=list(every.values()),
        )

    async def all(self) -> Sequence[Row[Any]]:
        """Each with how it stands, when it comes round again, and why it failed the last time, if it did."""
        return await self._rows(
            "SELECT name, status, run_at AS next_run_at, error_message FROM periodic_tasks ORDER BY name"
        )

    async def name_of(self, task_id: int) -> str:
        return str(await self._scalar("SELECT name FROM periodic_tasks WHERE id = :id", id=task_id))
