"""Lists the checks, reports and alerts of a batch or of all."""

from collections.abc import Sequence
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.verification.records import Record, Shown


async def list_records(
    database: Database, *, caller: Caller, batch_id: UUID | None, show: Shown, before: int | None, limit: int
) -> Sequence[Record]:
    """Lists the records of one batch or of the whole organisation, newest first. Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        if batch_id is not None:
            await repositories.releases.get(batch_id)
        return await repositories.verification_records.list(
            show, organisation_id=caller.organisation_id, batch_id=batch_id, before=before, limit=limit
        )
