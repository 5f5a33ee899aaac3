"""Counts where the codes of a batch are: each code once."""

from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.packing.numbering import serial
from qrtrack.repositories.base import Repository

# Grouping the rows of the three tables takes time in proportion to their number, with or without statistics. `IN` or a
# join would compare each code with each in a batch of a million: as a hash, the queue does not fit into `work_mem`.
RECONCILE = """
WITH batch AS (
    SELECT id, quantity, serial_prefix, first_number FROM qr_batches WHERE id = :batch_id
), found AS (
    SELECT code.sequence_number, TRUE AS is_code, FALSE AS is_prepared, FALSE AS is_excluded,
           CASE WHEN code.sequence_number NOT BETWEEN 1 AND (SELECT quantity FROM batch) THEN 'unaccounted'
                WHEN code.status = 'void' AND NOT code.voided_by_closing THEN 'void'
                WHEN code.master_code_id IS NOT NULL THEN 'in_case'
                WHEN code.status IN ('scanned', 'redeemed') THEN 'scanned'
                WHEN code.status NOT IN ('generated', 'printed', 'void') THEN 'unaccounted' END AS place,
           CASE code.status WHEN 'void' THEN 'voided_by_closing' ELSE 'remaining' END AS place_out_of_queue
    FROM qr_codes AS code
    WHERE code.batch_id = :batch_id
    UNION ALL
    SELECT sequence_number, FALSE, TRUE, FALSE, NULL, NULL
    FROM qr_prepared_codes WHERE batch_id = :batch_id AND status = 'prepared'
    UNION ALL
    SELECT sequence_number, FALSE, FALSE, TRUE, NULL, NULL FROM qr_excluded_codes WHERE batch_id = :batch_id
), placed AS (
    SELECT sequence_number,
           COALESCE(max(place), CASE WHEN bool_or(is_prepared) THEN 'prepared'
                                     WHEN bool_or(is_excluded) THEN 'excluded'
                                     ELSE max(place_out_of_queue) END) AS place
    FROM found
    GROUP BY sequence_number
    HAVING bool_or(is_code)
), counted AS (
    SELECT count(*) FILTER (WHERE place = 'void') AS void,
           count(*) FILTER (WHERE place = 'in_case') AS in_case,
           count(*) FILTER (WHERE place = 'scanned') AS scanned_without_case,
           count(*) FILTER (WHERE place = 'prepared') AS prepared,
           count(*) FILTER (WHERE place = 'excluded') AS excluded,
           count(*) FILTER (WHERE place = 'voided_by_closing') AS voided_by_closing,
           count(*) FILTER (WHERE place = 'remaining') AS remaining,
           array_agg(sequence_number) FILTER (WHERE place = 'unaccounted') AS unaccounted,
           count(*) FILTER (WHERE sequence_number BETWEEN 1 AND (SELECT quantity FROM batch)) AS numbered
    FROM placed
)
SELECT batch.id AS batch_id, batch.quantity AS generated, batch.serial_prefix, batch.first_number, counted.void,
       counted.in_case, counted.scanned_without_case, counted.prepared, counted.excluded, counted.voided_by_closing,
       counted.remaining,
       ARRAY(SELECT code FROM qr_codes
             WHERE batch_id = :batch_id AND sequence_number = ANY(counted.unaccounted)) AS unaccounted,
       CASE WHEN counted.numbered < batch.quantity THEN
           ARRAY(SELECT number FROM generate_series(1, batch.quantity) AS number
                 EXCEPT SELECT sequence_number FROM qr_codes WHERE batch_id = :batch_id)
       ELSE '{}' END AS missing
FROM batch CROSS JOIN counted
"""


class Reconciliation(NamedTuple):
    """Every code of the batch, counted once: it counts in the first of the fields from `void` to `remaining` that fits.

    `void`: codes that a person voided. `unaccounted`: codes that fit no field. `missing`: sequence numbers without a
    code. The last two are normally empty; an entry means a defect.
    """

    batch_id: UUID
    generated: int
    serial_prefix: str | None
    first_number: int | None
    void: int
    in_case: int
    scanned_without_case: int
    prepared: int
    excluded: int
    voided_by_closing: int
    remaining: int
    unaccounted: list[str]
    missing: list[int]

    @property
    def differences(self) -> list[str]:
        """Returns the serials that fit no place."""
        return sorted([*self.unaccounted, *map(self._serial, self.missing)])

    def _serial(self, sequence_number: int) -> str:
        """Returns the serial of a sequence number without a code. In a random or imported batch the serial is not
        known, so the number is returned.
        """
        if self.serial_prefix is None or self.first_number is None:
            return f"number {sequence_number} of the batch"
        return serial(self.serial_prefix, self.first_number + sequence_number - 1)


class ReconciliationRepository(Repository):
    async def count(self, batch_id: UUID) -> Reconciliation:
        """Counts a batch, which must exist."""
        return await self._fetch_one(Reconciliation, RECONCILE, batch_id=batch_id)
