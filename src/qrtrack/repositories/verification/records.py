"""Lists the checks, reports and alerts of a batch for its manufacturer. They contain no network address."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

PAGE = "batch_id = :batch_id AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
CODE = "(SELECT code FROM qr_codes WHERE batch_id = :batch_id AND sequence_number = row.sequence_number) AS code"
LIST_CHECKS = f"""
SELECT id, {CODE}, sequence_number, purpose, result, checked_at, actor
FROM (SELECT * FROM verifications WHERE {PAGE}) AS row
ORDER BY id DESC
"""
LIST_REPORTS = f"""
SELECT id, code, reason, message, reported_at
FROM verification_reports
WHERE {PAGE}
"""
LIST_ALERTS = f"""
SELECT id, kind, {CODE}, sequence_number, raised_at
FROM (SELECT * FROM verification_alerts WHERE {PAGE}) AS row
ORDER BY id DESC
"""


class RecordedCheck(NamedTuple):
    id: int
    code: str
    sequence_number: int
    purpose: str
    result: str
    checked_at: datetime
    actor: str | None


class RecordedReport(NamedTuple):
    """`code`: as the reporter entered it; maybe no unit has it."""

    id: int
    code: str | None
    reason: str
    message: str | None
    reported_at: datetime


class RecordedAlert(NamedTuple):
    """An alert without `code` is about the whole batch."""

    id: int
    kind: str
    code: str | None
    sequence_number: int | None
    raised_at: datetime


class VerificationRecordRepository(Repository):
    """Each list is sorted newest first, and contains ids below `before`."""

    async def list_checks(self, batch_id: UUID, *, before: int | None, limit: int) -> list[RecordedCheck]:
        return await self._fetch_all(RecordedCheck, LIST_CHECKS, batch_id=batch_id, before=before, limit=limit)

    async def list_reports(self, batch_id: UUID, *, before: int | None, limit: int) -> list[RecordedReport]:
        return await self._fetch_all(RecordedReport, LIST_REPORTS, batch_id=batch_id, before=before, limit=limit)

    async def list_alerts(self, batch_id: UUID, *, before: int | None, limit: int) -> list[RecordedAlert]:
        return await self._fetch_all(RecordedAlert, LIST_ALERTS, batch_id=batch_id, before=before, limit=limit)
