"""Claims queued work of any kind, renews its lease, and releases it."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Group, PieceT
from qrtrack.metrics import count_claims, count_taken_over
from qrtrack.repositories.constraints import ClaimedMeanwhile
from qrtrack.repositories.groups import GroupQueue
from qrtrack.repositories.leased import Queue


async def claim_work(
    database: Database, queue: Queue, slots: int, *, lease_seconds: float, **values: Any
) -> list[Claim]:
    """Claims due work. `values` are the parameters of the queue's `claimed_if`. Returns nothing if another process has
    claimed the same work at the same time.
    """
    try:
        async with database.write() as repositories:
            claims = await repositories.leased(queue).claim(slots, lease_seconds=lease_seconds, **values)
    except ClaimedMeanwhile:
        return []
    count_claims(queue.kind, (claim.waited for claim in claims))
    return claims


async def keep_claim(database: Database, queue: Queue, claim: Claim, *, lease_seconds: float) -> None:
    """Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(queue).renew(claim, lease_seconds=lease_seconds)


async def release_claim(database: Database, queue: Queue, claim: Claim) -> None:
    """Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.leased(queue).release(claim)
        await repositories.wake_workers(queue)


async def claim_group(
    database: Database, queue: GroupQueue[PieceT], size: int, *, lease_seconds: float
) -> Group[PieceT] | None:
    """Claims a group. Also breaks up the groups of this kind whose lease has expired: their pieces are retried one by
    one.
    """
    token = uuid4()
    try:
        async with database.autocommit() as repositories:
            groups = repositories.groups(queue)
            lapsed = await groups.claim(token, size, lease_seconds=lease_seconds)
            group = await groups.claimed(token)
        if lapsed:
            async with database.write() as repositories:
                taken_over = await repositories.groups(queue).break_up_lapsed()
            count_taken_over(queue.kind, taken_over)
    except asyncio.CancelledError:
        # The claim may have been committed. Without a release, its pieces would wait until the lease expires.
        with suppress(DatabaseUnavailable):
            await asyncio.shield(_release(database, queue, token))
        raise
    if group is not None:
        count_claims(queue.kind, [group.waited])
    return group


async def release_group(database: Database, queue: GroupQueue[PieceT], group: Group[PieceT]) -> None:
    await _release(database, queue, group.token)


async def _release(database: Database, queue: GroupQueue[PieceT], token: UUID) -> None:
    async with database.write() as repositories:
        await repositories.groups(queue).release(token)
        await repositories.wake_workers(queue)


async def break_up_group(database: Database, queue: GroupQueue[PieceT], group: Group[PieceT]) -> None:
    """Breaks up the group: from now on its pieces are retried one by one. Raises LeaseLost."""
    async with database.write() as repositories:
        await repositories.groups(queue).break_up(group)
        await repositories.wake_workers(queue)
