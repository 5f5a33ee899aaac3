"""Reverse jobs: submitting, looking at, ending and retrying them. What a worker does with one is in preparation.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, FieldError, InvalidInput, InvalidState
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.notifications import Notify
from qrtrack.domain.packing.code_lists import Scan, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, code_ranges, not_in_batch
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.domain.packing.states import AVAILABLE, TERMINAL_JOBS, JobStatus
from qrtrack.models import ReverseJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.queues import REVERSE_JOBS


class UnknownExcludeCodes(InvalidInput):
    """Some of the codes to exclude are not in the batch: a mistyped one would let a damaged unit be packed."""

    slug = "unknown-exclude-codes"
    title = "Codes that are not in the batch"

    def __init__(self, codes: Sequence[str]) -> None:
        super().__init__(
            f"Not in this batch: {len(codes)} of the exclude codes. Correct what was typed: a wrong code would let a "
            "damaged unit be packed.",
            **not_in_batch(codes, field="exclude_codes"),
        )


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    job_id: UUID
    status: str
    exclude_count: int
    excluded_already_unavailable: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a submission would count and refuse, by the state of the batch now."""

    exclude_count: int
    excluded_already_unavailable: int
    total_available: int
    excluded_count: int
    duplicates: int
    would_prepare: int
    unknown_codes: Sequence[str]
    unknown_count: int
    unavailable_codes: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Exclusions:
    """A list of exclude codes, held against the batch."""

    sequences: Sequence[int]
    newly_excluded: Sequence[int]
    unknown: Sequence[str]
    unavailable: Sequence[str]


async def submit_reverse_job(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    order_id: UUID,
    exclude_codes: Sequence[str],
    scans: Sequence[Scan] = (),
    variant: str | None = None,
    priority: int = 0,
    notify: Notify | None = None,
) -> SubmittedJob:
    """Queues the job. Its exclusions hold from this moment: also codes that wait in the queue leave it.

    Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownExcludeCodes.
    """
    organisation_id = caller.organisation_id
    async with database.write(tenant=organisation_id, batch_lock=batch_id) as repositories:
        batch = await repositories.batches.get_packable(batch_id, order_id)
        refuse_foreign(scans, batch)
        first, last = await _lane(repositories, batch_id, variant)
        exclusions = await _hold_against(repositories, batch_id, exclude_codes)
        if exclusions.unknown:
            raise UnknownExcludeCodes(exclusions.unknown)
        job = ReverseJob(
            id=uuid7(),
            batch_id=batch_id,
            order_id=batch.order_id,
            manufacturer_org_id=organisation_id,
            variant=variant,
            priority=priority,
            status=JobStatus.QUEUED,
            exclude_codes=list(exclude_codes),
            excluded_already_unavailable=len(exclusions.unavailable),
            first_sequence=first,
            last_sequence=last,
            next_sequence=first,
            created_by=caller.user_id,
            notify=notify and notify.addresses,
        )
        await repositories.reverse_jobs.add(job)
        await repositories.codes.exclude(
            batch_id, exclusions.sequences, organisation_id=organisation_id, job_id=job.id, actor=caller.user_id
        )
        await repositories.prepared_codes.close(batch_id, exclusions.sequences, consumed=False)
        await _record_submission(repositories, caller, job, exclusions)
        await repositories.wake_workers(REVERSE_JOBS)
        return repositories.answer(
            SubmittedJob(job.id, JobStatus.QUEUED, len(exclude_codes), len(exclusions.unavailable))
        )


async def keep_answer(database: Database, *, caller: Caller, answer: object) -> None:
    """What a submission that waited was told in the end is what the same request is told again."""
    if database.request is not None:
        async with database.write(tenant=caller.organisation_id) as repositories:
            repositories.answer(answer)


async def _record_submission(
    repositories: Repositories, caller: Caller, job: ReverseJob, exclusions: _Exclusions
) -> None:
    await repositories.reverse_jobs.log(
        job.id,
        caller.organisation_id,
        f"Submitted with {len(exclusions.sequences)} excluded codes, {len(exclusions.unavailable)} of them already "
        "packed, void or with a customer.",
    )
    await repositories.trace.add(
        "reverse_job.submitted",
        organisation_id=caller.organisation_id,
        actor=caller.user_id,
        batch_id=job.batch_id,
        job_id=job.id,
        ranges=as_ranges(exclusions.sequences),
        details={"variant": job.variant},
    )


