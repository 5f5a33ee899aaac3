"""Periodic tasks: only one process runs a task at a time. The end of a run sets the time of the next one."""

from collections.abc import Mapping

from qrtrack.database import Database
from qrtrack.domain.claims import Claim
from qrtrack.repositories.queues import PERIODIC_TASKS


async def plan_tasks(database: Database, every: Mapping[str, float]) -> None:
    """Inserts missing tasks. `every` has the seconds between two runs of each task, by name."""
    async with database.write() as repositories:
        await repositories.periodic_tasks.plan(every)


async def name_of_task(database: Database, claim: Claim) -> str:
    async with database.read() as repositories:
        return await repositories.periodic_tasks.name_of(claim.number)


async def plan_next_run(database: Database, claim: Claim, *, seconds: float, error: str | None = None) -> None:
    """Sets the time of the next run, also after a failure: a periodic task never ends. Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(PERIODIC_TASKS).repeat(claim, after=seconds, error=error)
