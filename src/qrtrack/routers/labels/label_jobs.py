"""Label jobs over HTTP: submit, poll, list, cancel, retry, fetch the file. Also the label of one case, at once."""

from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidInput, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.jobs import TERMINAL_JOBS
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.label_jobs import (
    AlreadyPrinted,
    FileNotReady,
    LabelsReserved,
    NewLabelJob,
    NothingToPrint,
    RootKeysMissing,
)
from qrtrack.domain.labels.layouts import LabelTooSmall
from qrtrack.domain.qr import AddressNotPublic
from qrtrack.domain.root_keys import NotAskedFor, SealBroken
from qrtrack.models import LabelJob
from qrtrack.routers.bodies import NoFields, StrictRoute
from qrtrack.routers.dependencies import BatchManager, MayReveal, Packer, RuntimeState
from qrtrack.routers.downloads import attachment
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.labels.label_files import MEDIA_TYPES, PDF, ZPL
from qrtrack.routers.labels.symbols import CaseNumber
from qrtrack.routers.problems import problems
from qrtrack.routers.waiting import LongPoll
from qrtrack.runtime import Runtime
from qrtrack.schemas.base import WaitQuery
from qrtrack.schemas.labels.label_jobs import (
    LABELS_PATH,
    CaseLabelQuery,
    CaseLabelZplQuery,
    LabelJobAnswer,
    LabelJobChanged,
    LabelJobDryRun,
    LabelJobFilter,
    LabelJobPage,
    LabelJobSubmitted,
    LabelJobSummary,
    LabelRequest,
)
from qrtrack.services.labels import label_files
from qrtrack.services.labels import label_jobs as use_cases
from qrtrack.services.public_address import printable_base_url

router = APIRouter(route_class=StrictRoute, tags=["labels"])


@router.post(
    "/api/manufacturer/batches/{batch_id}/labels",
    status_code=202,
    response_model=LabelJobSubmitted,
    summary="Print labels",
    responses=problems(
        NotFound, BatchNotReady, AddressNotPublic, LabelTooSmall, AlreadyPrinted, LabelsReserved, NothingToPrint,
        RootKeysMissing,
    )
    | {200: {"model": LabelJobDryRun, "description": "With `dry_run`: what would be printed."}},
)  # fmt: skip
async def submit_label_job(
    batch_id: UUID,
    body: LabelRequest,
    *,
    caller: BatchManager,
    runtime: RuntimeState,
    database: AnsweringDatabase,
    response: Response,
) -> LabelJobSubmitted | Response:
    """Queues a job that draws up to 100,000 labels. Its units are reserved until the job has ended, and marked as
    printed when it is completed. Void units are skipped. Poll `status_url`, then fetch the file from `file_url`.

    Send `{"what": "units", "preset": "a4-65"}`. Units that were printed before need a `reason`. With `dry_run` nothing
    is queued, and the answer says how many labels and pages the job would print.
    """
    new, base_url = body.new_label_job(), printable_base_url(runtime.settings, caller.organisation_id)
    if body.dry_run:
        counted = await use_cases.dry_run_label_job(
            runtime.database, caller=caller, batch_id=batch_id, new=new, base_url=base_url
        )
        return JSONResponse(LabelJobDryRun(**asdict(counted)).model_dump())
    submitted = await use_cases.submit_label_job(database, caller=caller, batch_id=batch_id, new=new, base_url=base_url)
    answer = LabelJobSubmitted.model_validate(submitted)
    response.headers["Location"] = answer.status_url
    return answer


