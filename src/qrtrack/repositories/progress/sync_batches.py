"""Progress batches: announced, read, cancelled, summarised. Reports are in sync_records.py."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from qrtrack.domain.errors import NotFound
from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.models import SyncBatch
from qrtrack.repositories.base import Repository

SUMMARISE = """
UPDATE sync_batch_progress AS batch
SET summary = jsonb_build_object(
    'total', total_records, 'processed', processed_records, 'success', success_count, 'failed', failed_records,
    'duration_seconds', round(taken.seconds, 3),
    'records_per_second', round(processed_records / GREATEST(taken.seconds, 0.001), 1),
    'first_failures', ARRAY(
        SELECT jsonb_build_object('key', record_key, 'error', left(error, 200))
        FROM sync_batch_records
        WHERE batch_id = :batch_id AND NOT success
        ORDER BY recorded_at, record_key
        LIMIT 10))
FROM (
    SELECT batch_id, COALESCE(EXTRACT(EPOCH FROM completed_at - started_at), 0) AS seconds
    FROM sync_batch_progress
    WHERE batch_id = :batch_id
) AS taken
WHERE batch.batch_id = taken.batch_id
"""
CANCEL = """
UPDATE sync_batch_progress
SET status = 'cancelled', completed_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE batch_id = :batch_id AND status IN ('pending', 'processing')
"""


def no_such_batch(batch_id: UUID) -> NotFound:
    return NotFound(f"There is no progress batch {batch_id} in your organisation.")


class SyncBatchRepository(Repository):
    async def get(self, batch_id: UUID) -> SyncBatch:
        """Reads the row again, even if the session has loaded the batch before. Raises NotFound."""
        query = select(SyncBatch).where(SyncBatch.batch_id == batch_id)
        batch = await self._session.scalar(query.execution_options(populate_existing=True))
        if batch is None:
            raise no_such_batch(batch_id)
        return batch

    async def list(self, status: SyncStatus | None, *, before: UUID | None, limit: int) -> Sequence[SyncBatch]:
        """Lists progress batches, newest first."""
        query = select(SyncBatch).order_by(SyncBatch.batch_id.desc()).limit(limit)
        if status is not None:
            query = query.where(SyncBatch.status == status)
        if before is not None:
            query = query.where(SyncBatch.batch_id < before)
        return (await self._session.scalars(query)).all()

    async def add(self, batch: SyncBatch) -> None:
        self._session.add(batch)
        await self._session.flush()

    async def summarise(self, batch_id: UUID) -> None:
        """Stores the summary of a batch that has ended: counts, duration and the first failures."""
        await self._execute(SUMMARISE, batch_id=batch_id)

    async def cancel(self, batch_id: UUID) -> bool:
        """Returns False if the batch has already ended, or does not exist."""
        return await self._execute(CANCEL, batch_id=batch_id) == 1
