"""Reports by consumers."""

from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.verification.reports import ReportReason
from qrtrack.repositories.base import DriverRepository

MOST_OF_NETWORK: Final = 20
"""Reports of one network within an hour."""
MOST_OF_BATCH: Final = 1000
"""Reports about one batch within a day: nobody reads more, and whoever scans one product may not fill the disk."""

ADD: Final = f"""
INSERT INTO verification_reports (manufacturer_org_id, batch_id, code, reason, message, network)
SELECT CAST(:organisation_id AS uuid), CAST(:batch_id AS uuid), CAST(:code AS text), CAST(:reason AS text),
       CAST(:message AS text), CAST(:network AS bytea)
WHERE (SELECT count(*) FROM verification_reports
       WHERE network = CAST(:network AS bytea) AND reported_at > now() - interval '1 hour') < {MOST_OF_NETWORK}
  AND (SELECT count(*) FROM (SELECT FROM verification_reports
                             WHERE batch_id = CAST(:batch_id AS uuid) AND reported_at > now() - interval '1 day'
                             LIMIT {MOST_OF_BATCH}) AS recent) < {MOST_OF_BATCH}
"""


class NewReport(NamedTuple):
    """`code`: as it was entered. `network`: a hash."""

    organisation_id: UUID
    batch_id: UUID
    code: str | None
    reason: ReportReason
    message: str | None
    network: bytes


class VerificationReportRepository(DriverRepository):
    async def add(self, report: NewReport) -> bool:
        """False where the network or the batch has too many of late."""
        return await self._execute(ADD, **report._asdict()) > 0
