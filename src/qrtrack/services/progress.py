"""Fan-outs of other systems: announcing one, reporting its records' outcomes, looking at it, cancelling it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress import Outcome, SurplusRecords, SyncCancelled, SyncStatus
from qrtrack.models import SyncBatch
from qrtrack.repositories.record_intake import RecordIntake, Standing


@dataclass(frozen=True, slots=True)
class CreatedSync:
    batch_id: UUID
    status: SyncStatus
    total_records: int
    status_url: str


async def create_sync_batch(
    database: Database, *, caller: Caller, name: str, kind: str, total_records: int
) -> CreatedSync:
    async with database.write(tenant=caller.organisation_id) as repositories:
        batch = SyncBatch(
            batch_id=uuid7(),
            manufacturer_org_id=caller.organisation_id,
            name=name,
            kind=kind,
            total_records=total_records,
            created_by=caller.user_id,
        )
        await repositories.progress.add(batch)
        await repositories.trace.add(
            "progress.created",
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            batch_id=batch.batch_id,
            details={"name": name, "kind": kind, "total_records": total_records},
        )
        return repositories.answer(
            CreatedSync(batch.batch_id, SyncStatus.PENDING, total_records, f"/api/progress/batches/{batch.batch_id}")
        )


@dataclass(frozen=True, slots=True)
class ReportedRecords:
    """`accepted` were counted now, `repeated` before (or twice in this request)."""

    batch_id: UUID
    accepted: int
    repeated: int
    status: str
    processed_records: int
    total_records: int
    progress_percentage: int


async def report_records(
    database: Database, *, caller: Caller, batch_id: UUID, outcomes: Sequence[Outcome]
) -> ReportedRecords:
    """The outcomes and their count, in one short transaction: all of the request, or nothing of it. Who counts the last
    record ends the batch. Raises NotFound, SurplusRecords, SyncCancelled.
    """
    organisation_id = caller.organisation_id
    if database.request is None:
        async with database.direct(tenant=organisation_id, by_keys=True, turn=batch_id) as connection:
            return await _report(RecordIntake(connection), organisation_id, batch_id, outcomes)
    async with database.write(tenant=organisation_id, by_keys=True, turn=batch_id) as repositories:
        intake = await repositories.record_intake()
        return repositories.answer(await _report(intake, organisation_id, batch_id, outcomes))


async def _report(
    intake: RecordIntake, organisation_id: UUID, batch_id: UUID, outcomes: Sequence[Outcome]
) -> ReportedRecords:
    inserted = await intake.insert(batch_id, organisation_id, outcomes)
    standing = await (intake.count(batch_id, inserted) if inserted.count else intake.find(batch_id))
    if standing is None:
        raise _refusal(await intake.find(batch_id), outcomes, set(inserted.keys))
    return ReportedRecords(
        batch_id,
        accepted=inserted.count,
        repeated=len(outcomes) - inserted.count,
        status=standing.status,
        processed_records=standing.processed_records,
        total_records=standing.total_records,
        progress_percentage=standing.progress_percentage,
    )


def _refusal(standing: Standing, outcomes: Sequence[Outcome], new: set[str]) -> SurplusRecords | SyncCancelled:
    """Why the new records could not be counted."""
    if standing.status == SyncStatus.CANCELLED:
        return SyncCancelled()
    in_order = list(dict.fromkeys(outcome.key for outcome in outcomes if outcome.key in new))
    return SurplusRecords(total=standing.total_records, processed=standing.processed_records, new_keys=in_order)


async def view_sync_batch(database: Database, *, caller: Caller, batch_id: UUID) -> SyncBatch:
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.progress.get(batch_id)


async def list_failures(
    database: Database, *, caller: Caller, batch_id: UUID, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Any]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.progress.get(batch_id)
        return await repositories.progress.failures(batch_id, after=after, limit=limit)


async def cancel_sync_batch(database: Database, *, caller: Caller, batch_id: UUID) -> SyncBatch:
    """Ends it as it stands: what was counted stays, and no more is. Raises NotFound, InvalidState."""
    async with database.write(tenant=caller.organisation_id, turn=batch_id) as repositories:
        is_cancelled = await repositories.progress.cancel(batch_id)
        batch = await repositories.progress.get(batch_id)
        if not is_cancelled:
            raise InvalidState(f"The batch is {batch.status} already and cannot be cancelled.", state=batch.status)
        await repositories.progress.summarise(batch_id)
        await repositories.trace.add(
            "progress.cancelled",
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            batch_id=batch_id,
            details={"processed_records": batch.processed_records},
        )
        return repositories.answer(await repositories.progress.get(batch_id))
