"""Deletes old rows, one step at a time. Trace events and settlement attempts are never deleted.

Rows that another transaction has locked are skipped, so any number of processes may delete at once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

STEP: Final = 5000
# A file of labels may have 60 MB.
LABEL_JOBS_STEP: Final = 20

OLD_JOB: Final = """
job.status IN ('completed', 'failed', 'cancelled') AND job.finished_at < now() - make_interval(days => :days)
"""
# A failed job may be retried, and then counts its rows. So its rows are deleted only together with the job.
OVER: Final = "job.status <> 'failed'"
OLD_ROW: Final = "prepared.status = 'consumed' AND prepared.consumed_at < now() - make_interval(days => :days)"
# No code of the job waits in the queue or was taken from it in the last `days` days, and the batch has no unit left
# that the job's exclusions could keep out of a case.
OVER_AND_DONE: Final = f"""
NOT EXISTS (SELECT FROM qr_prepared_codes AS prepared
            WHERE prepared.job_id = job.id
              AND (prepared.status = 'prepared' OR prepared.status = 'consumed' AND NOT ({OLD_ROW})))
AND NOT EXISTS (SELECT FROM qr_codes AS code
                WHERE code.batch_id = job.batch_id AND code.status IN ('generated', 'printed'))
"""
OLD_SYNC: Final = """
status IN ('completed', 'failed', 'cancelled') AND completed_at < now() - make_interval(days => :days)
"""
OLD_LINE: Final = "created_at < now() - make_interval(days => :days)"
OLD_STAGE: Final = """
stage.status = 'completed' AND stage.finished_at < now() - make_interval(days => :days)
AND EXISTS (SELECT FROM qr_batches AS batch WHERE batch.id = stage.batch_id AND batch.status = 'ready')
"""


class Aged(NamedTuple):
    """A table whose rows are deleted for their age alone. `old` is the condition. `by` is the column of their age: the
    oldest go first. Large tables have an index of it.
    """

    table: str
    old: str
    by: str
    key: str = "id"
    step: int = STEP


AGED: Final[Mapping[str, Aged]] = MappingProxyType(
    {
        "label_jobs": Aged(
            "label_jobs",
            "status IN ('completed', 'failed', 'cancelled') AND finished_at < now() - make_interval(days => :days)",
            by="finished_at",
            step=LABEL_JOBS_STEP,
        ),
        "print_jobs": Aged("print_jobs", "finished_at < now() - make_interval(days => :days)", by="finished_at"),
        "notifications": Aged(
            "notifications",
            "status IN ('completed', 'failed') AND finished_at < now() - make_interval(days => :days)",
            by="finished_at",
        ),
        "idempotency_keys": Aged(
            "idempotency_keys", "created_at < now() - make_interval(hours => :hours)", by="created_at", key="ctid"
        ),
        # Processes that end normally delete their own row.
        "worker_processes": Aged("worker_processes", "alive_until < now() - interval '1 day'", by="alive_until"),
    }
)
FAILED_CHECKS: Final = Aged("verification_failures", "failed_at < now() - interval '1 day'", by="failed_at", key="ctid")
COUNT_AGED: Final = ", ".join(
    f"(SELECT count(*) FROM {aged.table} WHERE {aged.old}) AS {name}" for name, aged in AGED.items()
)
PREVIEW: Final = f"""
SELECT (SELECT count(*) FROM qr_reverse_jobs AS job JOIN qr_prepared_codes AS prepared ON prepared.job_id = job.id
        WHERE {OLD_JOB} AND {OVER} AND {OLD_ROW}) AS prepared_codes,
       (SELECT count(*) FROM qr_reverse_job_logs WHERE {OLD_LINE}) AS log_lines,
       (SELECT count(*) FROM qr_reverse_jobs AS job WHERE {OLD_JOB} AND {OVER_AND_DONE}) AS reverse_jobs,
       (SELECT count(*) FROM qr_batch_stages AS stage WHERE {OLD_STAGE}) AS batch_stages,
       (SELECT count(*) FROM sync_batch_records
        WHERE batch_id IN (SELECT batch_id FROM sync_batch_progress WHERE {OLD_SYNC})) AS progress_records,
       (SELECT count(*) FROM sync_batch_progress WHERE {OLD_SYNC}) AS progress_batches,
       (SELECT count(*) FROM console_sessions WHERE expires_at < now()) AS console_sessions,
       {COUNT_AGED}
"""
OLD_JOBS: Final = f"""
SELECT job.id, job.batch_id, {OVER} AS is_over
FROM qr_reverse_jobs AS job
WHERE {OLD_JOB} AND job.id > :after
ORDER BY job.id
LIMIT :limit
"""
IS_OVER_AND_DONE: Final = f"""
SELECT true
FROM qr_reverse_jobs AS job
WHERE job.id = :job_id AND {OLD_JOB} AND {OVER_AND_DONE}
"""
PRUNE_CONSUMED: Final = f"""
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
# The stages of a ready batch are no longer needed; a failed batch may be retried. Ids follow age closely: `last_id` is
# NULL as soon as a chunk contains no old row.
PRUNE_STAGES: Final = f"""
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
# A damaged unit stays excluded: if somebody takes it out of its case later, it must not enter the queue, and the
# reconciliation of a closed batch must still count its excluded units.
KEEP_EXCLUSIONS: Final = """
UPDATE qr_excluded_codes AS excluded
SET job_id = NULL
FROM qr_codes AS code
WHERE excluded.job_id = :job_id
  AND code.batch_id = excluded.batch_id
  AND code.sequence_number = excluded.sequence_number
  AND (code.status = 'packed' OR code.voided_by_closing)
  AND NOT EXISTS (SELECT FROM qr_excluded_codes AS other
                  WHERE other.batch_id = excluded.batch_id
                    AND other.sequence_number = excluded.sequence_number
                    AND other.job_id IS NULL)
