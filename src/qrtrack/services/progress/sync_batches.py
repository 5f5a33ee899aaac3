"""Fan-outs of other systems: announcing one, looking at it, cancelling it. Reports are in sync_records.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.models import SyncBatch


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
            caller=caller,
            batch_id=batch.batch_id,
            details={"name": name, "kind": kind, "total_records": total_records},
        )
        return repositories.answer(
            CreatedSync(batch.batch_id, SyncStatus.PENDING, total_records, f"/api/progress/batches/{batch.batch_id}")
        )


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
    async with database.write(tenant=caller.organisation_id, busy_row=batch_id) as repositories:
        is_cancelled = await repositories.progress.cancel(batch_id)
        batch = await repositories.progress.get(batch_id)
        if not is_cancelled:
            raise InvalidState(f"The batch is {batch.status} already and cannot be cancelled.", state=batch.status)
        await repositories.progress.summarise(batch_id)
        await repositories.trace.add(
            "progress.cancelled",
            caller=caller,
            batch_id=batch_id,
            details={"processed_records": batch.processed_records},
        )
        return repositories.answer(await repositories.progress.get(batch_id))
