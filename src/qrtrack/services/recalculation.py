"""Counting again from the truth, whatever keeps counters: normally nothing changes, and every repair is a defect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.packing.reverse_jobs import job_progress
from qrtrack.domain.progress.sync_batches import TERMINAL_SYNCS
from qrtrack.repositories import Repositories
from qrtrack.repositories.recalculation import HASHES, ITEMS, REVERSE_JOBS, SYNC_BATCHES, Countable, CountedKind
from qrtrack.services.packing.code_creation import open_hashing

SILENT_SECONDS: Final = 300
PAGE: Final = 500

log = structlog.get_logger()


Restore: TypeAlias = Callable[[Repositories, UUID, Any, Any], Awaitable[None]]
"""Makes the counters of a held row, as they were before, say the truth; completes what that shows to be complete."""


async def _restore_sync_batch(repositories: Repositories, id_: UUID, _before: Any, truth: Any) -> None:
    await repositories.recounts.restore_sync_batch(id_, truth)
    if truth.status in TERMINAL_SYNCS:
        await repositories.progress.summarise(id_)


async def _restore_items(repositories: Repositories, id_: UUID, before: Any, truth: Any) -> None:
    counted = await repositories.batches.count_created(id_, truth.items_created - before.items_created)
    if counted is not None and counted.complete:
        await open_hashing(repositories, id_, before.manufacturer_org_id, counted.quantity)


async def _restore_hashes(repositories: Repositories, id_: UUID, before: Any, truth: Any) -> None:
    await repositories.batches.count_hashed(id_, truth.keys_hashed - before.keys_hashed)


async def _restore_job(repositories: Repositories, id_: UUID, _before: Any, truth: Any) -> None:
    """What is still to come is counted anew with it: the two move together."""
    job = await repositories.reverse_jobs.get(id_)
    ahead = await repositories.reverse_jobs.count(job.batch_id, job.next_sequence, job.last_sequence)
    handled = truth.prepared_count + job.duplicate_count + job.excluded_count
    await repositories.recounts.restore_job(
        id_,
        prepared=truth.prepared_count,
        remaining=ahead.total - ahead.excluded - ahead.duplicates,
        progress=job_progress(handled, job.total_available_in_batch or 0),
    )


# A new kind of work with counters of its own brings how to count it, and how to put it right.
KINDS: Final[Mapping[Countable, Restore]] = {
    SYNC_BATCHES: _restore_sync_batch,
    ITEMS: _restore_items,
    HASHES: _restore_hashes,
    REVERSE_JOBS: _restore_job,
}


@dataclass(frozen=True, slots=True)
class Recount:
    """One row counted again."""

    kind: CountedKind
    id: UUID
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def is_repair(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Recalculation:
    """`recounts` are the repairs, and where one id was asked for, what was right too. `failed` rows could not be
    counted: the log has why, and the others were not kept waiting by them.
    """

    checked: int
    recounts: Sequence[Recount]
    failed: int = 0

    @property
    def repaired(self) -> int:
        return sum(recount.is_repair for recount in self.recounts)


async def recalculate_progress(
    database: Database, *, silent_seconds: float = SILENT_SECONDS, tell: Callable[[Recount], None] = lambda _: None
) -> Recalculation:
    """Recounts what is in progress and has not moved for so long; 0: all that is in progress. `tell` hears of each.

    Each row in a transaction of its own that holds it: two recalculations at once repair nothing twice.
    """
    checked, failed, repairs = 0, 0, []
    for what in KINDS:
        after = UUID(int=0)
        while ids := await _in_progress(database, what, silent_seconds, after):
            after = ids[-1]
            for id_ in ids:
                recount, is_failed = await _try_to_recount(database, what, id_)
                checked += 1
                failed += is_failed
                if recount is not None:
                    tell(recount)
                    repairs += [recount] if recount.is_repair else []
    return Recalculation(checked, repairs, failed)


async def recalculate_one(database: Database, id_: UUID) -> Recalculation:
    """Recounts what has this id, of whatever kind. Raises NotFound."""
    recounts = [await _recount(database, what, id_) for what in KINDS]
    found = [recount for recount in recounts if recount is not None]
    if not found:
        raise NotFound(f"Nothing to recount has the id {id_}: it is not known here, or it is over.")
    return Recalculation(len(found), found)


async def _in_progress(database: Database, what: Countable, silent_seconds: float, after: UUID) -> Sequence[UUID]:
    async with database.read() as repositories:
        return await repositories.recounts.in_progress(what, silent_seconds=silent_seconds, after=after, limit=PAGE)


async def _try_to_recount(database: Database, what: Countable, id_: UUID) -> tuple[Recount | None, bool]:
    """One row that cannot be counted does not stand in the way of the others."""
    try:
        return await _recount(database, what, id_), False
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("a row could not be recounted", kind=what.kind, id=str(id_))
        return None, True


async def _recount(database: Database, what: Countable, id_: UUID) -> Recount | None:
    """None where there is nothing to count, or no longer."""
    async with database.write() as repositories:
        before = await repositories.recounts.hold(what, id_)
        if before is None:
            return None
        truth = await repositories.recounts.count(what, id_)
        recount = Recount(what.kind, id_, _counters(what, before), _counters(what, truth))
        if recount.is_repair:
            await KINDS[what](repositories, id_, before, truth)
            await _trace(repositories, before.manufacturer_org_id, recount)
            await repositories.recounts.count_repair(what)
    if recount.is_repair:
        log.error("counters were wrong and are repaired", kind=what.kind, id=str(id_), **_change(recount))
    return recount


def _counters(what: Countable, row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in what.counters}


def _change(recount: Recount) -> dict[str, Any]:
    return {"before": dict(recount.before), "after": dict(recount.after)}


async def _trace(repositories: Repositories, organisation_id: UUID, recount: Recount) -> None:
    is_job = recount.kind == REVERSE_JOBS.kind
    await repositories.trace.add(
        "counters.repaired",
        organisation_id=organisation_id,
        actor="qrtrack",
        batch_id=None if is_job else recount.id,
        job_id=recount.id if is_job else None,
        details={"kind": recount.kind, **_change(recount)},
    )
