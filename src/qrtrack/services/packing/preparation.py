"""What a worker does with a reverse job: count, prepare chunk by chunk, finish. Killed anywhere, it goes on there."""

import json

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.packing.reverse_jobs import PROGRESS_COUNTED, job_progress
from qrtrack.domain.stopping import StopSignal
from qrtrack.models import ReverseJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.queues import REVERSE_JOBS

log = structlog.get_logger()

CHUNK = 10_000


async def run_reverse_job(database: Database, claim: Claim, stop: StopSignal) -> None:
    """Raises Interrupted between two chunks when asked to stop, LeaseLost when the job is no longer held."""
    job = await _begin(database, claim)
    done = _Done(job)
    summary = None
    while summary is None:
        if stop.is_set():
            raise Interrupted
        async with database.write() as repositories:
            await _prepare_chunk(repositories, claim, job, done)
            if done.next_sequence > job.last_sequence:
                summary = await _finish(repositories, claim, job, done)
    log.info("reverse job completed", job_id=str(job.id), **summary)


class _Done:
    """The job's counts so far: this worker alone moves them while it holds the lease."""

    def __init__(self, job: ReverseJob) -> None:
        self.next_sequence = job.next_sequence
        self.prepared = job.prepared_count
        self.duplicates = job.duplicate_count
        self.excluded = job.excluded_count

    @property
    def handled(self) -> int:
        return self.prepared + self.duplicates + self.excluded


async def _begin(database: Database, claim: Claim) -> ReverseJob:
    """Counts what is available, once in the job's life, and opens the queue for what the job will put there.

    Under the batch lock: what comes out of a case after this count is not of the job's total.
    """
    async with database.write() as repositories:
        batch_id = (await repositories.reverse_jobs.get(claim.uuid)).batch_id
        await repositories.lock_batch(batch_id)
        await repositories.leased(REVERSE_JOBS).hold(claim)
        job = await repositories.reverse_jobs.lock(claim.uuid)
        await repositories.reverse_jobs.lower_queue_head(batch_id, job.next_sequence, job.last_sequence)
        if job.counted_at is None:
            await _count(repositories, claim, job)
            job = await repositories.reverse_jobs.lock(claim.uuid)
        return job


async def _count(repositories: Repositories, claim: Claim, job: ReverseJob) -> None:
    counted = await repositories.reverse_jobs.count(job.batch_id, job.first_sequence, job.last_sequence)
    await repositories.leased(REVERSE_JOBS).write(
        claim,
        "counted_at = :counted_at, total_available_in_batch = :total, remaining_to_prepare = :remaining,"
        " progress = GREATEST(progress, :progress)",
        counted_at=counted.counted_at,
        total=counted.total,
        remaining=counted.total - counted.excluded - counted.duplicates,
        progress=PROGRESS_COUNTED,
    )
    await repositories.reverse_jobs.log(
        job.id,
        job.manufacturer_org_id,
        f"Counted: {counted.total} available, {counted.excluded} of them excluded, {counted.duplicates} in the queue.",
    )


async def _prepare_chunk(repositories: Repositories, claim: Claim, job: ReverseJob, done: _Done) -> None:
    """The chunk and the job's progress, the fenced update last."""
    last = min(done.next_sequence + CHUNK - 1, job.last_sequence)
    await repositories.reverse_jobs.take_turn(job.batch_id)
    chunk = await repositories.reverse_jobs.prepare(job, done.next_sequence, last)
    done.prepared += chunk.prepared
    done.excluded += chunk.excluded
    done.duplicates += chunk.available - chunk.excluded - chunk.prepared
    done.next_sequence = last + 1
    await repositories.leased(REVERSE_JOBS).write(
        claim,
        "next_sequence = :next_sequence, prepared_count = :prepared, duplicate_count = :duplicates,"
        " excluded_count = :excluded, progress = GREATEST(progress, :progress),"
        " remaining_to_prepare = GREATEST(remaining_to_prepare - :landed, 0)",
        next_sequence=done.next_sequence,
        prepared=done.prepared,
        duplicates=done.duplicates,
        excluded=done.excluded,
        progress=job_progress(done.handled, job.total_available_in_batch or 0),
        landed=chunk.prepared,
    )


async def _finish(repositories: Repositories, claim: Claim, job: ReverseJob, done: _Done) -> dict[str, int]:
    """Result, status, progress and log, in the last chunk's transaction. What is missing from the total left while
    the job ran.
    """
    total = job.total_available_in_batch or 0
    summary = {
        "prepared": done.prepared,
        "duplicates": done.duplicates,
        "invalid": total - done.handled,
        "total_available": total,
        "excluded_count": done.excluded,
        "excluded_already_unavailable": job.excluded_already_unavailable,
    }
    await repositories.leased(REVERSE_JOBS).finish(
        claim,
        "progress = 100, remaining_to_prepare = 0, result_summary = CAST(:summary AS jsonb)",
        summary=json.dumps(summary),
    )
    await repositories.reverse_jobs.log(
        job.id,
        job.manufacturer_org_id,
        f"Completed: {done.prepared} prepared, {done.duplicates} already prepared by another job, "
        f"{done.excluded} excluded, {total - done.handled} no longer available.",
    )
    await repositories.trace.add(
        "reverse_job.completed",
        organisation_id=job.manufacturer_org_id,
        actor=job.created_by,
        batch_id=job.batch_id,
        job_id=job.id,
        details=summary,
    )
    return summary


async def fail_reverse_job(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Back to the queue for another try in so many seconds, or failed for good (None); the plant reads which."""
    async with database.write() as repositories:
        retry_in = await repositories.leased(REVERSE_JOBS).fail(claim, error, permanent=permanent)
        for_good = retry_in is None
        await repositories.reverse_jobs.log(
            claim.uuid,
            claim.organisation_id,
            f"Failed: {error}" if for_good else f"Attempt {claim.attempts} failed and will be repeated: {error}",
            level="error" if for_good else "warn",
        )
    return retry_in
