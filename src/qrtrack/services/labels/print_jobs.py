"""Queues, lists, cancels and confirms print jobs. What a worker does with a print job is in printing.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.domain.labels.print_jobs import NewPrint, PrintStatus, printer_kind
from qrtrack.domain.labels.printers import PrinterNetworks, PrintingOff
from qrtrack.models import LabelJob, Printer
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.print_jobs import CaseLabel, ListedPrint
from qrtrack.repositories.queues import PRINT_JOBS
from qrtrack.services.labels.label_files import require_file
from qrtrack.services.labels.label_plans import refuse_printed


@dataclass(frozen=True, slots=True)
class QueuedPrint:
    print_job_id: int
    status: str


async def print_on(
    database: Database, *, caller: Caller, networks: PrinterNetworks, printer_id: UUID, new: NewPrint
) -> QueuedPrint:
    """Queues a print job. If the label of the case already waits for this printer, returns that job and queues none.

    Raises PrintingOff, NotFound, FileNotReady, AlreadyPrinted, InvalidInput.
    """
    if not networks:
        raise PrintingOff
    async with database.write(tenant=caller.organisation_id) as repositories:
        printer = await repositories.printers.get(printer_id)
        ranges: Sequence[tuple[int, int]] = ()
        if new.label_job_id is not None:
            job_id, ranges = await _add_label_job(repositories, caller, printer, new.label_job_id, reason=new.reason)
        else:
            assert new.batch_id is not None
            assert new.case_number is not None
            job_id = await repositories.print_jobs.add_case(
                printer.id, new.batch_id, new.case_number, reason=new.reason, actor=caller.user_id
            )
        job = await repositories.print_jobs.get(job_id)
        await repositories.trace.add("print_job.ordered", **_traced(caller, job), reason=new.reason, ranges=ranges)
        await repositories.wake_workers(PRINT_JOBS)
        return repositories.answer(QueuedPrint(job_id, job.status))


def _traced(caller: Caller, job: ListedPrint) -> dict[str, Any]:
    return {
        "caller": caller,
        "batch_id": job.batch_id,
        "case_id": job.case_id,
        "details": {
            "print_job_id": job.id,
            "printer_name": job.printer_name,
            "label_job_id": job.label_job_id,
            "master_code": job.master_code,
            "case_number": job.case_number,
        },
    }


async def _add_label_job(
    repositories: Repositories, caller: Caller, printer: Printer, label_job_id: UUID, *, reason: str | None
) -> tuple[int, Sequence[tuple[int, int]]]:
    """Returns the id of the print job, and the ranges of its units. Two concurrent requests for one label job run one
    after the other, because each locks the label job: the second is refused unless it gives a reason.
    """
    job = await repositories.label_jobs.lock(label_job_id)
    require_file(job)
    _refuse_other_format(job, printer)
    if job.what == Labelled.UNITS and reason is None and await repositories.print_jobs.is_sent_before(job.id):
        await refuse_printed(repositories, job.batch_id, job.first_number, job.last_number)
    ranges = [(job.first_number, job.last_number)] if job.what == Labelled.UNITS else []
    if job.with_root_key:
        await repositories.trace.add("keys.revealed", caller=caller, batch_id=job.batch_id, ranges=ranges)
    return (
        await repositories.print_jobs.add_label_job(printer.id, job.id, reason=reason, actor=caller.user_id),
        ranges,
    )


def _refuse_other_format(job: LabelJob, printer: Printer) -> None:
    """Raises InvalidInput if the printer cannot print the file. ZPL counts in dots: on a printer of another resolution,
    symbols would be too small or cut off.
    """
    value, expected = (printer_kind(row.file_format, row.dpi) for row in (job, printer))
    if value != expected:
        detail = (
            f"The file of the label job is {value}, and the printer takes {expected}. Submit a label job with the "
            f"format {expected}."
        )
        raise invalid_field("/label_job_id", detail, FieldCode.OTHER_FORMAT, value=value, expected=expected)


async def view_print_job(database: Database, *, caller: Caller, job_id: int) -> ListedPrint:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.print_jobs.get(job_id)


async def labels_of_cases(
    database: Database, *, caller: Caller, batch_id: UUID, case_numbers: Sequence[int]
) -> Mapping[int, Sequence[CaseLabel]]:
    """Returns the newest print job on each printer, by case number."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        labels = await repositories.print_jobs.labels_of_cases(batch_id, case_numbers)
    return {number: list(of_case) for number, of_case in groupby(labels, lambda label: label.case_number)}


@dataclass(frozen=True, slots=True)
class ChangedPrint:
    print_job_id: int
    status: str


async def cancel_print_job(database: Database, *, caller: Caller, job_id: int) -> ChangedPrint:
    """Cancels a print job of which nothing was sent. Raises NotFound, InvalidState."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        is_cancelled = await repositories.print_jobs.cancel(job_id)
        job = await repositories.print_jobs.get(job_id)
        if not is_cancelled:
            is_sending = "being sent" if job.status == PrintStatus.RUNNING else f"{job.status} already"
            raise InvalidState(f"The print job is {is_sending} and cannot be cancelled.", state=job.status)
        await repositories.trace.add("print_job.cancelled", **_traced(caller, job))
        return repositories.answer(ChangedPrint(job_id, PrintStatus.CANCELLED))


async def confirm_print_job(database: Database, *, caller: Caller, job_id: int) -> ChangedPrint:
    """Completes an unknown job, because the caller saw its label. Raises NotFound, InvalidState."""
    async with database.write(tenant=caller.organisation_id) as repositories:
        is_confirmed = await repositories.print_jobs.confirm(job_id)
        job = await repositories.print_jobs.get(job_id)
        if not is_confirmed:
            detail = f"The print job is {job.status}. Only an unknown print job can be confirmed."
            raise InvalidState(detail, state=job.status)
        await repositories.trace.add("print_job.confirmed", **_traced(caller, job))
        return repositories.answer(ChangedPrint(job_id, PrintStatus.COMPLETED))
