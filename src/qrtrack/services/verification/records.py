"""Lists the checks, reports and alerts of a batch or of all."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.identity import Caller
from qrtrack.repositories.verification.records import RecordedAlert, RecordedCheck, RecordedReport, Selected

Record = RecordedCheck | RecordedReport | RecordedAlert
Shown = Literal["checks", "reports", "alerts"]


async def list_records(
    database: Database, *, caller: Caller, batch_id: UUID | None, show: Shown, before: int | None, limit: int
) -> Sequence[Record]:
    """Lists the records of one batch or of the whole organisation, newest first. Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        if batch_id is not None:
            await repositories.releases.get(batch_id)
        of, records = Selected(caller.organisation_id, batch_id), repositories.verification_records
        if show == "reports":
            return await records.list_reports(of, before=before, limit=limit)
        if show == "alerts":
            return await records.list_alerts(of, before=before, limit=limit)
        return await records.list_checks(of, before=before, limit=limit)
