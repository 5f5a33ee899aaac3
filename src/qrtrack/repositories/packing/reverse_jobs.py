"""Reverse jobs: submitting, counting, preparing chunk by chunk, cancelling."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from qrtrack.domain.errors import NotFound
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.models import ReverseJob
from qrtrack.repositories.base import KEEP_PLANS, Repository

# The codes of the job's range that can go into a case, and whether they are excluded and already queued. As below, IN
# means a hash whatever the planner believes: new tables have no statistics, and a join took minutes.
AVAILABLE = """
    SELECT sequence_number IN (SELECT sequence_number FROM qr_excluded_codes
                               WHERE batch_id = :batch_id) AS excluded,
           sequence_number IN (SELECT sequence_number FROM qr_prepared_codes
                               WHERE batch_id = :batch_id AND status = 'prepared') AS queued
    FROM qr_codes
    WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last AND status IN ('generated', 'printed')
"""

# IN with a range of its own is looked up in a hash. Its ORDER BY holds the planner to the index in that order: the plan
# is made while the queue is empty and every index looks alike, and another would read the whole queue for each chunk.
# Without ON CONFLICT, which would search the unique index twice for each code, the statement needs the turn.
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
      AND (released_at IS NULL OR released_at <= :counted_at)
), inserted AS (
    INSERT INTO qr_prepared_codes (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code)
    SELECT :job_id, :batch_id, :order_id, :organisation, sequence_number, code
    FROM available WHERE NOT excluded AND NOT queued ORDER BY sequence_number
)
SELECT count(*) AS available, count(*) FILTER (WHERE excluded) AS excluded,
       count(*) FILTER (WHERE NOT excluded AND NOT queued) AS prepared
FROM available
"""


