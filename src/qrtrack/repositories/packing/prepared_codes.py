"""The queue of prepared codes of a batch."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository
from qrtrack.repositories.packing.cases import SET_SPAN, count_inside

CONSUME = """
UPDATE qr_prepared_codes
SET status = 'consumed', consumed_at = clock_timestamp()
WHERE batch_id = :batch_id AND status = 'prepared' AND sequence_number = ANY(CAST(:sequences AS int[]))
"""
INVALIDATE = """
UPDATE qr_prepared_codes
SET status = 'invalid'
WHERE batch_id = :batch_id AND status = 'prepared' AND sequence_number = ANY(CAST(:sequences AS int[]))
"""
INVALIDATE_ALL = """
UPDATE qr_prepared_codes
SET status = 'invalid'
WHERE batch_id = :batch_id AND status = 'prepared'
"""

# Only a row that was consumed after the code was last unlinked belongs to the code's present case: an earlier case
# consumed older rows. Each row is looked up by itself in its index: a new batch has no statistics, and joins read the
# whole queue for each code (2.9 s for a case of 100 in a queue of 60,000).
REQUEUE = """
UPDATE qr_prepared_codes SET status = 'prepared', consumed_at = NULL
WHERE id = ANY(ARRAY(
    SELECT taken.id
    FROM unnest(CAST(:sequences AS int[])) AS listed(number)
    CROSS JOIN LATERAL (
        SELECT unlinked_at FROM qr_codes
        WHERE batch_id = :batch_id AND sequence_number = listed.number LIMIT 1) AS code
    CROSS JOIN LATERAL (
        SELECT id, job_id FROM qr_prepared_codes
        WHERE batch_id = :batch_id AND sequence_number = listed.number AND status = 'consumed'
          AND consumed_at > COALESCE(code.unlinked_at, '-infinity')
        ORDER BY consumed_at DESC LIMIT 1) AS taken
    WHERE (SELECT status <> 'cancelled' FROM qr_reverse_jobs WHERE id = taken.job_id)
      AND (SELECT true FROM qr_excluded_codes
           WHERE batch_id = :batch_id AND sequence_number = listed.number LIMIT 1) IS NULL
      AND (SELECT true FROM qr_prepared_codes
           WHERE batch_id = :batch_id AND sequence_number = listed.number AND status = 'prepared' LIMIT 1) IS NULL))
"""

COUNT_WAITING = """
SELECT count(*)
FROM unnest(CAST(:sequences AS int[])) AS listed(number)
WHERE (SELECT true FROM qr_prepared_codes
       WHERE batch_id = :batch_id AND sequence_number = listed.number AND status = 'prepared' LIMIT 1)
"""

LOWER_QUEUE_HEAD = """
UPDATE qr_batch_variants
SET queue_head = GREATEST(first_sequence, :first)
WHERE batch_id = :batch_id AND last_sequence >= :first AND first_sequence <= :last
  AND queue_head > GREATEST(first_sequence, :first)
"""

LIST_OF_JOB = """
SELECT id, code, sequence_number, status, created_at, consumed_at
FROM qr_prepared_codes
WHERE job_id = :job_id AND id > :after AND (CAST(:status AS text) IS NULL OR status = :status)
ORDER BY id
LIMIT :limit
"""

# Without a station in the request, a packed code counts as another station's if it was packed between two units of the
# run that were waiting in the queue at that time: its station passed over them, so it uses another label roll. A unit
# that entered the queue later (unlinked or readmitted) is on no roll, and proves nothing.
CODES_OF_OTHER_STATIONS = """
WITH run AS (
    SELECT queued_at, min(sequence_number) AS low, max(sequence_number) AS high
    FROM (SELECT queued.sequence_number,
                 GREATEST(queued.created_at,
                          (SELECT unlinked_at FROM qr_codes
                           WHERE batch_id = :batch_id AND sequence_number = queued.sequence_number)) AS queued_at
          FROM qr_prepared_codes AS queued
          WHERE queued.id = ANY(CAST(:prepared_ids AS bigint[]))) AS entered
    GROUP BY queued_at
)
SELECT code.code
FROM qr_codes AS code
JOIN qr_master_codes AS box ON box.id = code.master_code_id
WHERE code.batch_id = :batch_id AND code.sequence_number BETWEEN :first AND :last
  AND CASE WHEN CAST(:station AS text) IS NULL
           THEN (SELECT code.sequence_number BETWEEN min(low) AND max(high) FROM run WHERE queued_at <= box.packed_at)
           ELSE box.station IS DISTINCT FROM :station END