@router.get(LABELS_PATH, response_model=LabelJobPage, summary="List label jobs")
async def list_label_jobs(
    query: Annotated[LabelJobFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists label jobs, newest first. `?batch_id=` and `?status=` filter the list."""
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.label_jobs.list(
            batch_id=query.batch_id, status=query.status, before=query.before_id(), limit=query.one_more
        )
    return query.page("label_jobs", [LabelJobSummary.of(row) for row in rows], lambda job: job.label_job_id)


@router.get(f"{LABELS_PATH}/{{label_job_id}}", summary="Poll a label job", responses=problems(NotFound))
async def get_label_job(
    label_job_id: UUID,
    query: Annotated[WaitQuery, Query()],
    caller: Packer,
    runtime: RuntimeState,
    long_poll: LongPoll,
) -> LabelJobAnswer:
    """Shows the state of the job. `progress` never falls, and is 100 only with `completed`. With `?wait=N` the answer
    comes when something has changed since the request arrived, when the job has ended, or after N seconds.
    """
    look = partial(use_cases.view_label_job, runtime.database, caller=caller, job_id=label_job_id)
    return LabelJobAnswer.of(await long_poll.follow(look, query.wait, has_ended=_has_ended, state=_visible_state))


def _has_ended(job: LabelJob) -> bool:
    return job.status in TERMINAL_JOBS


def _visible_state(job: LabelJob) -> tuple[object, ...]:
    """Returns the fields whose change ends `?wait=`. `updated_at` is left out, because each heartbeat changes it."""
    return job.status, job.progress, job.drawn_count, job.attempts


@router.post(
    f"{LABELS_PATH}/{{label_job_id}}/cancel",
    response_model=LabelJobChanged,
    summary="Cancel a label job",
    responses=problems(NotFound, InvalidState),
)
async def cancel_label_job(
    label_job_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ChangedLabelJob:
    """Ends a queued or running job. The drawn part of its file is deleted, and its units are not marked as printed."""
    return await use_cases.cancel_label_job(database, caller=caller, job_id=label_job_id)


@router.post(
    f"{LABELS_PATH}/{{label_job_id}}/retry",
    response_model=LabelJobChanged,
    summary="Retry a failed label job",
    responses=problems(NotFound, InvalidState, AlreadyPrinted, LabelsReserved, RootKeysMissing),
)
async def retry_label_job(
    label_job_id: UUID, caller: BatchManager, database: AnsweringDatabase, _nothing: NoFields = None
) -> use_cases.ChangedLabelJob:
    """Queues a failed job again. It continues after the last label that was stored."""
    return await use_cases.retry_label_job(database, caller=caller, job_id=label_job_id)


@router.get(
    f"{LABELS_PATH}/{{label_job_id}}/file",
    response_class=StreamingResponse,
    summary="Fetch the file of a label job",
    responses=problems(NotFound, FileNotReady, NotAskedFor, SealBroken) | {200: {"content": {PDF: {}, ZPL: {}}}},
)
async def get_label_file(
    label_job_id: UUID, caller: BatchManager, runtime: RuntimeState, may_reveal: MayReveal
) -> StreamingResponse:
    """Sends the PDF or ZPL file of a completed job. Pruning deletes the job and its file after RETENTION_DAYS. A trace
    event records who fetched a file with root keys.
    """
    return await send_label_file(runtime, caller, label_job_id, may_reveal=may_reveal)


async def send_label_file(runtime: Runtime, caller: Caller, job_id: UUID, *, may_reveal: bool) -> StreamingResponse:
    file = await label_files.open_label_file(
        runtime.database, caller=caller, keys=runtime.keys, job_id=job_id, may_reveal=may_reveal
    )
    headers = {"Content-Length": str(file.size), **attachment(file.name)}
    return StreamingResponse(file.parts, media_type=MEDIA_TYPES[file.file_format], headers=headers)


@router.get(
    "/api/manufacturer/batches/{batch_id}/cases/{case_number}/label.pdf",
    response_class=Response,
    summary="Print a case's label as PDF",
    responses=problems(NotFound, LabelTooSmall) | {200: {"content": {PDF: {}}}},
)
async def get_case_label_pdf(
    batch_id: UUID,
    case_number: CaseNumber,
    query: Annotated[CaseLabelQuery, Query()],
    caller: Packer,
    runtime: RuntimeState,
) -> Response:
    """Draws the label of one case at once, as the case is now: master code, case number, first and last code, count."""
    return await _case_label(runtime, caller, batch_id, case_number, query.new_label_job(FileFormat.PDF))


@router.get(
    "/api/manufacturer/batches/{batch_id}/cases/{case_number}/label.zpl",
    response_class=Response,
    summary="Print a case's label as ZPL",
    responses=problems(NotFound, LabelTooSmall) | {200: {"content": {ZPL: {}}}},
)
async def get_case_label_zpl(
    batch_id: UUID,
    case_number: CaseNumber,
    query: Annotated[CaseLabelZplQuery, Query()],
    caller: Packer,
    runtime: RuntimeState,
) -> Response:
    """Draws the same label as `label.pdf` as ZPL, for a label printer. Send it unchanged to the printer's port 9100."""
    return await _case_label(runtime, caller, batch_id, case_number, query.new_label_job(FileFormat.ZPL))


async def _case_label(
    runtime: RuntimeState,
    caller: Packer,
    batch_id: UUID,
    case_number: int,
    new: NewLabelJob,
) -> Response:
    try:
        content = await label_files.draw_case_label(
            runtime.database, caller=caller, batch_id=batch_id, case_number=case_number, new=new
        )
    except InvalidInput as refusal:
        refusal.errors = tuple(replace(error, pointer=f"/query{error.pointer}") for error in refusal.errors)
        raise
    headers = attachment(f"case-{case_number}.{new.file_format}")
    return Response(content, media_type=MEDIA_TYPES[new.file_format], headers=headers)
