"""Stores the alerts that a check with the right key raises, in the transaction of the check."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.repositories.base import DriverRepository

# Sorted, so that two concurrent checks that raise the same alerts cannot deadlock.
RAISE: Final = """
INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number)
SELECT CAST(:organisation_id AS uuid), CAST(:batch_id AS uuid), raised.kind,
       CASE WHEN raised.names_unit THEN CAST(:sequence_number AS int) END
FROM unnest(CAST(:kinds AS text[]), CAST(:name_unit AS boolean[])) AS raised (kind, names_unit)
ORDER BY raised.kind
ON CONFLICT DO NOTHING
"""
IS_RECALL_LIFTED: Final = """
    row.kind = 'recalled'
    AND NOT EXISTS (
        SELECT FROM recalls AS recall
        WHERE recall.batch_id = row.batch_id AND recall.lifted_at IS NULL
          AND (recall.scope = 'batch'
               OR recall.master_code_id = (
                   SELECT master_code_id FROM qr_codes
                   WHERE batch_id = row.batch_id AND sequence_number = row.sequence_number)))
    AND NOT EXISTS (
        SELECT FROM recalled_codes AS recalled
        JOIN recalls AS recall ON recall.id = recalled.recall_id
        WHERE recalled.batch_id = row.batch_id AND recalled.sequence_number = row.sequence_number
          AND recall.lifted_at IS NULL)
"""
"""Of an alert `row`: it says that a recalled unit was checked, and no recall covers the unit any more."""


class AlertRepository(DriverRepository):
    async def raise_alerts(
        self,
        organisation_id: UUID,
        batch_id: UUID,
        sequence_number: int,
        alerts: Sequence[tuple[AlertKind, bool]],
    ) -> int:
        """Stores the alerts: each entry is a kind, and whether the alert names the unit. Returns how many alerts are
        new today.
        """
        return await self._execute(
            RAISE,
            organisation_id=organisation_id,
            batch_id=batch_id,
            sequence_number=sequence_number,
            kinds=[kind for kind, _ in alerts],
            name_unit=[names_unit for _, names_unit in alerts],
        )
