"""What a worker does with a print job: it connects, commits that sending begins, sends, and records the outcome.

The label is sent at most once. Before the first byte is sent, most failures are retried. After it, the job ends as
completed or as unknown. If the process is killed after the commit, the next worker records the job as unknown.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar, cast

import structlog

from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.identity import Caller
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Calibration
from qrtrack.domain.labels.label_jobs import Labelled, NewLabelJob
from qrtrack.domain.labels.print_jobs import (
    LOOK_THEN_REPRINT,
    TOO_LATE_HOURS,
    PrintBroken,
    PrinterNotReached,
    PrinterNotReady,
    PrintStatus,
    printer_kind,
)
from qrtrack.domain.labels.printers import PrinterNetworks
from qrtrack.domain.labels.zpl import Dpi
from qrtrack.domain.root_keys import KeyRing
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations.printers import PrinterConnection, connected
from qrtrack.metrics import PRINTS
from qrtrack.repositories.labels.print_jobs import ClaimedPrint, PrintJobRepository
from qrtrack.repositories.queues import PRINT_JOBS
from qrtrack.services.labels.label_files import draw_case_label, read_parts, require_file

RETRY_SECONDS: Final = 0.5
LAST_SECONDS: Final = 2.0
KILLED: Final = "The process that sent the label ended before it could record the outcome."

Result = TypeVar("Result")

log = structlog.get_logger()


async def print_label(
    database: Database, claim: Claim, *, keys: KeyRing, networks: PrinterNetworks, stop: StopSignal
) -> None:
    """Raises PrinterNotReached, PrinterNotReady, NotFound, LeaseLost or Interrupted if nothing was sent."""
    async with database.read() as repositories:
        job = await repositories.print_jobs.get_claimed(claim)
    if job.sending_at is not None:
        if not await _record_unknown(database, claim, KILLED):
            raise LeaseLost(claim)
        return
    if stop.is_set() or not networks.holds(job.ip):
        raise Interrupted
    async with aclosing(_contents(database, job, keys)) as contents:
        # The first part is read before the connection is opened: if the file cannot be read, nothing is sent.
        first = await anext(contents)
        async with connected(job.ip, job.port) as printer:
            await _refuse_unready(printer, job)
            await _send(database, claim, printer, first, contents)


async def _send(
    database: Database, claim: Claim, printer: PrinterConnection, first: bytes, others: AsyncIterator[bytes]
) -> None:
    """Sends the file and records the outcome. After the commit of `begin_sending`, the job is retried only if no byte
    was sent.
    """
    try:
        async with database.write() as repositories:
            await repositories.print_jobs.begin_sending(claim)
        await printer.send(first)
        async for part in others:
            await printer.send(part)
        await printer.finish()
    except LeaseLost:
        raise
    except BaseException as error:
        if printer.sent == 0:
            await _persist(database, lambda jobs: jobs.take_back_sending(claim))
            if isinstance(error, PrintBroken):
                raise PrinterNotReached(str(error)) from error
            raise
        is_recorded = await _record_unknown(database, claim, _what_happened(error, printer), sent_bytes=printer.sent)
        if not is_recorded or not isinstance(error, Exception):
            raise
        return

    await _persist(database, lambda jobs: jobs.complete(claim, sent_bytes=printer.sent))
    PRINTS.labels(PrintStatus.COMPLETED).inc()


def _what_happened(error: BaseException, printer: PrinterConnection) -> str:
    if isinstance(error, PrintBroken):
        return str(error)
    if isinstance(error, asyncio.CancelledError):
        return f"The service was stopped after {printer.sent} bytes."
    log.error("an error stopped the sending of a label", exc_info=error)
    return f"The service stopped sending after {printer.sent} bytes ({type(error).__name__})."


async def _record_unknown(database: Database, claim: Claim, what: str, *, sent_bytes: int = 0) -> bool:
    """Returns False if the job was not being sent."""
    message = f"{what} {LOOK_THEN_REPRINT}"
    is_recorded = await _persist(database, lambda jobs: jobs.record_unknown(claim, message, sent_bytes=sent_bytes))
    if is_recorded:
        PRINTS.labels(PrintStatus.UNKNOWN).inc()
        log.error("alarm: nobody knows whether a label was printed", print_job_id=claim.id, reason=what)
    return is_recorded


async def _persist(database: Database, write: Callable[[PrintJobRepository], Awaitable[Result]]) -> Result:
    """Retries while the database cannot be reached, and for a short time after the worker is cancelled."""
    persisting = asyncio.ensure_future(_retry(database, write))
    try:
        return await asyncio.shield(persisting)
    except asyncio.CancelledError:
        await asyncio.wait({persisting}, timeout=LAST_SECONDS)
        persisting.cancel()
        raise


async def _retry(database: Database, write: Callable[[PrintJobRepository], Awaitable[Result]]) -> Result:
    while True:
        try:
            async with database.write() as repositories:
                return await write(repositories.print_jobs)
        except DatabaseUnavailable:
            await asyncio.sleep(RETRY_SECONDS)


async def fail_print(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Requeues the job, or fails it if the failure is permanent or the job has waited for too long. A job that was
    being sent becomes unknown: the process that sent it was killed.
    """
    async with database.write() as repositories:
        jobs = repositories.print_jobs
        if await jobs.record_unknown(claim, f"{KILLED} {LOOK_THEN_REPRINT}"):
            outcome, retry_in = PrintStatus.UNKNOWN, None
        else:
            is_late = permanent or await jobs.is_late(claim, hours=TOO_LATE_HOURS)
            retry_in = await repositories.leased(PRINT_JOBS).fail(claim, error, permanent=is_late)
            outcome = PrintStatus.FAILED
    if retry_in is None:
        PRINTS.labels(outcome).inc()
    return retry_in


async def _contents(database: Database, job: ClaimedPrint, keys: KeyRing) -> AsyncGenerator[bytes, None]:
    """Yields the label of the case as it is now, or the parts of the file of the label job."""
    if job.label_job_id is not None:
        async with database.read() as repositories:
            label_job = await repositories.label_jobs.get(job.label_job_id)
        require_file(label_job)
        value, expected = (printer_kind(row.file_format, row.dpi) for row in (label_job, job))
        if value != expected:
            raise PermanentFailure(f"The printer takes {expected} now, and the file is {value}.")
        async for part in read_parts(database, keys, label_job):
            yield part
        return
    assert job.batch_id is not None
    assert job.case_number is not None
    yield await draw_case_label(
        database,
        caller=Caller.service(job.manufacturer_org_id),
        batch_id=job.batch_id,
        case_number=job.case_number,
        new=NewLabelJob(
            what=Labelled.CASES,
            file_format=FileFormat(job.file_format),
            preset=job.preset,
            dpi=cast("Dpi", job.dpi),
            calibration=Calibration(**job.calibration),
        ),
    )


async def _refuse_unready(printer: PrinterConnection, job: ClaimedPrint) -> None:
    """Raises PrinterNotReady if a ZPL printer reports that it cannot print. A `pdf` printer is not asked."""
    if job.file_format == FileFormat.ZPL and (reasons := await printer.ask_status()):
        raise PrinterNotReady(f"{job.printer_name} cannot print: {', '.join(reasons)}.")
