"""Recalculation: counts rows again and repairs wrong counters. Normally nothing changes; each repair means a defect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias
from uuid import UUID

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.reverse_jobs import job_progress
from qrtrack.domain.progress.sync_batches import TERMINAL_SYNCS
from qrtrack.repositories import Repositories
from qrtrack.repositories.recalculation import (
    HASHES,
    ITEMS,
    REVERSE_JOBS,
    SYNC_BATCHES,
    Countable,
    CountedKind,
    CountersT,
    HashCounters,
    ItemCounters,
    JobCounters,
    SyncBatchCounters,
)
from qrtrack.services.packing.code_creation import start_hashing

SILENT_SECONDS: Final = 300
PAGE: Final = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Drift(Generic[CountersT]):
    """The wrong counters of one locked row, and the right ones."""

    id: UUID
    organisation_id: UUID
    before: CountersT
    truth: CountersT


@dataclass(frozen=True, slots=True)
class Kind(Generic[CountersT]):
    """A kind of work with counters. `restore` writes the right counters, and ends work that they show to be
    complete.
    """

    countable: Countable[CountersT]
    restore: Callable[[Repositories, Drift[CountersT]], Awaitable[None]]


async def _restore_sync_batch(repositories: Repositories, drift: Drift[SyncBatchCounters]) -> None:
    await repositories.recalculation.restore_sync_batch(drift.id, drift.truth)
    if drift.truth.status in TERMINAL_SYNCS:
        await repositories.sync_batches.summarise(drift.id)


async def _restore_items(repositories: Repositories, drift: Drift[ItemCounters]) -> None:
    missing = drift.truth.items_created - drift.before.items_created
    counted = await repositories.batches.count_created(drift.id, missing)
    if counted is not None and counted.complete:
        await start_hashing(repositories, drift.id, drift.organisation_id, counted.quantity)


async def _restore_hashes(repositories: Repositories, drift: Drift[HashCounters]) -> None:
    await repositories.batches.count_hashed(drift.id, drift.truth.keys_hashed - drift.before.keys_hashed)


async def _restore_job(repositories: Repositories, drift: Drift[JobCounters]) -> None:
    """Corrects the counters of prepared codes and of codes that are still to be prepared, which change together."""
    job = await repositories.reverse_jobs.get(drift.id)
    ahead = await repositories.reverse_jobs.count(job.batch_id, job.next_sequence, job.last_sequence)
    prepared = drift.truth.prepared_count
    await repositories.recalculation.restore_job(
        drift.id,
        prepared=prepared,
        remaining=ahead.to_prepare,
        progress=job_progress(prepared + job.duplicate_count + job.excluded_count, job.total_available_in_batch or 0),
    )


KINDS: Final[Sequence[Kind[Any]]] = (
    Kind(SYNC_BATCHES, _restore_sync_batch),
    Kind(ITEMS, _restore_items),
    Kind(HASHES, _restore_hashes),
    Kind(REVERSE_JOBS, _restore_job),
)


@dataclass(frozen=True, slots=True)
class Recount:
    """One row, counted again."""

    kind: CountedKind
    id: UUID
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def is_repair(self) -> bool:
        return self.before != self.after


Tell: TypeAlias = Callable[[Recount], None]


@dataclass(frozen=True, slots=True)
class Recalculation:
    """The result. `recounts`: the repaired rows; for a single id also the correct ones. `failed`: how many rows could
    not be counted; the log contains the reasons.
    """

    checked: int
    recounts: Sequence[Recount]
    failed: int = 0

    @property
    def repaired(self) -> int:
        return sum(recount.is_repair for recount in self.recounts)


async def recalculate_progress(
    database: Database, *, silent_seconds: float = SILENT_SECONDS, tell: Tell = lambda _: None
) -> Recalculation:
    """Recounts all work in progress that nothing has updated for `silent_seconds`. Each row has its own transaction, so
    that concurrent recalculations repair nothing twice. Calls `tell` for each row.
    """
    checked, failed, repairs = 0, 0, []
    for kind in KINDS:
        after = UUID(int=0)
        while ids := await _in_progress(database, kind, silent_seconds, after):
            after = ids[-1]
            for id_ in ids:
                recount, is_failed = await _try_to_recount(database, kind, id_)
                checked += 1
                failed += is_failed
                if recount is not None:
                    tell(recount)
                    repairs += [recount] if recount.is_repair else []
    return Recalculation(checked, repairs, failed)


async def recalculate_one(database: Database, id_: UUID) -> Recalculation:
    """Recounts everything with this id. Raises NotFound."""
    recounts = [await _recount(database, kind, id_) for kind in KINDS]
    found = [recount for recount in recounts if recount is not None]
    if not found:
        raise NotFound(f"There is nothing to recount with the id {id_}: it is unknown, or it has ended.")
    return Recalculation(len(found), found)


async def _in_progress(database: Database, kind: Kind[Any], silent_seconds: float, after: UUID) -> Sequence[UUID]:
    async with database.read() as repositories:
        return await repositories.recalculation.in_progress(
            kind.countable, silent_seconds=silent_seconds, after=after, limit=PAGE
        )


async def _try_to_recount(database: Database, kind: Kind[Any], id_: UUID) -> tuple[Recount | None, bool]:
    """Recounts one row. If it cannot be counted, the others are still recounted."""
    try:
        return await _recount(database, kind, id_), False
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("a row could not be recounted", kind=kind.countable.kind, id=str(id_))
        return None, True


async def _recount(database: Database, kind: Kind[CountersT], id_: UUID) -> Recount | None:
    """Returns None if there is nothing to count."""
    countable = kind.countable
    async with database.write() as repositories:
        organisation_id = await repositories.recalculation.lock(countable, id_)
        if organisation_id is None:
            return None
        before = await repositories.recalculation.counters(countable, id_)
        truth = await repositories.recalculation.count(countable, id_)
        recount = Recount(countable.kind, id_, before._asdict(), truth._asdict())
        if recount.is_repair:
            await kind.restore(repositories, Drift(id_, organisation_id, before, truth))
            await _trace(repositories, organisation_id, recount)
            await repositories.recalculation.count_repair(countable)
    if recount.is_repair:
        log.error("counters were wrong and are repaired", kind=countable.kind, id=str(id_), **_change(recount))
    return recount


def _change(recount: Recount) -> dict[str, Any]:
    return {"before": dict(recount.before), "after": dict(recount.after)}


async def _trace(repositories: Repositories, organisation_id: UUID, recount: Recount) -> None:
    is_job = recount.kind == REVERSE_JOBS.kind
    await repositories.trace.add(
        "counters.repaired",
        caller=Caller.service(organisation_id),
        batch_id=None if is_job else recount.id,
        job_id=recount.id if is_job else None,
        details={"kind": recount.kind, **_change(recount)},
    )
