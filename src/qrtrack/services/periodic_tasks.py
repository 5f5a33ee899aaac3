"""Tasks that come round again: each runs once in all processes, and its next time is written with its end."""

from collections.abc import Mapping

from qrtrack.database import Database
from qrtrack.domain.claims import Claim
from qrtrack.repositories.queues import PERIODIC_TASKS


async def plan_tasks(database: Database, every: Mapping[str, float]) -> None:
    """Makes the rows that are missing; `every`: seconds between two runs, by name."""
    async with database.write() as repositories:
        await repositories.periodic_tasks.plan(every)


async def name_of_task(database: Database, claim: Claim) -> str:
    async with database.read() as repositories:
        return await repositories.periodic_tasks.name_of(claim.number)


async def plan_next_run(database: Database, claim: Claim, *, seconds: float, error: str | None = None) -> None:
    """A task never ends, not even by failing. Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(PERIODIC_TASKS).repeat(claim, after=seconds, error=error)
