"""Fan-outs of other systems: outcomes, one row a record, and the row that counts them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from qrtrack.domain.errors import NotFound
from qrtrack.models import SyncBatch
from qrtrack.repositories.base import Repository

# How the parameter is written is the caller's: there are two ways to the database.
SUMMARISE = """
UPDATE sync_batch_progress AS batch
SET summary = jsonb_build_object(
    'total', total_records, 'processed', processed_records, 'success', success_count, 'failed', failed_records,
    'duration_seconds', round(taken.seconds, 3),
    'records_per_second', round(processed_records / GREATEST(taken.seconds, 0.001), 1),
    'first_failures', ARRAY(
        SELECT jsonb_build_object('key', record_key, 'error', left(error, 200)) FROM sync_batch_records
        WHERE batch_id = {batch_id} AND NOT success ORDER BY recorded_at, record_key LIMIT 10))
FROM (SELECT batch_id, COALESCE(EXTRACT(EPOCH FROM completed_at - started_at), 0) AS seconds
      FROM sync_batch_progress WHERE batch_id = {batch_id}) AS taken
WHERE batch.batch_id = taken.batch_id
"""


def no_such_batch(batch_id: UUID) -> NotFound:
    return NotFound(f"There is no progress batch {batch_id} in your organisation.")


class ProgressRepository(Repository):
    async def get(self, batch_id: UUID) -> SyncBatch:
        """As it is now. Raises NotFound."""
        query = select(SyncBatch).where(SyncBatch.batch_id == batch_id)
        batch = await self._session.scalar(query.execution_options(populate_existing=True))
        if batch is None:
            raise no_such_batch(batch_id)
        return batch

    async def add(self, batch: SyncBatch) -> None:
        self._session.add(batch)
        await self._session.flush()

    async def summarise(self, batch_id: UUID) -> None:
        """What there is to say at the end: counts, duration, and the first failures."""
        await self._run(SUMMARISE.format(batch_id=":batch_id"), batch_id=batch_id)

    async def cancel(self, batch_id: UUID) -> bool:
        """False when it is over already, or not there."""
        cancelled = await self._run(
            "UPDATE sync_batch_progress SET status = 'cancelled', completed_at = clock_timestamp(),"
            " updated_at = clock_timestamp() WHERE batch_id = :batch_id AND status IN ('pending', 'processing')",
            batch_id=batch_id,
        )
        return cancelled == 1

    async def failures(self, batch_id: UUID, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[Row[Any]]:
        """In the order in which they were recorded."""
        recorded_at, key = after or (None, None)
        return await self._rows(
            "SELECT record_key, error, recorded_at FROM sync_batch_records WHERE batch_id = :batch_id AND NOT success"
            " AND (CAST(:recorded_at AS timestamptz) IS NULL"
            "      OR (recorded_at, record_key) > (CAST(:recorded_at AS timestamptz), CAST(:key AS text)))"
            " ORDER BY recorded_at, record_key LIMIT :limit",
            batch_id=batch_id,
            recorded_at=recorded_at,
            key=key,
            limit=limit,
        )
