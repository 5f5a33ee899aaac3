"""Outcomes of records of fan-outs: stored and counted on the driver's own connection, since it is hot."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from qrtrack.domain.progress.sync_batches import Outcome
from qrtrack.repositories.base import Connection
from qrtrack.repositories.progress.sync_batches import SUMMARISE, no_such_batch

# Nothing for an unknown batch, since the table's policy refuses its records as a defect; `count` then finds no batch.
# In the order of the keys: two reports of the same records in different orders would wait for each other in a circle.
INSERT = """
WITH inserted AS (
    INSERT INTO sync_batch_records (batch_id, manufacturer_org_id, record_key, success, error)
    SELECT $1, $2, record_key, success, error
    FROM unnest($3::text[], $4::bool[], $5::text[]) WITH ORDINALITY AS reported (record_key, success, error, place)
    WHERE EXISTS (SELECT FROM sync_batch_progress WHERE batch_id = $1)
    ORDER BY record_key COLLATE "C", place
    ON CONFLICT (batch_id, record_key) DO NOTHING
    RETURNING record_key, success
)
SELECT count(*) FILTER (WHERE success) AS succeeded, count(*) FILTER (WHERE NOT success) AS failed,
       COALESCE(array_agg(record_key), '{}') AS keys
FROM inserted
"""
STANDING = "status, processed_records, total_records, progress_percentage"
FIND = f"SELECT {STANDING} FROM sync_batch_progress WHERE batch_id = $1"
# Its WHERE decides who is last and what is too much. The row is locked from here to the commit, and no longer.
COUNT = f"""
UPDATE sync_batch_progress
SET processed_records = processed_records + $2::int + $3::int,
    success_count = success_count + $2::int,
    failed_records = failed_records + $3::int,
    progress_percentage = 100 * (processed_records + $2::int + $3::int) / total_records,
    status = CASE WHEN processed_records + $2::int + $3::int < total_records THEN 'processing'
                  WHEN success_count + $2::int = 0 THEN 'failed' ELSE 'completed' END,
    started_at = COALESCE(started_at, now()),
    completed_at = CASE WHEN processed_records + $2::int + $3::int = total_records THEN clock_timestamp() END,
    updated_at = clock_timestamp()
WHERE batch_id = $1 AND status IN ('pending', 'processing')
  AND processed_records + $2::int + $3::int <= total_records
RETURNING {STANDING}
"""


@dataclass(frozen=True, slots=True)
class Inserted:
    """Outcomes that are new to their batch."""

    succeeded: int
    failed: int
    keys: Sequence[str]

    @property
    def count(self) -> int:
        return self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is."""

    status: str
    processed_records: int
    total_records: int
    progress_percentage: int


class RecordIntake:
    """One report, in the transaction that its caller has opened. `insert` first, then one `count`, then the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, batch_id: UUID, organisation_id: UUID, outcomes: Sequence[Outcome]) -> Inserted:
        """Inserts the outcomes of records that have none yet: of one key the first counts, in the request and of all.

        Waits for a report in flight of the same record, and sees how that ended.
        """
        row = await self._connection.fetchrow(
            INSERT,
            batch_id,
            organisation_id,
            [outcome.key for outcome in outcomes],
            [outcome.success for outcome in outcomes],
            [outcome.error for outcome in outcomes],
        )
        assert row is not None
        return Inserted(**row)

    async def count(self, batch_id: UUID, inserted: Inserted) -> Standing | None:
        """Adds to the batch, and ends it with its last record; None where it is over or would hold too many.

        The summary is a statement of its own: only now are the records of all who were counted before to be seen.
        """
        row = await self._connection.fetchrow(COUNT, batch_id, inserted.succeeded, inserted.failed)
        if row is None:
            return None
        if row["processed_records"] == row["total_records"]:
            await self._connection.execute(SUMMARISE.format(batch_id="$1"), batch_id)
        return Standing(**row)

    async def find(self, batch_id: UUID) -> Standing:
        """Raises NotFound."""
        row = await self._connection.fetchrow(FIND, batch_id)
        if row is None:
            raise no_such_batch(batch_id)
        return Standing(**row)
