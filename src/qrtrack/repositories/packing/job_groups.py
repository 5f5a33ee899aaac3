"""Reverse jobs that are cancelled or retried together: each statement changes all jobs of one chunk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple
from uuid import UUID

from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.selections import JobGroup
from qrtrack.repositories.base import Repository
from qrtrack.repositories.queues import REVERSE_JOBS

# Nothing can be prepared in a closed batch, so its failed jobs are not retried.
MATCHES: Final = """job.status = ANY(CAST(:statuses AS text[]))
AND (CAST(:batch_id AS uuid) IS NULL OR job.batch_id = :batch_id)
AND (job.status <> 'failed' OR EXISTS (SELECT FROM qr_batches AS batch
                                       WHERE batch.id = job.batch_id AND batch.closed_at IS NULL))"""
COUNT: Final = f"""
SELECT count(*)
FROM (SELECT FROM qr_reverse_jobs AS job WHERE {MATCHES} LIMIT :limit) AS counted
"""
FIND_NEWEST: Final = "SELECT id FROM qr_reverse_jobs ORDER BY id DESC LIMIT 1"
FIND: Final = f"""
SELECT job.id, job.batch_id
FROM qr_reverse_jobs AS job
WHERE job.id > :after AND job.id <= :last AND {MATCHES}
ORDER BY job.id
LIMIT :limit
"""
STILL_MATCHING: Final = f"""id = ANY(ARRAY(
    SELECT job.id
    FROM qr_reverse_jobs AS job
    WHERE job.id = ANY(CAST(:ids AS uuid[])) AND {MATCHES}
    ORDER BY job.id FOR UPDATE))"""
CANCEL: Final = f"""
UPDATE qr_reverse_jobs
SET {REVERSE_JOBS.ended("cancelled")}
WHERE {STILL_MATCHING}
RETURNING id
"""
RETRY: Final = f"""
UPDATE qr_reverse_jobs
SET {REVERSE_JOBS.requeued}
WHERE {STILL_MATCHING}
RETURNING id
"""
END_EXCLUSIONS: Final = "DELETE FROM qr_excluded_codes WHERE job_id = ANY(CAST(:ids AS uuid[]))"
WITHDRAW: Final = """
WITH withdrawn AS (
    DELETE FROM qr_prepared_codes WHERE job_id = ANY(CAST(:ids AS uuid[])) AND status = 'prepared' RETURNING job_id
)
SELECT job.id AS job_id, count(withdrawn.job_id) AS withdrawn
FROM unnest(CAST(:ids AS uuid[])) AS job (id)
LEFT JOIN withdrawn ON withdrawn.job_id = job.id
GROUP BY job.id
ORDER BY job.id
"""
RECORD: Final = """
WITH changed AS (
    SELECT job.id, job.batch_id, job.manufacturer_org_id, event.message, event.details
    FROM unnest(CAST(:ids AS uuid[]), CAST(:messages AS text[]), CAST(:details AS text[]))
        AS event (job_id, message, details)
    JOIN qr_reverse_jobs AS job ON job.id = event.job_id
), logged AS (
    INSERT INTO qr_reverse_job_logs (job_id, manufacturer_org_id, level, message)
    SELECT id, manufacturer_org_id, :level, message FROM changed ORDER BY id
)
INSERT INTO trace_events (manufacturer_org_id, action, actor, batch_id, job_id, unit_count, details)
SELECT manufacturer_org_id, :action, :actor, batch_id, id, 0, CAST(details AS jsonb) FROM changed ORDER BY id
"""


class FoundJob(NamedTuple):
    id: UUID
    batch_id: UUID


class Withdrawal(NamedTuple):
    """How many prepared codes left the queue with a job."""

    job_id: UUID
    withdrawn: int


class JobEvent(NamedTuple):
    """What happened to one job: its log line, and the details of its trace event."""

    job_id: UUID
    message: str
    details: Mapping[str, Any]


class JobGroupRepository(Repository):
    async def count(self, group: JobGroup, *, limit: int) -> int:
        """Counts at most `limit` jobs."""
        return await self._fetch_value(int, COUNT, **asdict(group), limit=limit)

    async def find_newest(self) -> UUID | None:
        """Returns the id of the organisation's newest job, whatever its state."""
        return await self._find_value(UUID, FIND_NEWEST)

    async def find(self, group: JobGroup, *, after: UUID, last: UUID, limit: int) -> Sequence[FoundJob]:
        """Returns the next jobs after `after` up to `last`, by their ids."""
        return await self._fetch_all(FoundJob, FIND, **asdict(group), after=after, last=last, limit=limit)

    async def cancel(self, group: JobGroup, ids: Sequence[UUID]) -> Sequence[UUID]:
        """Ends those of the jobs that still match. Their workers get LeaseLost. Returns their ids."""
        return sorted(await self._fetch_values(UUID, CANCEL, **asdict(group), ids=list(ids)))

    async def retry(self, group: JobGroup, ids: Sequence[UUID]) -> Sequence[UUID]:
        """Queues those of the jobs again that still match. Returns their ids."""
        return sorted(await self._fetch_values(UUID, RETRY, **asdict(group), ids=list(ids)))

    async def withdraw(self, ids: Sequence[UUID]) -> Sequence[Withdrawal]:
        """Deletes the exclusions of the jobs, and the codes that they prepared and no case has taken. Returns one row
        for each job.
        """
        await self._execute(END_EXCLUSIONS, ids=list(ids))
        return await self._fetch_all(Withdrawal, WITHDRAW, ids=list(ids))

    async def record(self, action: str, events: Sequence[JobEvent], *, caller: Caller, level: str) -> None:
        """Adds a log line and a trace event of each job."""
        await self._execute(
            RECORD,
            action=action,
            actor=caller.user_id,
            level=level,
            ids=[event.job_id for event in events],
            messages=[event.message for event in events],
            details=[json.dumps(event.details) for event in events],
        )