class ReverseJobRepository(Repository):
    async def get(self, job_id: UUID) -> ReverseJob:
        """Without its exclusion list, which may be long. Raises NotFound."""
        job = await self._session.scalar(select(ReverseJob).where(ReverseJob.id == job_id))
        if job is None:
            raise NotFound(f"There is no reverse job {job_id} in your organisation.")
        return job

    async def lock(self, job_id: UUID) -> ReverseJob:
        """The job as it is now, held until the end of the transaction. Raises NotFound."""
        query = select(ReverseJob).where(ReverseJob.id == job_id).with_for_update()
        job = await self._session.scalar(query.execution_options(populate_existing=True))
        if job is None:
            raise NotFound(f"There is no reverse job {job_id} in your organisation.")
        return job

    async def list(self, selection: JobSelection, *, before: UUID | None, limit: int) -> Sequence[ReverseJob]:
        """Newest first."""
        wanted = {name: value for name, value in asdict(selection).items() if value is not None}
        query = select(ReverseJob).filter_by(**wanted).order_by(ReverseJob.id.desc()).limit(limit)
        if before is not None:
            query = query.where(ReverseJob.id < before)
        return (await self._session.scalars(query)).all()

    async def add(self, job: ReverseJob) -> None:
        self._session.add(job)
        await self._session.flush()

    async def queue_position(self, job: ReverseJob) -> int | None:
        """1 is the organisation's next one; None unless it waits."""
        if job.status != "queued":
            return None
        ahead = await self._scalar(
            "SELECT count(*) FROM qr_reverse_jobs AS job WHERE status = 'queued'"
            " AND manufacturer_org_id = :organisation"
            " AND (priority > :priority OR priority = :priority AND (run_at, id) < (:run_at, :id))",
            organisation=job.manufacturer_org_id,
            priority=job.priority,
            run_at=job.run_at,
            id=job.id,
        )
        return int(ahead) + 1

    async def lane(self, batch_id: UUID, variant: str | None) -> Row[Any] | None:
        """First and last sequence number of the variant, or of the whole batch."""
        return await self._row_or_none(
            "SELECT min(first_sequence) AS first, max(last_sequence) AS last FROM qr_batch_variants"
            " WHERE batch_id = :batch_id AND (CAST(:variant AS text) IS NULL OR variant = :variant)"
            " HAVING count(*) > 0",
            batch_id=batch_id,
            variant=variant,
        )

    async def count(self, batch_id: UUID, first: int, last: int) -> Row[Any]:
        """What stands before a job: available codes, those of them excluded, those already prepared."""
        return await self._row(
            "SELECT clock_timestamp() AS counted_at, count(*) AS total, count(*) FILTER (WHERE excluded) AS excluded,"
            " count(*) FILTER (WHERE queued AND NOT excluded) AS duplicates"
            f" FROM ({AVAILABLE}) AS available",
            batch_id=batch_id,
            first=first,
            last=last,
        )

    async def queued_among(self, batch_id: UUID, sequences: Sequence[int]) -> int:
        return int(
            await self._scalar(
                "SELECT count(*) FROM unnest(CAST(:sequences AS int[])) AS listed(number) WHERE (SELECT true"
                " FROM qr_prepared_codes WHERE batch_id = :batch_id AND sequence_number = listed.number"
                " AND status = 'prepared' LIMIT 1)",
                batch_id=batch_id,
                sequences=sequences,
            )
        )

    async def lower_queue_head(self, batch_id: UUID, first: int, last: int) -> None:
        """From here on codes from `first` on may enter the queue again. Needs the batch lock."""
        await self._run(
            "UPDATE qr_batch_variants SET queue_head = GREATEST(first_sequence, :first) WHERE batch_id = :batch_id"
            " AND last_sequence >= :first AND first_sequence <= :last"
            " AND queue_head > GREATEST(first_sequence, :first)",
            batch_id=batch_id,
            first=first,
            last=last,
        )

    async def take_turn(self, batch_id: UUID) -> None:
        """Waits until no other job of the batch is in the middle of a chunk; holds until the end of the transaction.

        A statement of its own: the next one sees what the others have queued. Packing does not wait for it. Tables are
        read by their indexes from here on, since a plan outlives the moment in which the table was small.
        """
        await self._run(
            f"SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), {KEEP_PLANS},"
            " set_config('enable_seqscan', 'off', true)",
            name=f"preparing {batch_id}",
        )

    async def prepare(self, job: ReverseJob, first: int, last: int) -> Row[Any]:
        """One chunk, one statement: queues the good codes in serial order, and counts what it met. Needs the turn.

        Codes that came out of a case after the job had counted are not of its total, and left to later jobs.
        """
        return await self._row(
            PREPARE,
            batch_id=job.batch_id,
            job_id=job.id,
            order_id=job.order_id,
            organisation=job.manufacturer_org_id,
            first=first,
            last=last,
            counted_at=job.counted_at,
        )

    async def end(self, job_id: UUID, status: str) -> None:
        """Ends a job from outside: who works on it finds its lease gone, and writes nothing more."""
        await self._run(
            "UPDATE qr_reverse_jobs SET status = :status, lease_token = NULL, lease_expires_at = NULL,"
            " finished_at = clock_timestamp(), updated_at = now() WHERE id = :job_id",
            job_id=job_id,
            status=status,
        )

    async def withdraw(self, job_id: UUID) -> int:
        """Deletes what the job has put into the queue and no case has taken, and its exclusions; how many codes."""
        await self._run("DELETE FROM qr_excluded_codes WHERE job_id = :job_id", job_id=job_id)
        return await self._run(
            "DELETE FROM qr_prepared_codes WHERE job_id = :job_id AND status = 'prepared'", job_id=job_id
        )

    async def requeue(self, job_id: UUID) -> None:
        await self._run(
            "UPDATE qr_reverse_jobs SET status = 'queued', attempts = 0, run_at = now(), error_message = NULL,"
            " finished_at = NULL, updated_at = now() WHERE id = :job_id",
            job_id=job_id,
        )

    async def live_of_batch(self, batch_id: UUID) -> Sequence[UUID]:
        rows = await self._rows(
            "SELECT id FROM qr_reverse_jobs WHERE batch_id = :batch_id AND status IN ('queued', 'running') ORDER BY id"
            " FOR UPDATE",
            batch_id=batch_id,
        )
        return [row.id for row in rows]

    async def log(self, job_id: UUID, organisation_id: UUID, message: str, *, level: str = "info") -> None:
        await self._run(
            "INSERT INTO qr_reverse_job_logs (job_id, manufacturer_org_id, level, message)"
            " VALUES (:job_id, :organisation, :level, :message)",
            job_id=job_id,
            organisation=organisation_id,
            level=level,
            message=message,
        )

    async def logs(self, job_id: UUID, *, after: int, limit: int) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT id, level, message, created_at FROM qr_reverse_job_logs WHERE job_id = :job_id AND id > :after"
            " ORDER BY id LIMIT :limit",
            job_id=job_id,
            after=after,
            limit=limit,
        )