async def dry_run_reverse_job(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    order_id: UUID,
    exclude_codes: Sequence[str],
    scans: Sequence[Scan] = (),
    variant: str | None = None,
) -> DryRun:
    """What a submission would do now; changes nothing."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        refuse_foreign(scans, await repositories.batches.get_packable(batch_id, order_id))
        first, last = await _lane(repositories, batch_id, variant)
        exclusions = await _hold_against(repositories, batch_id, exclude_codes)
        counted = await repositories.reverse_jobs.count(batch_id, first, last)
        more = [number for number in exclusions.newly_excluded if first <= number <= last]
        queued = await repositories.reverse_jobs.queued_among(batch_id, more)
    return DryRun(
        exclude_count=len(exclude_codes),
        excluded_already_unavailable=len(exclusions.unavailable),
        total_available=counted.total,
        excluded_count=counted.excluded + len(more),
        duplicates=counted.duplicates - queued,
        would_prepare=counted.total - counted.excluded - len(more) - counted.duplicates + queued,
        unknown_codes=code_ranges(exclusions.unknown)[:NAMED_THINGS],
        unknown_count=len(exclusions.unknown),
        unavailable_codes=exclusions.unavailable,
    )


async def _lane(repositories: Repositories, batch_id: UUID, variant: str | None) -> tuple[int, int]:
    lane = await repositories.reverse_jobs.lane(batch_id, variant)
    if lane is None:
        error = FieldError("/variant", "Not a variant of this batch.", FieldCode.UNKNOWN_VARIANT, {"value": variant})
        raise InvalidInput(f"This batch has no variant {variant}.", errors=[error])
    return lane.first, lane.last


async def _hold_against(repositories: Repositories, batch_id: UUID, codes: Sequence[str]) -> _Exclusions:
    rows = await repositories.codes.find(codes, batch_id=batch_id) if codes else []
    known = [row for row in rows if row.id is not None]
    return _Exclusions(
        sequences=[row.sequence_number for row in known],
        newly_excluded=[row.sequence_number for row in known if row.status in AVAILABLE and not row.excluded],
        unknown=[row.code for row in rows if row.id is None],
        unavailable=[row.code for row in known if row.status not in AVAILABLE],
    )


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands. `queue_position` counts within the organisation; None unless it waits."""

    job: ReverseJob
    queue_position: int | None


async def view_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> JobView:
    async with database.read(tenant=caller.organisation_id) as repositories:
        job = await repositories.reverse_jobs.get(job_id)
        return JobView(job, await repositories.reverse_jobs.queue_position(job))


async def list_reverse_jobs(
    database: Database, *, caller: Caller, selection: JobSelection, before: UUID | None, limit: int
) -> Sequence[ReverseJob]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.reverse_jobs.list(selection, before=before, limit=limit)


async def list_logs(database: Database, *, caller: Caller, job_id: UUID, after: int, limit: int) -> Sequence[Any]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.reverse_jobs.get(job_id)
        return await repositories.reverse_jobs.logs(job_id, after=after, limit=limit)


async def list_prepared_codes(
    database: Database, *, caller: Caller, job_id: UUID, status: str | None, after: int, limit: int
) -> Sequence[Any]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.reverse_jobs.get(job_id)
        return await repositories.prepared_codes.of_job(job_id, status=status, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class CancelledJob:
    job_id: UUID
    status: str
    withdrawn: int


async def cancel_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> CancelledJob:
    """Ends a queued or running job: what it has queued and no case has taken leaves the queue, its exclusions end.

    A worker that runs it finds its lease gone with its next write, and that write undone.
    """
    organisation_id = caller.organisation_id
    async with database.write(tenant=organisation_id) as repositories:
        batch_id = (await repositories.reverse_jobs.get(job_id)).batch_id
        await repositories.lock_batch(batch_id)
        job = await repositories.reverse_jobs.lock(job_id)
        if job.status in TERMINAL_JOBS:
            raise InvalidState(f"The job is {job.status} already and cannot be cancelled.", state=job.status)
        await repositories.reverse_jobs.end(job_id, JobStatus.CANCELLED)
        withdrawn = await repositories.reverse_jobs.withdraw(job_id)
        await repositories.reverse_jobs.log(
            job_id, organisation_id, f"Cancelled; {withdrawn} prepared codes left the queue.", level="warn"
        )
        await repositories.trace.add(
            "reverse_job.cancelled",
            organisation_id=organisation_id,
            actor=caller.user_id,
            batch_id=batch_id,
            job_id=job_id,
            details={"withdrawn": withdrawn},
        )
        return repositories.answer(CancelledJob(job_id, JobStatus.CANCELLED, withdrawn))


@dataclass(frozen=True, slots=True)
class RetriedJob:
    job_id: UUID
    status: str


async def retry_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> RetriedJob:
    """Queues a failed job again; it goes on behind the last chunk that landed."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        # The batch may be closing at this moment, and ends the jobs that are live.
        await repositories.lock_batch((await repositories.reverse_jobs.get(job_id)).batch_id)
        job = await repositories.reverse_jobs.lock(job_id)
        if job.status != JobStatus.FAILED:
            raise InvalidState(f"Only a failed job can be retried; this one is {job.status}.", state=job.status)
        await repositories.batches.get_packable(job.batch_id, None)
        await repositories.reverse_jobs.requeue(job_id)
        await repositories.reverse_jobs.log(job_id, caller.organisation_id, "Retried by a manager.")
        await repositories.trace.add(
            "reverse_job.retried",
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            batch_id=job.batch_id,
            job_id=job_id,
        )
        await repositories.wake_workers(REVERSE_JOBS)
        return repositories.answer(RetriedJob(job_id, JobStatus.QUEUED))
