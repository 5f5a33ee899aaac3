"""Reverse jobs: submitting, viewing, cancelling and retrying them. preparation.py executes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidInput, InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.jobs import TERMINAL_JOBS, JobStatus
from qrtrack.domain.notifications import Notify
from qrtrack.domain.packing.code_lists import refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, code_ranges, not_in_batch
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.domain.packing.states import AVAILABLE
from qrtrack.models import ReverseJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.reverse_jobs import LogLine, SequenceRange
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.services.packing.codes import unknown_among


class UnknownExcludeCodes(InvalidInput):
    """Some of the codes to exclude are not in the batch. A mistyped code would let a damaged unit be packed."""

    slug = "unknown-exclude-codes"
    title = "Codes that are not in the batch"

    def __init__(self, codes: Sequence[str]) -> None:
        super().__init__(
            f"Codes to exclude that are not in this batch: {len(codes)}. Correct them: a wrong code would let a "
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
    """What a submission would count and refuse in the present state of the batch."""

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
    """The excluded codes that the batch has. `newly_excluded` are those that could be packed until now."""

    sequences: Sequence[int]
    newly_excluded: Sequence[int]
    unknown: Sequence[str]
    unavailable: Sequence[str]


async def submit_reverse_job(
    database: Database, *, caller: Caller, new: NewJob, notify: Notify | None = None
) -> SubmittedJob:
    """Queues the job. Its exclusions hold from now on: excluded codes leave the queue.

    Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownExcludeCodes.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=new.batch_id) as repositories:
        sequences, exclusions = await _check(repositories, new)
        if exclusions.unknown:
            raise UnknownExcludeCodes(exclusions.unknown)
        job = ReverseJob(
            id=uuid7(),
            batch_id=new.batch_id,
            order_id=new.order_id,
            manufacturer_org_id=caller.organisation_id,
            variant=new.variant,
            priority=new.priority,
            status=JobStatus.QUEUED,
            exclude_codes=list(new.exclude_codes),
            excluded_already_unavailable=len(exclusions.unavailable),
            first_sequence=sequences.first,
            last_sequence=sequences.last,
            next_sequence=sequences.first,
            created_by=caller.user_id,
            notify=notify and notify.addresses,
        )
        await repositories.reverse_jobs.add(job)
        await _exclude(repositories, caller, job, exclusions)
        await repositories.wake_workers(REVERSE_JOBS)
        return repositories.answer(
            SubmittedJob(job.id, JobStatus.QUEUED, len(new.exclude_codes), len(exclusions.unavailable))
        )


async def _check(repositories: Repositories, new: NewJob) -> tuple[SequenceRange, _Exclusions]:
    """Returns the job's range of sequence numbers, and its exclusions. Raises InvalidInput for an unknown variant."""
    refuse_foreign(new.scans, await repositories.batches.get_packable(new.batch_id, new.order_id))
    sequences = await repositories.reverse_jobs.range_of_variant(new.batch_id, new.variant)
    if sequences is None:
        detail = f"This batch has no variant {new.variant}. Choose one of its variants."
        raise invalid_field("/variant", detail, FieldCode.UNKNOWN_VARIANT, value=new.variant)
    codes = new.exclude_codes
    rows = await repositories.codes.find(codes, batch_id=new.batch_id) if codes else []
    exclusions = _Exclusions(
        sequences=[row.sequence_number for row in rows],
        newly_excluded=[row.sequence_number for row in rows if row.status in AVAILABLE and not row.excluded],
        unknown=unknown_among(codes, rows),
        unavailable=[row.code for row in rows if row.status not in AVAILABLE],
    )
    return sequences, exclusions


async def keep_answer(database: Database, *, caller: Caller, answer: object) -> None:
    """Stores the answer of a submission that waited for its job, so that a repeated request gets the same answer."""
    if database.request is not None:
        async with database.write(tenant=caller.organisation_id) as repositories:
            repositories.answer(answer)


async def _exclude(repositories: Repositories, caller: Caller, job: ReverseJob, exclusions: _Exclusions) -> None:
    await repositories.codes.exclude(
        job.batch_id,
        exclusions.sequences,
        organisation_id=caller.organisation_id,
        user_id=caller.user_id,
        job_id=job.id,
    )
    await repositories.prepared_codes.invalidate(job.batch_id, exclusions.sequences)
    await repositories.reverse_jobs.log(
        job.id,
        caller.organisation_id,
        f"Submitted with excluded codes: {len(exclusions.sequences)}; already packed, void or with a consumer: "
        f"{len(exclusions.unavailable)}.",
    )
    await repositories.trace.add(
        "reverse_job.submitted",
        caller=caller,
        batch_id=job.batch_id,
        job_id=job.id,
        ranges=as_ranges(exclusions.sequences),
        details={"variant": job.variant},
    )