"""
DELETE_JOB: Final = "DELETE FROM qr_reverse_jobs WHERE id = :job_id"
OLD_PROGRESS: Final = f"""
SELECT batch_id
FROM sync_batch_progress
WHERE {OLD_SYNC}
ORDER BY batch_id
LIMIT :limit
"""
PRUNE_RECORDS: Final = """
DELETE FROM sync_batch_records
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM sync_batch_records WHERE batch_id = :batch_id LIMIT :step FOR UPDATE SKIP LOCKED))
"""
DELETE_PROGRESS: Final = """
DELETE FROM sync_batch_progress
WHERE batch_id = :batch_id AND NOT EXISTS (SELECT FROM sync_batch_records WHERE batch_id = :batch_id)
"""
# Ids follow age closely, so old lines have the lowest ids.
PRUNE_LOG_LINES: Final = f"""
DELETE FROM qr_reverse_job_logs
WHERE id IN (
    SELECT id FROM qr_reverse_job_logs
    WHERE id IN (SELECT id FROM qr_reverse_job_logs ORDER BY id LIMIT :step) AND {OLD_LINE}
    FOR UPDATE SKIP LOCKED)
"""
DELETE_AGED: Final = """
DELETE FROM {table}
WHERE {key} IN (SELECT {key} FROM {table} WHERE {old} ORDER BY {by} LIMIT :step FOR UPDATE SKIP LOCKED)
"""
PRUNE_SESSIONS: Final = """
WITH codes AS (
    DELETE FROM console_sign_in_codes WHERE expires_at < now()
)
DELETE FROM console_sessions WHERE expires_at < now()
"""


class Prunable(NamedTuple):
    """How many rows would be deleted now. Failed checks and codes of sign-in links are not counted."""

    prepared_codes: int
    log_lines: int
    reverse_jobs: int
    batch_stages: int
    progress_records: int
    progress_batches: int
    console_sessions: int
    label_jobs: int
    print_jobs: int
    notifications: int
    idempotency_keys: int
    worker_processes: int


class OldJob(NamedTuple):
    """An old job. `is_over` says that it cannot be retried."""

    id: UUID
    batch_id: UUID
    is_over: bool


class PrunedChunk(NamedTuple):
    """The result of pruning a chunk. The next chunk begins after `last_id`, which is None at the end."""

    last_id: int | None
    deleted: int


class RetentionRepository(Repository):
    async def preview(self, *, days: int, hours: int) -> Prunable:
        return await self._fetch_one(Prunable, PREVIEW, days=days, hours=hours)

    async def old_jobs(self, *, days: int, after: UUID, limit: int) -> list[OldJob]:
        """Returns old jobs in the order of their ids."""
        return await self._fetch_all(OldJob, OLD_JOBS, days=days, after=after, limit=limit)

    async def prune_consumed(self, job_id: UUID, *, days: int, after: int) -> PrunedChunk:
        """Deletes the old consumed rows among the next STEP rows of the job, after the id `after`."""
        return await self._fetch_one(PrunedChunk, PRUNE_CONSUMED, job_id=job_id, days=days, after=after, step=STEP)

    async def prune_stages(self, *, days: int, after: int) -> PrunedChunk:
        """Deletes the stages that are no longer needed among the next STEP stages, after the id `after`."""
        return await self._fetch_one(PrunedChunk, PRUNE_STAGES, days=days, after=after, step=STEP)

    async def is_over_and_done(self, job_id: UUID, *, days: int) -> bool:
        return await self._find_value(bool, IS_OVER_AND_DONE, job_id=job_id, days=days) is not None

    async def delete_job(self, job_id: UUID) -> int:
        """Deletes the job with its log and its prepared rows. Exclusions that may be needed again stay. Needs the batch
        lock.
        """
        await self._execute(KEEP_EXCLUSIONS, job_id=job_id)
        return await self._execute(DELETE_JOB, job_id=job_id)

    async def old_progress(self, *, days: int, limit: int) -> list[UUID]:
        """Returns progress batches that ended more than `days` ago."""
        return await self._fetch_values(UUID, OLD_PROGRESS, days=days, limit=limit)

    async def prune_records(self, batch_id: UUID) -> int:
        return await self._execute(PRUNE_RECORDS, batch_id=batch_id, step=STEP)

    async def delete_progress(self, batch_id: UUID) -> int:
        """Deletes the batch only if it has no records left: another process may be deleting them at this moment."""
        return await self._execute(DELETE_PROGRESS, batch_id=batch_id)

    async def prune_log_lines(self, *, days: int) -> int:
        return await self._execute(PRUNE_LOG_LINES, days=days, step=STEP)

    async def prune_aged(self, aged: Aged, *, days: int, hours: int) -> int:
        statement = DELETE_AGED.format(table=aged.table, key=aged.key, old=aged.old, by=aged.by)
        return await self._execute(statement, days=days, hours=hours, step=aged.step)

    async def prune_console_sessions(self) -> int:
        """Deletes sessions that have ended, and expired codes of sign-in links."""
        return await self._execute(PRUNE_SESSIONS)
