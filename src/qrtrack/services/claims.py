"""What every worker does with queued work of any kind: take it, keep it, give it back."""

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group
from qrtrack.metrics import count_claims
from qrtrack.repositories.groups import GroupRepository
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


async def release_claim(database: Database, queue: Queue, claim: Claim) -> None:
    """Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(queue).release(claim)
        await repositories.wake_workers(queue)


async def claim_group(database: Database, queue: Queue, size: int, *, lease_seconds: float) -> Group | None:
    token = uuid4()
    try:
        async with database.autocommit() as connection:
            group = await GroupRepository(connection, queue).claim(token, size, lease_seconds=lease_seconds)
    except asyncio.CancelledError:
        # It may have been taken; else nobody would look for it before its lease runs out.
        with suppress(DatabaseUnavailable):
            await asyncio.shield(_release(database, queue, token))
        raise
    if group is not None:
        count_claims(group.kind, (piece["waited"] for piece in group.pieces))
    return group


async def release_group(database: Database, queue: Queue, group: Group) -> None:
    await _release(database, queue, group.token)


async def _release(database: Database, queue: Queue, token: UUID) -> None:
    async with database.write() as repositories:
        await repositories.groups(queue).release(token)
        await repositories.wake_workers(queue)


async def break_up_group(database: Database, queue: Queue, group: Group) -> None:
    """Its pieces are tried one by one from here on. Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.groups(queue).break_up(group)
        await repositories.wake_workers(queue)
