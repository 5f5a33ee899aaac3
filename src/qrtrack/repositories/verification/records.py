"""Lists the recorded checks, reports and alerts of an organisation. The lists contain no network address."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository
from qrtrack.repositories.verification.alerts import IS_RECALL_LIFTED

# Each list has two statements, one for a batch and one for the organisation. In one statement with an optional
# condition, PostgreSQL's generic plan could not use an index.
OF_BATCH = "batch_id = :owner"
OF_ORGANISATION = "manufacturer_org_id = :owner"
PAGE = "{whose} AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
PRODUCT = "(SELECT product_name FROM qr_batches WHERE id = row.batch_id) AS product_name"
CODE = """
    (SELECT code FROM qr_codes WHERE batch_id = row.batch_id AND sequence_number = row.sequence_number) AS code
"""
LIST_CHECKS = f"""
SELECT id, batch_id, {PRODUCT}, {CODE}, sequence_number, purpose, result, checked_at, actor
FROM (SELECT * FROM verifications WHERE {PAGE}) AS row
ORDER BY id DESC
"""
LIST_REPORTS = f"""
SELECT id, batch_id, {PRODUCT}, code, reason, message, reported_at
FROM (SELECT * FROM verification_reports WHERE {PAGE}) AS row
ORDER BY id DESC
"""
LIST_ALERTS = f"""
SELECT id, batch_id, {PRODUCT}, kind, {CODE}, sequence_number, raised_at,
       ({IS_RECALL_LIFTED}) AS is_recall_lifted
FROM (SELECT * FROM verification_alerts WHERE {PAGE}) AS row
ORDER BY id DESC
"""


class RecordedCheck(NamedTuple):
    id: int
    batch_id: UUID
    product_name: str
    code: str
    sequence_number: int
    purpose: str
    result: str
    checked_at: datetime
    actor: str | None


class RecordedReport(NamedTuple):
    """`code` is stored as the consumer entered it; possibly no unit has it."""

    id: int
    batch_id: UUID
    product_name: str
    code: str | None
    reason: str
    message: str | None
    reported_at: datetime


class RecordedAlert(NamedTuple):
    """`code` is None if the alert is about the whole batch. `is_recall_lifted`: a recalled unit was checked, and no
    recall covers it any more.
    """

    id: int
    batch_id: UUID
    product_name: str
    kind: str
    code: str | None
    sequence_number: int | None
    raised_at: datetime
    is_recall_lifted: bool


Shown = Literal["checks", "reports", "alerts"]
Record = RecordedCheck | RecordedReport | RecordedAlert
LISTS: Final[Mapping[Shown, tuple[type[Record], str]]] = {
    "checks": (RecordedCheck, LIST_CHECKS),
    "reports": (RecordedReport, LIST_REPORTS),
    "alerts": (RecordedAlert, LIST_ALERTS),
}


class VerificationRecordRepository(Repository):
    async def list(
        self, show: Shown, *, organisation_id: UUID, batch_id: UUID | None, before: int | None, limit: int
    ) -> Sequence[Record]:
        """Lists the records of one batch, or of the whole organisation if `batch_id` is None, newest first. Their ids
        are below `before`.
        """
        kind, sql = LISTS[show]
        whose = OF_ORGANISATION if batch_id is None else OF_BATCH
        return await self._fetch_all(
            kind, sql.format(whose=whose), owner=batch_id or organisation_id, before=before, limit=limit
        )
