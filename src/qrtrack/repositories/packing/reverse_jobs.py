"""Reverse jobs: submitting, counting, preparing chunk by chunk, cancelling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from qrtrack.domain.claims import Claim
from qrtrack.domain.errors import NotFound
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.reverse_jobs import JobCounts
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.models import ReverseJob
from qrtrack.repositories.base import KEEP_PLANS, Repository
from qrtrack.repositories.queues import REVERSE_JOBS

QUEUE_POSITION = """
SELECT count(*) + 1
FROM qr_reverse_jobs AS job
WHERE status = 'queued' AND manufacturer_org_id = :organisation_id
  AND (priority > :priority OR priority = :priority AND (run_at, id) < (:run_at, :id))
"""

RANGE_OF_VARIANT = """
SELECT min(first_sequence) AS first, max(last_sequence) AS last
FROM qr_batch_variants
WHERE batch_id = :batch_id AND (CAST(:variant AS text) IS NULL OR variant = :variant)
HAVING count(*) > 0
"""

# Grouped, as RECONCILE is (reconciliation.py): without statistics, as on a new batch, a join takes minutes; with a
# queue of a million codes, so does `IN`.
COUNT = """
SELECT clock_timestamp() AS counted_at, count(*) AS total, count(*) FILTER (WHERE is_excluded) AS excluded,
       count(*) FILTER (WHERE is_queued AND NOT is_excluded) AS duplicates
FROM (SELECT bool_or(is_excluded) AS is_excluded, bool_or(is_queued) AS is_queued
      FROM (SELECT sequence_number, TRUE AS is_available, FALSE AS is_excluded, FALSE AS is_queued
            FROM qr_codes
            WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last
              AND status IN ('generated', 'printed')
            UNION ALL
            SELECT sequence_number, FALSE, TRUE, FALSE
            FROM qr_excluded_codes
            WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last
            UNION ALL
            SELECT sequence_number, FALSE, FALSE, TRUE
            FROM qr_prepared_codes
            WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last AND status = 'prepared') AS found
      GROUP BY sequence_number
      HAVING bool_or(is_available)) AS available
"""

# IN with its own range is executed as a hash lookup. Its ORDER BY makes the planner use the index in that order: the
# plan is made while the queue is empty and all indexes look alike, and another index would read the whole queue for
# each chunk. ON CONFLICT would search the unique index twice for each code; without it, the statement needs
# `lock_preparation`. Codes that were unlinked after the job had counted are not in its total: later jobs prepare them.
PREPARE = """
WITH available AS MATERIALIZED (
    SELECT sequence_number, code,
           sequence_number IN (
               SELECT sequence_number FROM qr_excluded_codes
               WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last) AS excluded,
           sequence_number IN (
               SELECT sequence_number FROM qr_prepared_codes
               WHERE batch_id = :batch_id AND status = 'prepared' AND sequence_number BETWEEN :first AND :last
               ORDER BY sequence_number) AS queued
    FROM qr_codes
    WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last
      AND status IN ('generated', 'printed')
      AND (unlinked_at IS NULL OR unlinked_at <= :counted_at)
), inserted AS (
    INSERT INTO qr_prepared_codes (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code)
    SELECT :job_id, :batch_id, :order_id, :organisation_id, sequence_number, code
    FROM available WHERE NOT excluded AND NOT queued ORDER BY sequence_number
)
SELECT count(*) AS available, count(*) FILTER (WHERE excluded) AS excluded,
       count(*) FILTER (WHERE NOT excluded AND NOT queued) AS prepared
FROM available
"""

# A plan is kept here after its table has grown, so sequential scans are off: tables must be read by their indexes.
LOCK_PREPARATION = f"""
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), {KEEP_PLANS}, set_config('enable_seqscan', 'off', true)
"""

RECORD_COUNT = f"""
UPDATE qr_reverse_jobs
SET counted_at = :counted_at, total_available_in_batch = :total, remaining_to_prepare = :remaining,
    progress = GREATEST(progress, :progress), updated_at = now()
WHERE {REVERSE_JOBS.fence}
"""

RECORD_CHUNK = f"""
UPDATE qr_reverse_jobs
SET next_sequence = :next_sequence, prepared_count = :prepared, duplicate_count = :duplicates,
    excluded_count = :excluded, progress = GREATEST(progress, :progress),
    remaining_to_prepare = GREATEST(remaining_to_prepare - :newly_prepared, 0), updated_at = now()
