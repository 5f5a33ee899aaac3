"""The queue of prepared codes of a batch."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository
from qrtrack.repositories.packing.cases import SET_SPAN, count_inside

# A code can only be consumed by the case it is in since its last release: an older row was consumed by an earlier link.
# Each row is looked up by itself in its index: a new batch has no statistics, and joins read the whole queue for each
# code (2.9 s for a case of 100 in a queue of 60,000).
REQUEUE = """
UPDATE qr_prepared_codes SET status = 'prepared', consumed_at = NULL
WHERE id = ANY(ARRAY(
    SELECT taken.id
    FROM unnest(CAST(:sequences AS int[])) AS listed(number)
    CROSS JOIN LATERAL (
        SELECT released_at FROM qr_codes
        WHERE batch_id = :batch_id AND sequence_number = listed.number LIMIT 1) AS code
    CROSS JOIN LATERAL (
        SELECT id, job_id FROM qr_prepared_codes
        WHERE batch_id = :batch_id AND sequence_number = listed.number AND status = 'consumed'
          AND consumed_at > COALESCE(code.released_at, '-infinity')
        ORDER BY consumed_at DESC LIMIT 1) AS taken
    WHERE (SELECT status <> 'cancelled' FROM qr_reverse_jobs WHERE id = taken.job_id)
      AND (SELECT true FROM qr_excluded_codes
           WHERE batch_id = :batch_id AND sequence_number = listed.number LIMIT 1) IS NULL
      AND (SELECT true FROM qr_prepared_codes
           WHERE batch_id = :batch_id AND sequence_number = listed.number AND status = 'prepared' LIMIT 1) IS NULL))
"""


class PreparedCodeRepository(Repository):
    async def close(self, batch_id: UUID, sequences: Sequence[int], *, consumed: bool) -> int:
        """Ends the codes' places in the queue: packed by hand (consumed), or no longer packable (invalid)."""
        return await self._run(
            "UPDATE qr_prepared_codes SET status = CASE WHEN :consumed THEN 'consumed' ELSE 'invalid' END,"
            " consumed_at = CASE WHEN :consumed THEN clock_timestamp() END WHERE batch_id = :batch_id"
            " AND status = 'prepared' AND sequence_number = ANY(CAST(:sequences AS int[]))",
            batch_id=batch_id,
            sequences=sequences,
            consumed=consumed,
        )

    async def close_all(self, batch_id: UUID) -> int:
        return await self._run(
            "UPDATE qr_prepared_codes SET status = 'invalid' WHERE batch_id = :batch_id AND status = 'prepared'",
            batch_id=batch_id,
        )

    async def requeue(self, batch_id: UUID, sequences: Sequence[int]) -> int:
        """Puts packed codes back to their places in the queue, before they leave their cases; how many.

        Left out: what no job had prepared, excluded codes, rows of a cancelled job, pruned rows, and codes that wait in
        the queue already. Needs the batch lock.
        """
        return await self._run(REQUEUE, batch_id=batch_id, sequences=sequences)

    async def of_job(self, job_id: UUID, *, status: str | None, after: int, limit: int) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, code, sequence_number, status, created_at, consumed_at FROM qr_prepared_codes"
            " WHERE job_id = :job_id AND id > :after AND (CAST(:status AS text) IS NULL OR status = :status)"
            " ORDER BY id LIMIT :limit",
            job_id=job_id,
            status=status,
            after=after,
            limit=limit,
        )

    async def packed_between(
        self, batch_id: UUID, first: int, last: int, *, prepared_ids: Sequence[int], station: str | None, limit: int
    ) -> Sequence[Row[Any]]:
        """Codes of the range that another station than this one packed. `prepared_ids` are those of the run.

        Where none is named, all that can be known of a packed code is whom it was packed before: units of the run on
        both sides of it that waited in the queue at that time were passed over, so it is of another label roll. What
        came into the queue only later (out of a case, readmitted) is a loose unit, which lies on no roll.
        """
        return await self._rows(
            "WITH run AS (SELECT queued_at, min(sequence_number) AS low, max(sequence_number) AS high FROM"
            " (SELECT queued.sequence_number, GREATEST(queued.created_at, (SELECT released_at FROM qr_codes"
            "   WHERE batch_id = :batch_id AND sequence_number = queued.sequence_number)) AS queued_at"
            "  FROM qr_prepared_codes AS queued WHERE queued.id = ANY(CAST(:prepared_ids AS bigint[]))) AS entered"
            " GROUP BY queued_at)"
            " SELECT code.code, code.sequence_number FROM qr_codes AS code"
            " JOIN qr_master_codes AS box ON box.id = code.master_code_id"
            " WHERE code.batch_id = :batch_id AND code.sequence_number BETWEEN :first AND :last"
            " AND CASE WHEN CAST(:station AS text) IS NULL THEN"
            "  (SELECT code.sequence_number BETWEEN min(low) AND max(high) FROM run WHERE queued_at <= box.packed_at)"
            "  ELSE box.station IS DISTINCT FROM :station END"
            " ORDER BY code.sequence_number LIMIT :limit",
            batch_id=batch_id,
            first=first,
            last=last,
            prepared_ids=prepared_ids,
            station=station,
            limit=limit,
        )

    async def not_queued_between(self, batch_id: UUID, first: int, last: int, *, limit: int) -> Sequence[Row[Any]]:
        """Codes of the range that are not in the queue: excluded, void, never prepared."""
        return await self._rows(
            "SELECT code.code, code.sequence_number FROM qr_codes AS code"
            " WHERE code.batch_id = :batch_id AND code.sequence_number BETWEEN :first AND :last AND NOT EXISTS"
            " (SELECT FROM qr_prepared_codes AS queued WHERE queued.batch_id = :batch_id"
            "  AND queued.sequence_number = code.sequence_number AND queued.status = 'prepared')"
            " ORDER BY code.sequence_number LIMIT :limit",
            batch_id=batch_id,
            first=first,
            last=last,
            limit=limit,
        )

    async def link(self, case_id: int, codes: Sequence[Row[Any]], *, actor: str, station: str | None) -> bool:
        """Adds codes scanned one by one to a case, within its expected units. False: a code or the room was taken."""
        added = await self._run(
            "UPDATE qr_codes SET status = 'packed', master_code_id = :case_id"
            " WHERE id = ANY(CAST(:ids AS bigint[])) AND status IN ('generated', 'printed')",
            case_id=case_id,
            ids=[code.id for code in codes],
        )
        filled = await self._run(
            "UPDATE qr_master_codes AS box SET status = 'packed', actual_units = inside.units,"
            " completeness = CASE WHEN box.completeness = 'inferred' THEN 'inferred' ELSE 'verified' END,"
            f" {SET_SPAN}, packed_at = COALESCE(box.packed_at, clock_timestamp()),"
            " packed_by = COALESCE(box.packed_by, :actor), station = COALESCE(box.station, :station)"
            f" FROM {count_inside('LEAST(held.first_sequence, :low)', 'GREATEST(held.last_sequence, :high)')}"
            " WHERE held.id = :case_id AND box.id = held.id AND inside.units <= box.expected_units",
            case_id=case_id,
            low=min(code.sequence_number for code in codes),
            high=max(code.sequence_number for code in codes),
            actor=actor,
            station=station,
        )
        return added == len(codes) and filled == 1
