"""Print jobs over HTTP: send labels to a printer, poll, list, cancel and confirm."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Permission
from qrtrack.domain.labels.label_jobs import AlreadyPrinted, FileNotReady
from qrtrack.domain.labels.print_jobs import ENDED_PRINTS
from qrtrack.domain.labels.printers import PrintingOff
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.dependencies import Packer, RuntimeState, require
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.problems import problems
from qrtrack.routers.waiting import LongPoll
from qrtrack.schemas.base import RowId, WaitQuery
from qrtrack.schemas.labels.print_jobs import (
    PRINT_JOBS_PATH,
    PrintJobAnswer,
    PrintJobChanged,
    PrintJobFilter,
    PrintJobPage,
    PrintQueued,
    PrintRequest,
)
from qrtrack.schemas.labels.printers import PRINTERS_PATH
from qrtrack.services.labels import print_jobs as use_cases
from qrtrack.services.labels.printers import networks_of

router = APIRouter(route_class=StrictRoute, tags=["labels"])

PrintJobId = Annotated[RowId, Path(description="The `print_job_id` in the answer to the print request.")]


@router.post(
    f"{PRINTERS_PATH}/{{printer_id}}/print",
    status_code=202,
    summary="Print on a printer",
    responses=problems(NotFound, PrintingOff, FileNotReady, AlreadyPrinted),
)
async def print_on(
    printer_id: UUID,
    body: PrintRequest,
    *,
    caller: Packer,
    runtime: RuntimeState,
    database: AnsweringDatabase,
    response: Response,
) -> PrintQueued:
    """Queues a print job, which a worker sends to the printer at most once. It prints the label of one case, or the
    file of a label job: this needs the role manager, and the file must have the printer's format. A label job of units
    that was sent before needs a `reason`. Poll `status_url`.

    Send `{"label_job_id": "…"}`, or `{"batch_id": "…", "case_number": 7}`.
    """
    new = body.new_print()
    if new.label_job_id is not None:
        require(caller, Permission.MANAGE_BATCHES)
    queued = await use_cases.print_on(
        database, caller=caller, networks=networks_of(runtime.settings), printer_id=printer_id, new=new
    )
    answer = PrintQueued.model_validate(queued)
    response.headers["Location"] = answer.status_url
    return answer


@router.get(PRINT_JOBS_PATH, response_model=PrintJobPage, summary="List print jobs")
async def list_print_jobs(
    query: Annotated[PrintJobFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists print jobs, newest first. `?printer_id=` and `?status=` filter the list. With `status=unknown` it shows the
    labels that may be printed or not: a person must look at the printer.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.print_jobs.list(
            printer_id=query.printer_id, status=query.status, before=query.before_number(), limit=query.one_more
        )
    return query.page("print_jobs", rows, lambda job: job.id)


@router.get(f"{PRINT_JOBS_PATH}/{{print_job_id}}", summary="Poll a print job", responses=problems(NotFound))
async def get_print_job(
    print_job_id: PrintJobId,
    query: Annotated[WaitQuery, Query()],
    caller: Packer,
    runtime: RuntimeState,
    long_poll: LongPoll,
) -> PrintJobAnswer:
    """Shows the status of the print job, and why it waits. With `?wait=N` the answer comes when its status or its
    reason has changed since the request arrived, when the job has ended, or after N seconds.
    """
    look = partial(use_cases.view_print_job, runtime.database, caller=caller, job_id=print_job_id)
    job = await long_poll.follow(
        look,
        query.wait,
        has_ended=lambda job: job.status in ENDED_PRINTS,
        state=lambda job: (job.status, job.error_message),
    )
    return PrintJobAnswer.model_validate(job)


@router.post(
    f"{PRINT_JOBS_PATH}/{{print_job_id}}/cancel",
    response_model=PrintJobChanged,
    summary="Cancel a print job",
    responses=problems(NotFound, InvalidState),
)
async def cancel_print_job(
    print_job_id: PrintJobId, caller: Packer, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ChangedPrint:
    """Cancels a print job of which nothing was sent to the printer."""
    return await use_cases.cancel_print_job(database, caller=caller, job_id=print_job_id)


@router.post(
    f"{PRINT_JOBS_PATH}/{{print_job_id}}/confirm",
    response_model=PrintJobChanged,
    summary="Confirm that a label was printed",
    responses=problems(NotFound, InvalidState),
)
async def confirm_print_job(
    print_job_id: PrintJobId, caller: Packer, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ChangedPrint:
    """Completes an `unknown` print job, because you saw that its label was printed. The trace records that you said so.
    If it was not printed, print it again instead.
    """
    return await use_cases.confirm_print_job(database, caller=caller, job_id=print_job_id)
