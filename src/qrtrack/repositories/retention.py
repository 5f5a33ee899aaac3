"""What is deleted once it is old, a step at a time. Trace events and settlement attempts are not among it.

Rows that somebody else holds are passed over, so that any number of processes may do this at once.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import Repository

STEP: Final = 5000

OLD_JOB: Final = (
    "job.status IN ('completed', 'failed', 'cancelled') AND job.finished_at < now() - make_interval(days => :days)"
)
# A failed job may be retried, and then counts its rows: they go with the job itself.
OVER: Final = "job.status <> 'failed'"
OLD_ROW: Final = "prepared.status = 'consumed' AND prepared.consumed_at < now() - make_interval(days => :days)"
# Nothing of it waits, and its exclusions guard nothing any more: there is no unit left that could be packed.
OVER_AND_DONE: Final = (
    "NOT EXISTS (SELECT FROM qr_prepared_codes AS prepared WHERE prepared.job_id = job.id"
    f" AND (prepared.status = 'prepared' OR prepared.status = 'consumed' AND NOT ({OLD_ROW})))"
    " AND NOT EXISTS (SELECT FROM qr_codes AS code WHERE code.batch_id = job.batch_id"
    " AND code.status IN ('generated', 'printed'))"
)
OLD_SYNC: Final = (
    "status IN ('completed', 'failed', 'cancelled') AND completed_at < now() - make_interval(days => :days)"
)
OLD_NOTIFICATION: Final = "status IN ('completed', 'failed') AND finished_at < now() - make_interval(days => :days)"
OLD_LINE: Final = "created_at < now() - make_interval(days => :days)"
OLD_STAGE: Final = (
    "stage.status = 'completed' AND stage.finished_at < now() - make_interval(days => :days)"
    " AND EXISTS (SELECT FROM qr_batches AS batch WHERE batch.id = stage.batch_id AND batch.status = 'ready')"
)
OLD_KEY: Final = "created_at < now() - make_interval(hours => :hours)"
GONE_PROCESS: Final = "alive_until < now() - interval '1 day'"

PRUNE_CONSUMED = f"""
WITH chunk AS MATERIALIZED (
    SELECT id FROM qr_prepared_codes WHERE job_id = :job_id AND id > :after ORDER BY id LIMIT :step
), old AS (
    SELECT prepared.id FROM chunk JOIN qr_prepared_codes AS prepared USING (id)
    WHERE {OLD_ROW} FOR UPDATE OF prepared SKIP LOCKED
), gone AS (
    DELETE FROM qr_prepared_codes WHERE id IN (SELECT id FROM old) RETURNING 1
)
SELECT (SELECT max(id) FROM chunk) AS last_id, (SELECT count(*) FROM gone) AS deleted
"""

# A batch that is ready needs its chunks no more; one that has failed may be retried. They are looked at in the order of
# their ids, which is nearly that of their age: `last_id` is None where the young ones begin.
PRUNE_STAGES = f"""
WITH chunk AS MATERIALIZED (
    SELECT id, created_at FROM qr_batch_stages WHERE id > :after ORDER BY id LIMIT :step
), old AS (
    SELECT stage.id FROM chunk JOIN qr_batch_stages AS stage USING (id)
    WHERE {OLD_STAGE} FOR UPDATE OF stage SKIP LOCKED
), gone AS (
    DELETE FROM qr_batch_stages WHERE id IN (SELECT id FROM old) RETURNING 1
)
SELECT (SELECT max(id) FROM chunk WHERE {OLD_LINE}) AS last_id, (SELECT count(*) FROM gone) AS deleted
"""

# What was damaged stays so: a unit that is taken out of its case some day must not slip into the queue, and the sheet
# of a closed batch goes on counting its excluded units.
KEEP_EXCLUSIONS = """
UPDATE qr_excluded_codes AS excluded SET job_id = NULL FROM qr_codes AS code
WHERE excluded.job_id = :job_id AND code.batch_id = excluded.batch_id
  AND code.sequence_number = excluded.sequence_number AND (code.status = 'packed' OR code.voided_by_closing)
  AND NOT EXISTS (SELECT FROM qr_excluded_codes AS other WHERE other.batch_id = excluded.batch_id
                  AND other.sequence_number = excluded.sequence_number AND other.job_id IS NULL)
