"""Executes a reverse job: counts, prepares chunk by chunk, completes. If a worker is killed, the next one continues
after the last committed chunk.
"""

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.reverse_jobs import PROGRESS_COUNTED, JobCounts, job_progress
from qrtrack.domain.stopping import StopSignal
from qrtrack.models import ReverseJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.queues import REVERSE_JOBS

log = structlog.get_logger()

CHUNK = 10_000


async def run_reverse_job(database: Database, claim: Claim, stop: StopSignal) -> None:
    """Runs the job. Raises Interrupted between two chunks when asked to stop, and LeaseLost when another worker holds
    the job.
    """
    job = await _begin(database, claim)
    counts = JobCounts(job.next_sequence, job.prepared_count, job.duplicate_count, job.excluded_count)
    summary = None
    while summary is None:
        if stop.is_set():
            raise Interrupted
        async with database.write() as repositories:
            await _prepare_chunk(repositories, claim, job, counts)
            if counts.next_sequence > job.last_sequence:
                summary = await _complete(repositories, claim, job, counts)
    log.info("reverse job completed", job_id=str(job.id), **summary)


async def _begin(database: Database, claim: Claim) -> ReverseJob:
    """Counts the available codes, once in the life of the job, and lowers the queue head to the first code that the job
    will prepare.

    Takes the batch lock: codes that are unlinked after this count are not in the job's total.
    """
    async with database.write() as repositories:
        batch_id = (await repositories.reverse_jobs.get(claim.uuid)).batch_id
        await repositories.lock_batch(batch_id)
        await repositories.leased(REVERSE_JOBS).hold(claim)
        job = await repositories.reverse_jobs.lock(claim.uuid)
        await repositories.prepared_codes.lower_queue_head(batch_id, job.next_sequence, job.last_sequence)
        if job.counted_at is None:
            await _count(repositories, claim, job)
            job = await repositories.reverse_jobs.lock(claim.uuid)
        return job


async def _count(repositories: Repositories, claim: Claim, job: ReverseJob) -> None:
    counted = await repositories.reverse_jobs.count(job.batch_id, job.first_sequence, job.last_sequence)
    await repositories.reverse_jobs.record_count(claim, counted, progress=PROGRESS_COUNTED)
    await repositories.reverse_jobs.log(
        job.id,
        job.manufacturer_org_id,
        f"Counted: {counted.total} available, {counted.excluded} of them excluded, {counted.duplicates} in the queue.",
    )


async def _prepare_chunk(repositories: Repositories, claim: Claim, job: ReverseJob, counts: JobCounts) -> None:
    """Prepares one chunk and records the job's counts. The fenced update of the counts is the last write."""
    last = min(counts.next_sequence + CHUNK - 1, job.last_sequence)
    await repositories.reverse_jobs.lock_preparation(job.batch_id)
    chunk = await repositories.reverse_jobs.prepare(job, counts.next_sequence, last)
    counts.prepared += chunk.prepared
    counts.excluded += chunk.excluded
    counts.duplicates += chunk.available - chunk.excluded - chunk.prepared
    counts.next_sequence = last + 1
    await repositories.reverse_jobs.record_chunk(
        claim,
        counts,
        progress=job_progress(counts.handled, job.total_available_in_batch or 0),
        newly_prepared=chunk.prepared,
    )


async def _complete(repositories: Repositories, claim: Claim, job: ReverseJob, counts: JobCounts) -> dict[str, int]:
    """Writes status, result, log line and trace event in the last chunk's transaction. Returns the result.

    `invalid`: codes that were available when the job counted, but not when their chunk was prepared.
    """
    total = job.total_available_in_batch or 0
    summary = {
        "prepared": counts.prepared,
        "duplicates": counts.duplicates,
        "invalid": total - counts.handled,
        "total_available": total,
        "excluded_count": counts.excluded,
        "excluded_already_unavailable": job.excluded_already_unavailable,
    }
    await repositories.reverse_jobs.complete(claim, summary)
    await repositories.reverse_jobs.log(
        job.id,
        job.manufacturer_org_id,
        f"Completed: {counts.prepared} prepared, {counts.duplicates} already prepared by another job, "
        f"{counts.excluded} excluded, {total - counts.handled} no longer available.",
    )
    await repositories.trace.add(
        "reverse_job.completed",
        caller=Caller(job.created_by, job.manufacturer_org_id),
        batch_id=job.batch_id,
        job_id=job.id,
        details=summary,
    )
    return summary


async def fail_reverse_job(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Records the failure, also in the job's log. Returns the seconds until the next attempt, or None after the
    last attempt.
    """
    async with database.write() as repositories:
        retry_in = await repositories.leased(REVERSE_JOBS).fail(claim, error, permanent=permanent)
        is_last = retry_in is None
        await repositories.reverse_jobs.log(
            claim.uuid,
            claim.organisation_id,
            f"Failed: {error}" if is_last else f"Attempt {claim.attempts} failed and will be repeated: {error}",
            level="error" if is_last else "warn",
        )
    return retry_in
