"""Lists the recorded checks, reports and alerts of an organisation. The lists contain no network address."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

# Each list has two statements, one for a batch and one for the organisation. In one statement with an optional
# condition, PostgreSQL's generic plan could not use an index.
OF_BATCH = "batch_id = :batch_id"
OF_ORGANISATION = "manufacturer_org_id = :organisation_id"
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
SELECT id, batch_id, {PRODUCT}, kind, {CODE}, sequence_number, raised_at
FROM (SELECT * FROM verification_alerts WHERE {PAGE}) AS row
ORDER BY id DESC
"""
LISTS = {
    (sql, is_of_batch): sql.format(whose=OF_BATCH if is_of_batch else OF_ORGANISATION)
    for sql in (LIST_CHECKS, LIST_REPORTS, LIST_ALERTS)
    for is_of_batch in (True, False)
}


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
    """`code` is None if the alert is about the whole batch."""

    id: int
    batch_id: UUID
    product_name: str
    kind: str
    code: str | None
    sequence_number: int | None
    raised_at: datetime


class Selected(NamedTuple):
    """Selects the records of one batch, or of the whole organisation if `batch_id` is None."""

    organisation_id: UUID
    batch_id: UUID | None

    def list(self, sql: str) -> str:
        return LISTS[sql, self.batch_id is not None]

    def names(self) -> dict[str, UUID]:
        if self.batch_id is not None:
            return {"batch_id": self.batch_id}
        return {"organisation_id": self.organisation_id}


class VerificationRecordRepository(Repository):
    """Each list is sorted newest first, and contains ids below `before`."""

    async def list_checks(self, of: Selected, *, before: int | None, limit: int) -> list[RecordedCheck]:
        return await self._fetch_all(RecordedCheck, of.list(LIST_CHECKS), **of.names(), before=before, limit=limit)

    async def list_reports(self, of: Selected, *, before: int | None, limit: int) -> list[RecordedReport]:
        return await self._fetch_all(RecordedReport, of.list(LIST_REPORTS), **of.names(), before=before, limit=limit)

    async def list_alerts(self, of: Selected, *, before: int | None, limit: int) -> list[RecordedAlert]:
        return await self._fetch_all(RecordedAlert, of.list(LIST_ALERTS), **of.names(), before=before, limit=limit)