"""


class RetentionRepository(Repository):
    async def preview(self, *, days: int, hours: int) -> Row[Any]:
        """How many rows of each sort would go now."""
        return await self._row(
            "SELECT (SELECT count(*) FROM qr_reverse_jobs AS job JOIN qr_prepared_codes AS prepared"
            f"  ON prepared.job_id = job.id WHERE {OLD_JOB} AND {OVER} AND {OLD_ROW}) AS prepared_codes,"
            f" (SELECT count(*) FROM qr_reverse_job_logs WHERE {OLD_LINE}) AS log_lines,"
            f" (SELECT count(*) FROM qr_reverse_jobs AS job WHERE {OLD_JOB} AND {OVER_AND_DONE}) AS reverse_jobs,"
            f" (SELECT count(*) FROM qr_batch_stages AS stage WHERE {OLD_STAGE}) AS batch_stages,"
            " (SELECT count(*) FROM sync_batch_records WHERE batch_id IN"
            f"  (SELECT batch_id FROM sync_batch_progress WHERE {OLD_SYNC})) AS progress_records,"
            f" (SELECT count(*) FROM sync_batch_progress WHERE {OLD_SYNC}) AS progress_batches,"
            f" (SELECT count(*) FROM notifications WHERE {OLD_NOTIFICATION}) AS notifications,"
            f" (SELECT count(*) FROM idempotency_keys WHERE {OLD_KEY}) AS idempotency_keys,"
            f" (SELECT count(*) FROM worker_processes WHERE {GONE_PROCESS}) AS worker_processes",
            days=days,
            hours=hours,
        )

    async def old_jobs(self, *, days: int, after: UUID, limit: int) -> Sequence[Row[Any]]:
        """Jobs that ended so long ago, in the order of their ids."""
        return await self._rows(
            f"SELECT job.id, job.batch_id, {OVER} AS is_over FROM qr_reverse_jobs AS job WHERE {OLD_JOB}"
            " AND job.id > :after ORDER BY job.id LIMIT :limit",
            days=days,
            after=after,
            limit=limit,
        )

    async def prune_consumed(self, job_id: UUID, *, days: int, after: int) -> Row[Any]:
        """Looks at the job's next rows and deletes the old ones: `deleted`, and `last_id` (None at the end)."""
        return await self._row(PRUNE_CONSUMED, job_id=job_id, days=days, after=after, step=STEP)

    async def prune_stages(self, *, days: int, after: int) -> Row[Any]:
        """Looks at the next chunks of batches and deletes those that nobody needs: `deleted`, and `last_id`."""
        return await self._row(PRUNE_STAGES, days=days, after=after, step=STEP)

    async def is_over_and_done(self, job_id: UUID, *, days: int) -> bool:
        return bool(
            await self._scalar(
                f"SELECT true FROM qr_reverse_jobs AS job WHERE job.id = :job_id AND {OLD_JOB} AND {OVER_AND_DONE}",
                job_id=job_id,
                days=days,
            )
        )

    async def delete_job(self, job_id: UUID) -> int:
        """With all that is the job's own, but for exclusions that may be needed again. Needs the batch lock."""
        await self._run(KEEP_EXCLUSIONS, job_id=job_id)
        return await self._run("DELETE FROM qr_reverse_jobs WHERE id = :job_id", job_id=job_id)

    async def old_progress(self, *, days: int, limit: int) -> Sequence[UUID]:
        """Progress batches that ended so long ago."""
        rows = await self._rows(
            f"SELECT batch_id FROM sync_batch_progress WHERE {OLD_SYNC} ORDER BY batch_id LIMIT :limit",
            days=days,
            limit=limit,
        )
        return [row.batch_id for row in rows]

    async def prune_records(self, batch_id: UUID) -> int:
        return await self._run(
            "DELETE FROM sync_batch_records WHERE ctid = ANY(ARRAY(SELECT ctid FROM sync_batch_records"
            " WHERE batch_id = :batch_id LIMIT :step FOR UPDATE SKIP LOCKED))",
            batch_id=batch_id,
            step=STEP,
        )

    async def delete_progress(self, batch_id: UUID) -> int:
        """Once none of its records is left: another process may still be at them."""
        return await self._run(
            "DELETE FROM sync_batch_progress WHERE batch_id = :batch_id"
            " AND NOT EXISTS (SELECT FROM sync_batch_records WHERE batch_id = :batch_id)",
            batch_id=batch_id,
        )

    async def prune_log_lines(self, *, days: int) -> int:
        """Lines are written in the order of their ids, or nearly: the old ones are among the first."""
        return await self._run(
            "DELETE FROM qr_reverse_job_logs WHERE id IN (SELECT id FROM qr_reverse_job_logs WHERE id IN"
            f" (SELECT id FROM qr_reverse_job_logs ORDER BY id LIMIT :step) AND {OLD_LINE} FOR UPDATE SKIP LOCKED)",
            days=days,
            step=STEP,
        )

    async def prune_notifications(self, *, days: int) -> int:
        return await self._run(
            f"DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE {OLD_NOTIFICATION}"
            " ORDER BY finished_at LIMIT :step FOR UPDATE SKIP LOCKED)",
            days=days,
            step=STEP,
        )

    async def prune_idempotency_keys(self, *, hours: int) -> int:
        return await self._run(
            f"DELETE FROM idempotency_keys WHERE ctid IN (SELECT ctid FROM idempotency_keys WHERE {OLD_KEY}"
            " ORDER BY created_at LIMIT :step FOR UPDATE SKIP LOCKED)",
            hours=hours,
            step=STEP,
        )

    async def prune_worker_processes(self) -> int:
        """Those that were killed; the others took their row along."""
        return await self._run(f"DELETE FROM worker_processes WHERE {GONE_PROCESS}")
