"""Periodic tasks: one row each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

# Claims serve organisations in turn. Periodic tasks belong to no organisation but to the service itself.
SERVICE: Final = UUID(int=0)

PLAN: Final = """
INSERT INTO periodic_tasks (name, manufacturer_org_id, status, run_at)
SELECT planned.name, CAST(:service AS uuid), 'queued', now() + make_interval(secs => planned.seconds)
FROM unnest(CAST(:names AS text[]), CAST(:seconds AS float8[])) AS planned (name, seconds)
ORDER BY planned.name
ON CONFLICT (name) DO NOTHING
"""
LIST_TASKS: Final = """
SELECT name, status, run_at AS next_run_at, error_message
FROM periodic_tasks
ORDER BY name
"""
GET_NAME: Final = "SELECT name FROM periodic_tasks WHERE id = :id"


class PlannedTask(NamedTuple):
    """A periodic task. `error_message`: why the last run failed; None if it did not fail."""

    name: str
    status: str
    next_run_at: datetime
    error_message: str | None


class PeriodicTaskRepository(Repository):
    async def plan(self, every: Mapping[str, float]) -> None:
        """Inserts missing tasks, each due after its first interval. `every` has the interval of each task in seconds,
        by name.
        """
        await self._execute(PLAN, service=SERVICE, names=list(every), seconds=list(every.values()))

    async def all(self) -> list[PlannedTask]:
        return await self._fetch_all(PlannedTask, LIST_TASKS)

    async def name_of(self, task_id: int) -> str:
        return await self._fetch_value(str, GET_NAME, id=task_id)
