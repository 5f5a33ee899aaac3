"""Reports by consumers."""

from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.verification.reports import ReportReason
from qrtrack.repositories.base import DriverRepository

MOST_OF_NETWORK: Final = 20
"""One network may send this many reports within an hour."""
MOST_OF_BATCH: Final = 1000
"""At most this many reports about one batch are stored within a day: an attacker who has scanned one product must not
fill the disk.
"""

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
    """`code` is what the consumer entered. `network` is a keyed hash."""

    organisation_id: UUID
    batch_id: UUID
    code: str | None
    reason: ReportReason
    message: str | None
    network: bytes


class VerificationReportRepository(DriverRepository):
    async def add(self, report: NewReport) -> bool:
        """Returns False if the network or the batch has reached its limit."""
        return await self._execute(ADD, **report._asdict()) > 0
