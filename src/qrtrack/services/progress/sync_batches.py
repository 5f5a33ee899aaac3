"""Progress batches: announcing, viewing and cancelling them. sync_records.py counts reports."""

from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.models import SyncBatch


async def create_sync_batch(
    database: Database, *, caller: Caller, name: str, kind: str, total_records: int
) -> SyncBatch:
    async with database.write(tenant=caller.organisation_id) as repositories:
        batch = SyncBatch(
            batch_id=uuid7(),
            manufacturer_org_id=caller.organisation_id,
            name=name,
            kind=kind,
            total_records=total_records,
            created_by=caller.user_id,
        )
        await repositories.sync_batches.add(batch)
        await repositories.trace.add(
            "progress.created",
            caller=caller,
            batch_id=batch.batch_id,
            details={"name": name, "kind": kind, "total_records": total_records},
        )
        return repositories.answer(batch)


async def view_sync_batch(database: Database, *, caller: Caller, batch_id: UUID) -> SyncBatch:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.sync_batches.get(batch_id)


async def cancel_sync_batch(database: Database, *, caller: Caller, batch_id: UUID) -> SyncBatch:
    """Ends the batch. What was counted stays, and later reports are refused. Raises NotFound, InvalidState."""
    async with database.write(tenant=caller.organisation_id, busy_row=batch_id) as repositories:
        is_cancelled = await repositories.sync_batches.cancel(batch_id)
        batch = await repositories.sync_batches.get(batch_id)
        if not is_cancelled:
            raise InvalidState(f"The batch is {batch.status} already and cannot be cancelled.", state=batch.status)
        await repositories.sync_batches.summarise(batch_id)
        await repositories.trace.add(
            "progress.cancelled",
            caller=caller,
            batch_id=batch_id,
            details={"processed_records": batch.processed_records},
        )
        return repositories.answer(await repositories.sync_batches.get(batch_id))
