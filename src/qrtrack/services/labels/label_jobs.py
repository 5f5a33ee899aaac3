"""Label jobs: submitting, viewing, ending and retrying them. drawing.py executes them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import NAMED_THINGS, InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.jobs import TERMINAL_JOBS, JobStatus
from qrtrack.domain.labels.documents import FileFormat, Printing
from qrtrack.domain.labels.formats import Sheet, definition_of
from qrtrack.domain.labels.label_jobs import (
    LABELS_IN_JOB,
    PRESET_OF,
    AlreadyPrinted,
    Labelled,
    LabelsReserved,
    NewLabelJob,
    NothingToPrint,
    RootKeysMissing,
)
from qrtrack.models import LabelJob
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.label_contents import LabelledBatch, LabelledUnit
from qrtrack.repositories.queues import LABEL_JOBS
from qrtrack.services.labels.contents import case_label, unit_label
from qrtrack.services.labels.label_formats import find_format
from qrtrack.services.printed_hosts import record_host

# As long as the longest key, since labels are laid out before any key is opened.
KEY_OF_THAT_LENGTH = "W" * 8


@dataclass(frozen=True, slots=True)
class SubmittedLabelJob:
    label_job_id: UUID
    status: str
    label_count: int
    status_url: str


@dataclass(frozen=True, slots=True)
class LabelDryRun:
    """What a submission would print in the present state of the batch. `page_count`: sheets, or rows of a roll."""

    label_count: int
    void_count: int
    page_count: int


class _Run(NamedTuple):
    """The numbers of the units or cases to label, from first to last."""

    first: int
    last: int
    labels: int


class _Plan(NamedTuple):
    batch: LabelledBatch
    preset: str
    printing: Printing
    run: _Run


async def submit_label_job(
    database: Database, *, caller: Caller, batch_id: UUID, new: NewLabelJob, base_url: str
) -> SubmittedLabelJob:
    """Queues the job, and reserves its units until it has ended. The batch lock decides between requests for the same
    units.

    Raises NotFound, BatchNotReady, LabelTooSmall, AlreadyPrinted, LabelsReserved, NothingToPrint, RootKeysMissing.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        plan = await _plan(repositories, batch_id, new, base_url)
        job = _job(caller, new, plan, base_url=base_url)
        await repositories.label_jobs.add(job)
        await record_host(repositories, base_url, caller.organisation_id)
        await repositories.trace.add("label_job.submitted", **_traced(caller, job))
        await repositories.wake_workers(LABEL_JOBS)
        return repositories.answer(
            SubmittedLabelJob(job.id, job.status, job.label_count, f"/api/manufacturer/labels/{job.id}")
        )


