"""Lists the checks, reports and alerts of a batch."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.verification.records import RecordedAlert, RecordedCheck, RecordedReport

Record = RecordedCheck | RecordedReport | RecordedAlert
Shown = Literal["checks", "reports", "alerts"]


async def list_records(
    database: Database, *, caller: Caller, batch_id: UUID, show: Shown, before: int | None, limit: int
) -> Sequence[Record]:
    """Each list is sorted newest first. Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.releases.get(batch_id)
        records = repositories.verification_records
        if show == "reports":
            return await records.list_reports(batch_id, before=before, limit=limit)
        if show == "alerts":
            return await records.list_alerts(batch_id, before=before, limit=limit)
        return await records.list_checks(batch_id, before=before, limit=limit)