WHERE {REVERSE_JOBS.fence}
"""

COMPLETE = f"""
UPDATE qr_reverse_jobs
SET {REVERSE_JOBS.finished}, progress = 100, remaining_to_prepare = 0, result_summary = CAST(:summary AS jsonb)
WHERE {REVERSE_JOBS.fence}
"""

END_EXCLUSIONS = "DELETE FROM qr_excluded_codes WHERE job_id = :job_id"
WITHDRAW = "DELETE FROM qr_prepared_codes WHERE job_id = :job_id AND status = 'prepared'"

LOCK_LIVE_OF_BATCH = """
SELECT id
FROM qr_reverse_jobs
WHERE batch_id = :batch_id AND status IN ('queued', 'running')
ORDER BY id
FOR UPDATE
"""

LOG = """
INSERT INTO qr_reverse_job_logs (job_id, manufacturer_org_id, level, message)
VALUES (:job_id, :organisation_id, :level, :message)
"""

LIST_LOG = """
SELECT id, level, message, created_at
FROM qr_reverse_job_logs
WHERE job_id = :job_id AND id > :after
ORDER BY id
LIMIT :limit
"""


class SequenceRange(NamedTuple):
    first: int
    last: int


class CountedCodes(NamedTuple):
    """What a job finds: the available codes, and how many of them are excluded or already prepared by another job."""

    counted_at: datetime
    total: int
    excluded: int
    duplicates: int

    @property
    def to_prepare(self) -> int:
        return self.total - self.excluded - self.duplicates


class PreparedChunk(NamedTuple):
    """`excluded` and `prepared` are parts of `available`. The remaining codes were in the queue already."""

    available: int
    excluded: int
    prepared: int


class LogLine(NamedTuple):
    id: int
    level: str
    message: str
    created_at: datetime


class ReverseJobRepository(Repository):
    async def get(self, job_id: UUID) -> ReverseJob:
        """Reads the job without its exclusion list, which may be long. Raises NotFound."""
        return await self._get(job_id, lock=False)

    async def lock(self, job_id: UUID) -> ReverseJob:
        """Reads the job and locks it until the transaction ends. Raises NotFound."""
        return await self._get(job_id, lock=True)

    async def _get(self, job_id: UUID, *, lock: bool) -> ReverseJob:
        query = select(ReverseJob).where(ReverseJob.id == job_id)
        if lock:
            query = query.with_for_update().execution_options(populate_existing=True)
        job = await self._session.scalar(query)
        if job is None:
            raise NotFound(f"There is no reverse job {job_id} in your organisation.")
        return job

    async def list(self, selection: JobSelection, *, before: UUID | None, limit: int) -> Sequence[ReverseJob]:
        """Lists reverse jobs, newest first."""
        wanted = {name: value for name, value in asdict(selection).items() if value is not None}
        query = select(ReverseJob).filter_by(**wanted).order_by(ReverseJob.id.desc()).limit(limit)
        if before is not None:
            query = query.where(ReverseJob.id < before)
        return (await self._session.scalars(query)).all()

    async def add(self, job: ReverseJob) -> None:
        self._session.add(job)
        await self._session.flush()

    async def queue_position(self, job: ReverseJob) -> int | None:
        """Returns 1 for the organisation's next job, and None if the job is not queued."""
        if job.status != JobStatus.QUEUED:
            return None
        return await self._fetch_value(
            int,
            QUEUE_POSITION,
            organisation_id=job.manufacturer_org_id,
            priority=job.priority,
            run_at=job.run_at,
            id=job.id,
        )

    async def range_of_variant(self, batch_id: UUID, variant: str | None) -> SequenceRange | None:
        """Returns the sequence numbers of the variant, or of the whole batch. Returns None if there is no such
        variant.
        """
        return await self._fetch_optional(SequenceRange, RANGE_OF_VARIANT, batch_id=batch_id, variant=variant)

    async def count(self, batch_id: UUID, first: int, last: int) -> CountedCodes:
        return await self._fetch_one(CountedCodes, COUNT, batch_id=batch_id, first=first, last=last)

    async def lock_preparation(self, batch_id: UUID) -> None:
        """Makes other jobs wait: until this transaction ends, none of them prepares codes of the batch. Packing does
        not wait.

        A separate statement, so that the next one sees what the other jobs have queued.
        """
        await self._execute(LOCK_PREPARATION, name=f"preparing {batch_id}")

    async def prepare(self, job: ReverseJob, first: int, last: int) -> PreparedChunk:
        """Queues the codes of one chunk that can be packed and are not excluded. Needs `lock_preparation`."""
        return await self._fetch_one(
            PreparedChunk,
            PREPARE,
            batch_id=job.batch_id,
            job_id=job.id,
            order_id=job.order_id,
            organisation_id=job.manufacturer_org_id,
            first=first,
            last=last,
            counted_at=job.counted_at,
        )

    async def record_count(self, claim: Claim, counted: CountedCodes, *, progress: int) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(
            claim,
            RECORD_COUNT,
            counted_at=counted.counted_at,
            total=counted.total,
            remaining=counted.to_prepare,
            progress=progress,
        )

    async def record_chunk(self, claim: Claim, counts: JobCounts, *, progress: int, newly_prepared: int) -> None:
        """Stores the counts after a chunk. `newly_prepared`: how many codes of the chunk entered the queue. Raises
        LeaseLost.
        """
        await self._execute_fenced(
            claim, RECORD_CHUNK, **asdict(counts), progress=progress, newly_prepared=newly_prepared
        )

    async def complete(self, claim: Claim, summary: Mapping[str, int]) -> None:
        """Raises LeaseLost."""
        await self._execute_fenced(claim, COMPLETE, summary=json.dumps(summary))

    async def withdraw(self, job_id: UUID) -> int:
        """Deletes the job's exclusions, and the codes that it prepared and no case has taken. Returns how many
        codes.
        """
        await self._execute(END_EXCLUSIONS, job_id=job_id)
        return await self._execute(WITHDRAW, job_id=job_id)

    async def lock_live_of_batch(self, batch_id: UUID) -> Sequence[UUID]:
        """Returns the batch's queued and running jobs, and locks them until the transaction ends."""
        return await self._fetch_values(UUID, LOCK_LIVE_OF_BATCH, batch_id=batch_id)

    async def log(self, job_id: UUID, organisation_id: UUID, message: str, *, level: str = "info") -> None:
        """Adds a line that the plant reads."""
        await self._execute(LOG, job_id=job_id, organisation_id=organisation_id, level=level, message=message)

    async def list_log(self, job_id: UUID, *, after: int, limit: int) -> Sequence[LogLine]:
        return await self._fetch_all(LogLine, LIST_LOG, job_id=job_id, after=after, limit=limit)
