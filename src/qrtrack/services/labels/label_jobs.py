"""Label jobs: submitting, viewing, ending and retrying them. drawing.py executes them."""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.jobs import TERMINAL_JOBS, JobStatus
from qrtrack.domain.labels.formats import definition_of
from qrtrack.domain.labels.label_jobs import (
    Labelled,
    NewLabelJob,
    RootKeysMissing,
)
from qrtrack.models import LabelJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.queues import LABEL_JOBS
from qrtrack.services.labels.label_plans import Plan, plan_labels, refuse_double_prints
from qrtrack.services.printed_hosts import record_host


@dataclass(frozen=True, slots=True)
class SubmittedLabelJob:
    label_job_id: UUID
    status: str
    label_count: int


@dataclass(frozen=True, slots=True)
class LabelDryRun:
    """What a submission would print in the present state of the batch. `page_count`: sheets, or rows of a roll."""

    label_count: int
    void_count: int
    page_count: int


async def submit_label_job(
    database: Database, *, caller: Caller, batch_id: UUID, new: NewLabelJob, base_url: str
) -> SubmittedLabelJob:
    """Queues the job, and reserves its units until it has ended. Two concurrent requests for the same units run one
    after the other, because each locks the batch; the second is refused.

    Raises NotFound, BatchNotReady, InvalidInput, LabelTooSmall, AlreadyPrinted, LabelsReserved, NothingToPrint,
    RootKeysMissing.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        plan = await plan_labels(repositories, batch_id, new, base_url)
        job = _job(caller, new, plan, base_url=base_url)
        await repositories.label_jobs.add(job)
        await record_host(repositories, base_url, caller.organisation_id)
        await repositories.trace.add("label_job.submitted", **_traced(caller, job))
        await repositories.wake_workers(LABEL_JOBS)
        return repositories.answer(SubmittedLabelJob(job.id, job.status, job.label_count))


async def dry_run_label_job(
    database: Database, *, caller: Caller, batch_id: UUID, new: NewLabelJob, base_url: str
) -> LabelDryRun:
    """Counts the labels and pages, and changes nothing. Raises what `submit_label_job` would raise now."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        _, _, printing, run = await plan_labels(repositories, batch_id, new, base_url)
    places = new.start_at - 1 + run.labels
    return LabelDryRun(
        label_count=run.labels,
        void_count=run.last - run.first + 1 - run.labels,
        page_count=ceil(places / printing.label_format.labels_per_page),
    )


def _job(caller: Caller, new: NewLabelJob, plan: Plan, *, base_url: str) -> LabelJob:
    run = plan.run
    return LabelJob(
        id=uuid7(),
        manufacturer_org_id=caller.organisation_id,
        batch_id=plan.batch.id,
        what=new.what,
        file_format=new.file_format,
        preset=plan.preset,
        definition=definition_of(plan.printing.label_format),
        calibration=asdict(new.calibration),
        start_at=new.start_at,
        dpi=new.dpi,
        at_tills=new.at_tills,
        with_root_key=new.with_root_key,
        reason=new.reason,
        base_url=base_url,
        first_number=run.first,
        last_number=run.last,
        label_count=run.labels,
        drawn_through=run.first - 1,
        status=JobStatus.QUEUED,
        created_by=caller.user_id,
    )


async def view_label_job(database: Database, *, caller: Caller, job_id: UUID) -> LabelJob:
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.label_jobs.get(job_id)


@dataclass(frozen=True, slots=True)
class ChangedLabelJob:
    label_job_id: UUID
    status: str


async def cancel_label_job(database: Database, *, caller: Caller, job_id: UUID) -> ChangedLabelJob:
    """Ends a queued or running job, deletes the drawn part of its file, and releases its units without marking them
    printed.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        job = await _lock(repositories, job_id)
        if job.status in TERMINAL_JOBS:
            raise InvalidState(f"The job is {job.status} already and cannot be cancelled.", state=job.status)
        await repositories.leased(LABEL_JOBS).cancel(job_id)
        await repositories.label_jobs.delete_file(job_id)
        await repositories.trace.add("label_job.cancelled", **_traced(caller, job))
        return repositories.answer(ChangedLabelJob(job_id, JobStatus.CANCELLED))


async def retry_label_job(database: Database, *, caller: Caller, job_id: UUID) -> ChangedLabelJob:
    """Queues a failed job again. It continues after the last stored part, and reserves its units again.

    Raises NotFound, InvalidState, AlreadyPrinted, LabelsReserved, RootKeysMissing.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        job = await _lock(repositories, job_id)
        if job.status != JobStatus.FAILED:
            raise InvalidState(f"Only a failed job can be retried; this one is {job.status}.", state=job.status)
        if job.what == Labelled.UNITS:
            run = job.batch_id, job.first_number, job.last_number
            await refuse_double_prints(repositories, *run, reason=job.reason)
            units = await repositories.label_contents.summarise_units(*run)
            if job.with_root_key and units.without_key:
                raise RootKeysMissing(units.without_key)
        await repositories.leased(LABEL_JOBS).requeue(job_id)
        await repositories.trace.add("label_job.retried", **_traced(caller, job))
        await repositories.wake_workers(LABEL_JOBS)
        return repositories.answer(ChangedLabelJob(job_id, JobStatus.QUEUED))


async def _lock(repositories: Repositories, job_id: UUID) -> LabelJob:
    """Locks the batch, then the job: a worker that completes the job locks both in this order, and another order would
    deadlock.
    """
    await repositories.lock_batch((await repositories.label_jobs.get(job_id)).batch_id)
    return await repositories.label_jobs.lock(job_id)


def _traced(caller: Caller, job: LabelJob) -> dict[str, Any]:
    return {
        "caller": caller,
        "batch_id": job.batch_id,
        "reason": job.reason,
        "ranges": [(job.first_number, job.last_number)] if job.what == Labelled.UNITS else (),
        "details": traced_details(job),
    }


def traced_details(job: LabelJob) -> dict[str, Any]:
    is_of_cases = job.what == Labelled.CASES
    return {
        "label_job_id": job.id,
        "label_count": job.label_count,
        "with_root_key": job.with_root_key,
        "first_case": job.first_number if is_of_cases else None,
        "last_case": job.last_number if is_of_cases else None,
    }