ORDER BY code.sequence_number
LIMIT :limit
"""

CODES_NOT_QUEUED = """
SELECT code.code
FROM qr_codes AS code
WHERE code.batch_id = :batch_id AND code.sequence_number BETWEEN :first AND :last
  AND NOT EXISTS (SELECT FROM qr_prepared_codes AS queued
                  WHERE queued.batch_id = :batch_id AND queued.sequence_number = code.sequence_number
                    AND queued.status = 'prepared')
ORDER BY code.sequence_number
LIMIT :limit
"""

PACK_SCANNED = """
UPDATE qr_codes
SET status = 'packed', master_code_id = :case_id
WHERE id = ANY(CAST(:ids AS bigint[])) AND status IN ('generated', 'printed')
"""
FILL_CASE = f"""
UPDATE qr_master_codes AS box
SET status = 'packed', actual_units = inside.units,
    completeness = CASE WHEN box.completeness = 'inferred' THEN 'inferred' ELSE 'verified' END,
    packed_at = COALESCE(box.packed_at, clock_timestamp()),
    packed_by = COALESCE(box.packed_by, :user_id), station = COALESCE(box.station, :station),
    {SET_SPAN}
FROM {count_inside("LEAST(held.first_sequence, :low)", "GREATEST(held.last_sequence, :high)")}
WHERE held.id = :case_id AND box.id = held.id AND inside.units <= box.expected_units
"""


class ListedPreparedCode(NamedTuple):
    id: int
    code: str
    sequence_number: int
    status: str
    created_at: datetime
    consumed_at: datetime | None


class PreparedCodeRepository(Repository):
    async def consume(self, batch_id: UUID, sequences: Sequence[int]) -> int:
        """Takes codes out of the queue because they were linked by hand. Returns how many were in the queue."""
        return await self._execute(CONSUME, batch_id=batch_id, sequences=sequences)

    async def invalidate(self, batch_id: UUID, sequences: Sequence[int]) -> None:
        """Takes codes out of the queue because they may no longer be packed."""
        await self._execute(INVALIDATE, batch_id=batch_id, sequences=sequences)

    async def invalidate_all(self, batch_id: UUID) -> None:
        """Empties the queue of the batch."""
        await self._execute(INVALIDATE_ALL, batch_id=batch_id)

    async def requeue(self, batch_id: UUID, sequences: Sequence[int]) -> int:
        """Returns packed codes to their places in the queue, before they leave their cases. Returns how many.

        Needs the batch lock. Leaves out codes that no job prepared, excluded codes, rows of a cancelled job, rows that
        retention deleted, and codes that are already waiting in the queue.
        """
        return await self._execute(REQUEUE, batch_id=batch_id, sequences=sequences)

    async def count_waiting(self, batch_id: UUID, sequences: Sequence[int]) -> int:
        """Returns how many of these codes wait in the queue."""
        return await self._fetch_value(int, COUNT_WAITING, batch_id=batch_id, sequences=sequences)

    async def lower_queue_head(self, batch_id: UUID, first: int, last: int) -> None:
        """Lowers the queue head, so that codes from `first` to `last` may enter the queue again. Needs the batch
        lock.
        """
        await self._execute(LOWER_QUEUE_HEAD, batch_id=batch_id, first=first, last=last)

    async def list_of_job(
        self, job_id: UUID, *, status: str | None, after: int, limit: int
    ) -> Sequence[ListedPreparedCode]:
        return await self._fetch_all(
            ListedPreparedCode, LIST_OF_JOB, job_id=job_id, status=status, after=after, limit=limit
        )

    async def codes_of_other_stations(
        self, batch_id: UUID, first: int, last: int, *, prepared_ids: Sequence[int], station: str | None, limit: int
    ) -> Sequence[str]:
        """Returns codes of the range that another station packed. `prepared_ids` are the queue's rows of the run."""
        return await self._fetch_values(
            str,
            CODES_OF_OTHER_STATIONS,
            batch_id=batch_id,
            first=first,
            last=last,
            prepared_ids=prepared_ids,
            station=station,
            limit=limit,
        )

    async def codes_not_queued(self, batch_id: UUID, first: int, last: int, *, limit: int) -> Sequence[str]:
        """Returns codes of the range that are not in the queue, for whatever reason."""
        return await self._fetch_values(str, CODES_NOT_QUEUED, batch_id=batch_id, first=first, last=last, limit=limit)

    async def link(
        self, case_id: int, ids: Sequence[int], sequences: Sequence[int], *, user_id: str, station: str | None
    ) -> bool:
        """Adds codes that were scanned one by one to a case. Returns False if another request has taken a code, or the
        space in the case.
        """
        packed = await self._execute(PACK_SCANNED, case_id=case_id, ids=ids)
        filled = await self._execute(
            FILL_CASE, case_id=case_id, low=min(sequences), high=max(sequences), user_id=user_id, station=station
        )
        return packed == len(ids) and filled == 1
