"""Records of progress batches, on the driver connection: reports are a hot path."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from qrtrack.domain.progress.sync_records import RecordOutcome
from qrtrack.repositories.base import DriverRepository
from qrtrack.repositories.progress.sync_batches import SUMMARISE, no_such_batch

# If the batch is unknown, the statement inserts nothing, and `count` then reports the unknown batch. Without EXISTS,
# the row-level policy would raise an error. Rows are inserted in the order of their keys: otherwise two concurrent
# reports of the same records could deadlock.
INSERT = """
WITH inserted AS (
    INSERT INTO sync_batch_records (batch_id, manufacturer_org_id, record_key, success, error)
    SELECT :batch_id, :organisation_id, record_key, success, error
    FROM unnest(CAST(:keys AS text[]), CAST(:successes AS bool[]), CAST(:errors AS text[]))
        WITH ORDINALITY AS reported (record_key, success, error, place)
    WHERE EXISTS (SELECT FROM sync_batch_progress WHERE batch_id = :batch_id)
    ORDER BY record_key COLLATE "C", place
    ON CONFLICT (batch_id, record_key) DO NOTHING
    RETURNING record_key, success
)
SELECT count(*) FILTER (WHERE success) AS succeeded, count(*) FILTER (WHERE NOT success) AS failed,
       COALESCE(array_agg(record_key), '{}') AS keys
FROM inserted
"""
STANDING = "status, processed_records, total_records, progress_percentage"
FIND = f"SELECT {STANDING} FROM sync_batch_progress WHERE batch_id = :batch_id"
# The WHERE clause refuses surplus records, and decides which report contains the last one. The statement locks the
# batch's row until the commit, so it comes last.
COUNT = f"""
UPDATE sync_batch_progress
SET processed_records = processed_records + :reported,
    success_count = success_count + :succeeded,
    failed_records = failed_records + :failed,
    progress_percentage = 100 * (processed_records + :reported) / total_records,
    status = CASE WHEN processed_records + :reported < total_records THEN 'processing'
                  WHEN success_count + :succeeded = 0 THEN 'failed' ELSE 'completed' END,
    started_at = COALESCE(started_at, now()),
    completed_at = CASE WHEN processed_records + :reported = total_records THEN clock_timestamp() END,
    updated_at = clock_timestamp()
WHERE batch_id = :batch_id AND status IN ('pending', 'processing') AND processed_records + :reported <= total_records
RETURNING {STANDING}
"""
LIST_FAILURES = """
SELECT record_key, error, recorded_at
FROM sync_batch_records
WHERE batch_id = :batch_id AND NOT success
  AND (CAST(:recorded_at AS timestamptz) IS NULL
       OR (recorded_at, record_key) > (CAST(:recorded_at AS timestamptz), CAST(:record_key AS text)))
ORDER BY recorded_at, record_key
LIMIT :limit
"""


class Inserted(NamedTuple):
    """The outcomes of one report that were new to the batch."""

    succeeded: int
    failed: int
    keys: Sequence[str]

    @property
    def reported(self) -> int:
        return self.succeeded + self.failed


class Standing(NamedTuple):
    """The state and the counters of a batch after a report."""

    status: str
    processed_records: int
    total_records: int
    progress_percentage: int


class FoundFailure(NamedTuple):
    record_key: str
    error: str | None
    recorded_at: datetime


class SyncRecordRepository(DriverRepository):
    """To count a report: call `insert`, then `count`, then commit."""

    async def insert(self, batch_id: UUID, organisation_id: UUID, outcomes: Sequence[RecordOutcome]) -> Inserted:
        """Inserts the outcomes of new records. The first outcome of a key stays, in the request and in the batch.

        Waits while another transaction inserts the same key. If that one rolls back, the key is new here.
        """
        return await self._fetch_one(
            Inserted,
            INSERT,
            batch_id=batch_id,
            organisation_id=organisation_id,
            keys=[outcome.key for outcome in outcomes],
            successes=[outcome.success for outcome in outcomes],
            errors=[outcome.error for outcome in outcomes],
        )

    async def count(self, batch_id: UUID, inserted: Inserted) -> Standing | None:
        """Adds the records to the counters. The last record ends the batch.

        Returns None if the batch has ended, does not exist, or would exceed its total. The summary is a separate
        statement, because only a new snapshot contains the records of reports that this one waited for.
        """
        standing = await self._fetch_optional(
            Standing,
            COUNT,
            batch_id=batch_id,
            reported=inserted.reported,
            succeeded=inserted.succeeded,
            failed=inserted.failed,
        )
        if standing is not None and standing.processed_records == standing.total_records:
            await self._execute(SUMMARISE, batch_id=batch_id)
        return standing

    async def find(self, batch_id: UUID) -> Standing:
        """Raises NotFound."""
        return await self._fetch_existing(Standing, FIND, no_such_batch(batch_id), batch_id=batch_id)

    async def list_failures(
        self, batch_id: UUID, *, after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[FoundFailure]:
        """Returns failures in the order in which they were recorded."""
        recorded_at, record_key = after or (None, None)
        return await self._fetch_all(
            FoundFailure,
            LIST_FAILURES,
            batch_id=batch_id,
            recorded_at=recorded_at,
            record_key=record_key,
            limit=limit,
        )