async def dry_run_reverse_job(database: Database, *, caller: Caller, new: NewJob) -> DryRun:
    """Returns what a submission would do now. Changes nothing."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        (first, last), exclusions = await _check(repositories, new)
        counted = await repositories.reverse_jobs.count(new.batch_id, first, last)
        more = [number for number in exclusions.newly_excluded if first <= number <= last]
        waiting = await repositories.prepared_codes.count_waiting(new.batch_id, more)
    return DryRun(
        exclude_count=len(new.exclude_codes),
        excluded_already_unavailable=len(exclusions.unavailable),
        total_available=counted.total,
        excluded_count=counted.excluded + len(more),
        duplicates=counted.duplicates - waiting,
        would_prepare=counted.to_prepare - len(more) + waiting,
        unknown_codes=code_ranges(exclusions.unknown),
        unknown_count=len(exclusions.unknown),
        unavailable_codes=exclusions.unavailable,
    )


@dataclass(frozen=True, slots=True)
class JobView:
    """A job. `queue_position`: its place among the organisation's queued jobs; None if it is not queued."""

    job: ReverseJob
    queue_position: int | None


async def view_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> JobView:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        job = await repositories.reverse_jobs.get(job_id)
        return JobView(job, await repositories.reverse_jobs.queue_position(job))


async def list_log(database: Database, *, caller: Caller, job_id: UUID, after: int, limit: int) -> Sequence[LogLine]:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.reverse_jobs.get(job_id)
        return await repositories.reverse_jobs.list_log(job_id, after=after, limit=limit)


@dataclass(frozen=True, slots=True)
class CancelledJob:
    job_id: UUID
    status: str
    withdrawn: int


async def cancel_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> CancelledJob:
    """Ends a queued or running job and its exclusions. Codes that it prepared and no case has taken leave the queue.

    If a worker is running the job, its next write raises LeaseLost and its transaction is rolled back. Raises NotFound,
    InvalidState.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        job = await _lock_job(repositories, job_id)
        if job.status in TERMINAL_JOBS:
            raise InvalidState(f"The job is {job.status} already and cannot be cancelled.", state=job.status)
        await repositories.leased(REVERSE_JOBS).cancel(job_id)
        withdrawn = await repositories.reverse_jobs.withdraw(job_id)
        await repositories.reverse_jobs.log(
            job_id, caller.organisation_id, f"Cancelled; {withdrawn} prepared codes left the queue.", level="warn"
        )
        await repositories.trace.add(
            "reverse_job.cancelled",
            caller=caller,
            batch_id=job.batch_id,
            job_id=job_id,
            details={"withdrawn": withdrawn},
        )
        return repositories.answer(CancelledJob(job_id, JobStatus.CANCELLED, withdrawn))


@dataclass(frozen=True, slots=True)
class RetriedJob:
    job_id: UUID
    status: str


async def retry_reverse_job(database: Database, *, caller: Caller, job_id: UUID) -> RetriedJob:
    """Queues a failed job again. It continues after the last committed chunk.

    Raises NotFound, InvalidState, BatchClosed.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        job = await _lock_job(repositories, job_id)
        if job.status != JobStatus.FAILED:
            raise InvalidState(f"Only a failed job can be retried; this one is {job.status}.", state=job.status)
        await repositories.batches.get_packable(job.batch_id)
        await repositories.leased(REVERSE_JOBS).requeue(job_id)
        await repositories.reverse_jobs.log(job_id, caller.organisation_id, "Retried by a manager.")
        await repositories.trace.add("reverse_job.retried", caller=caller, batch_id=job.batch_id, job_id=job_id)
        await repositories.wake_workers(REVERSE_JOBS)
        return repositories.answer(RetriedJob(job_id, JobStatus.QUEUED))


async def _lock_job(repositories: Repositories, job_id: UUID) -> ReverseJob:
    """Locks the batch, then the job: a request that closes the batch locks the batch first and then cancels its
    jobs.
    """
    await repositories.lock_batch((await repositories.reverse_jobs.get(job_id)).batch_id)
    return await repositories.reverse_jobs.lock(job_id)
