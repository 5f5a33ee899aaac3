"""What every worker does with queued work of any kind: take it, keep it, give it back."""

from collections.abc import Sequence

from qrtrack.database import Database
from qrtrack.domain.claims import Claim
from qrtrack.metrics import count_claims
from qrtrack.repositories.leased import Queue


async def claim_work(database: Database, queue: Queue, slots: int, *, lease_seconds: float) -> list[Claim]:
    async with database.write() as repositories:
        claims = await repositories.leased(queue).claim(slots, lease_seconds=lease_seconds)
    count_claims(queue.kind, (claim.waited for claim in claims))
    return claims


async def keep_claim(database: Database, queue: Queue, claim: Claim, *, lease_seconds: float) -> None:
    """Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(queue).beat(claim, lease_seconds=lease_seconds)


async def release_claims(database: Database, queue: Queue, claims: Sequence[Claim]) -> None:
    async with database.write() as repositories:
        await repositories.leased(queue).release_all(claims)
        await repositories.wake_workers(queue)


async def release_claim(database: Database, queue: Queue, claim: Claim) -> None:
    """Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(queue).release(claim)
        await repositories.wake_workers(queue)