async def dry_run_label_job(
    database: Database, *, caller: Caller, batch_id: UUID, new: NewLabelJob, base_url: str
) -> LabelDryRun:
    """Counts the labels and pages, and changes nothing. Raises what `submit_label_job` would raise now."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        _, _, printing, run = await _plan(repositories, batch_id, new, base_url)
    places = new.start_at - 1 + run.labels
    return LabelDryRun(
        label_count=run.labels,
        void_count=run.last - run.first + 1 - run.labels,
        page_count=ceil(places / printing.label_format.labels_per_page),
    )


async def _plan(repositories: Repositories, batch_id: UUID, new: NewLabelJob, base_url: str) -> _Plan:
    batch = await repositories.label_contents.get_batch(batch_id)
    if batch.codes_created_at is None:
        raise BatchNotReady(batch.status)
    preset = new.preset or PRESET_OF[new.what, new.file_format]
    printing = await choose_printing(repositories, preset, new)
    find_run = _run_of_units if new.what is Labelled.UNITS else _run_of_cases
    return _Plan(batch, preset, printing, await find_run(repositories, batch, new, printing, base_url))


def _job(caller: Caller, new: NewLabelJob, plan: _Plan, *, base_url: str) -> LabelJob:
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


async def choose_printing(repositories: Repositories, preset: str, new: NewLabelJob) -> Printing:
    """Returns how to print. Raises InvalidInput for a format that does not exist, or does not fit this kind of file."""
    label_format = await find_format(repositories, preset)
    if label_format is None:
        detail = f"Your organisation has no label format {preset}. `GET /api/manufacturer/label-formats` lists them."
        raise invalid_field("/preset", detail, FieldCode.UNKNOWN_FORMAT, value=preset)
    if new.file_format is FileFormat.ZPL and isinstance(label_format, Sheet):
        detail = f"{preset} is a sheet, and ZPL printers print on rolls. Choose a roll, or `pdf`."
        raise invalid_field("/preset", detail, FieldCode.NOT_A_ROLL, value=preset)
    most = label_format.labels_per_page
    if new.start_at > most:
        detail = f"A page of {preset} has {most} labels: `start_at` is 1 to {most}."
        raise invalid_field("/start_at", detail, FieldCode.OUT_OF_RANGE, min=1, max=most)
    return Printing(label_format, new.file_format, new.start_at, new.at_tills, new.dpi, new.calibration)


async def _run_of_units(
    repositories: Repositories, batch: LabelledBatch, new: NewLabelJob, printing: Printing, base_url: str
) -> _Run:
    first = await _sequence_of(repositories, batch.id, new.first_code, "first_code", default=1)
    last = await _sequence_of(repositories, batch.id, new.last_code, "last_code", default=batch.quantity)
    _check_range(first, last, "last_code", f"{new.first_code}-{new.last_code}")
    units = await repositories.label_contents.summarise_units(batch.id, first, last)
    if not units.labels:
        raise NothingToPrint
    if new.with_root_key and units.without_key:
        raise RootKeysMissing(units.without_key)
    # Tries the longest label now: a format that is too small must be refused before half of the labels are drawn.
    longest = LabelledUnit(first, units.longest_code, units.longest_variant, None)
    printing.place(unit_label(base_url, batch, longest, KEY_OF_THAT_LENGTH if new.with_root_key else None))
    await _refuse_double_prints(repositories, batch.id, first, last, reason=new.reason)
    return _Run(first, last, units.labels)


async def _sequence_of(
    repositories: Repositories, batch_id: UUID, code: str | None, field: str, *, default: int
) -> int:
    if code is None:
        return default
    number = await repositories.label_contents.find_sequence(batch_id, code)
    if number is None:
        detail = f"{code} is not a code of this batch."
        raise invalid_field(f"/{field}", detail, FieldCode.NOT_IN_BATCH, value=code)
    return number


async def _run_of_cases(
    repositories: Repositories, batch: LabelledBatch, new: NewLabelJob, printing: Printing, _base_url: str
) -> _Run:
    existing = await repositories.label_contents.last_case(batch.id)
    first, last = new.first_case or 1, new.last_case or existing
    for number, field in ((first, "first_case"), (last, "last_case")):
        if number > existing:
            detail = f"The batch has cases 1 to {existing}, and no case {number}."
            raise invalid_field(f"/{field}", detail, FieldCode.UNKNOWN_CASE, value=str(number))
    _check_range(first, last, "last_case", f"{first}-{last}")
    [sample] = await repositories.label_contents.list_cases(batch.id, after=last - 1, last=last, limit=1)
    printing.place(case_label(batch, sample))
    return _Run(first, last, last - first + 1)


def _check_range(first: int, last: int, field: str, text: str) -> None:
    if last < first:
        detail = f"The range {text} begins after its end. Exchange its two ends."
        raise invalid_field(f"/{field}", detail, FieldCode.RANGE_BACKWARDS, value=text)
    if last - first >= LABELS_IN_JOB:
        detail = (
            f"The range has {last - first + 1} labels, and a job draws at most {LABELS_IN_JOB}. Submit several jobs, "
            "each with a part of the range."
        )
        raise invalid_field(f"/{field}", detail, FieldCode.TOO_MANY, max=LABELS_IN_JOB)


async def _refuse_double_prints(
    repositories: Repositories, batch_id: UUID, first: int, last: int, *, reason: str | None
) -> None:
    reserving = await repositories.label_jobs.find_reserving(batch_id, first, last)
    if reserving is not None:
        raise LabelsReserved(reserving)
    if reason is None:
        await refuse_printed(repositories, batch_id, first, last)


async def refuse_printed(repositories: Repositories, batch_id: UUID, first: int, last: int) -> None:
    """Raises AlreadyPrinted."""
    printed = await repositories.label_contents.list_printed(batch_id, first, last, limit=NAMED_THINGS)
    if printed:
        ranges = [{"first_code": run.first_code, "last_code": run.last_code, "units": run.units} for run in printed]
        raise AlreadyPrinted(ranges, count=printed[0].printed_count)


async def view_label_job(database: Database, *, caller: Caller, job_id: UUID) -> LabelJob:
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.label_jobs.get(job_id)


async def list_label_jobs(
    database: Database, *, caller: Caller, batch_id: UUID | None, status: str | None, before: UUID | None, limit: int
) -> Sequence[LabelJob]:
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.label_jobs.list(batch_id=batch_id, status=status, before=before, limit=limit)


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
            await _refuse_double_prints(repositories, *run, reason=job.reason)
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
