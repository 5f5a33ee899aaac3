"""Reverse jobs over HTTP: submitting, polling, listing, cancelling, retrying."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query

from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.jobs import TERMINAL_JOBS
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.case_packing import OrderMismatch
from qrtrack.domain.packing.code_lists import UnitOfOtherBatch
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.body_limits import LARGE_BODY_BYTES, body_limit
from qrtrack.routers.dependencies import BatchManager, Packer, RuntimeState
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.routers.packing.code_lists import read_codes
from qrtrack.routers.problems import problems
from qrtrack.routers.waiting import LongPoll
from qrtrack.schemas.packing.reverse_jobs import (
    JobAnswer,
    JobCancelledAnswer,
    JobDryRun,
    JobFilter,
    JobPage,
    JobQuery,
    JobReference,
    JobRequest,
    JobRetriedAnswer,
    JobSubmitted,
    LogPage,
    LogQuery,
    PreparedPage,
    PreparedQuery,
)
from qrtrack.services.packing import reverse_jobs as use_cases
from qrtrack.services.packing.reverse_jobs import UnknownExcludeCodes

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/reverse-job", tags=["reverse jobs"])


@router.post(
    "/submit",
    response_model=JobSubmitted | JobDryRun,
    summary="Submit a reverse job",
    responses=problems(NotFound, BatchNotReady, BatchClosed, OrderMismatch, UnitOfOtherBatch, UnknownExcludeCodes),
)
@body_limit(LARGE_BODY_BYTES)
async def submit_reverse_job(
    body: JobRequest, caller: Packer, runtime: RuntimeState, database: AnsweringDatabase, long_poll: LongPoll
) -> use_cases.SubmittedJob | use_cases.DryRun | JobSubmitted:
    """Queues a job that prepares every code of the batch that can be packed, except the listed ones. The exclusions
    hold from now on, also for later jobs, until `codes/readmit` ends them. Then poll `status`, or let this request
    `wait` for the end.

    Send `{"batch_id": "…", "order_id": "…", "exclude_codes": ["SKA000007", "SKA000013"]}`; the answer is `{"success":
    true, "job_id": "…", "status": "queued", "exclude_count": 2, …}`.
    """
    pasted = await read_codes(runtime, caller, body.exclude_codes, field="exclude_codes", may_be_empty=True)
    new = NewJob(body.batch_id, body.order_id, pasted.codes, pasted.scans, body.variant, body.priority)
    notify = runtime.messenger.channels.check(body.notify.recipients() if body.notify else None)
    if body.dry_run:
        return await use_cases.dry_run_reverse_job(database, caller=caller, new=new)
    submitted = await use_cases.submit_reverse_job(database, caller=caller, new=new, notify=notify)
    if not body.wait:
        return submitted
    look = partial(use_cases.view_reverse_job, runtime.database, caller=caller, job_id=submitted.job_id)
    view = await long_poll.watch(look, body.wait, _has_ended)
    answer = JobSubmitted.of(submitted, view.job)
    await use_cases.keep_answer(database, caller=caller, answer=answer)
    return answer


@router.get("/status", summary="Poll a reverse job", responses=problems(NotFound))
async def get_reverse_job(
    query: Annotated[JobQuery, Query()], caller: Packer, runtime: RuntimeState, long_poll: LongPoll
) -> JobAnswer:
    """Shows the state of the job. `progress` never falls, and is 100 only with `completed`. With `?wait=N` the answer
    comes when the job changes, when it has ended, or after N seconds.
    """
    look = partial(use_cases.view_reverse_job, runtime.database, caller=caller, job_id=query.job_id)
    return JobAnswer.of(await long_poll.follow(look, query.wait, has_ended=_has_ended, state=_visible_state))


def _has_ended(view: use_cases.JobView) -> bool:
    return view.job.status in TERMINAL_JOBS


def _visible_state(view: use_cases.JobView) -> tuple[object, ...]:
    """Returns the fields whose change ends `?wait=`. `updated_at` is left out, because each heartbeat changes it."""
    job = view.job
    return job.status, job.progress, job.prepared_count, job.remaining_to_prepare, job.attempts, view.queue_position


@router.get("/jobs", response_model=JobPage, summary="List reverse jobs")
async def list_reverse_jobs(
    query: Annotated[JobFilter, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists reverse jobs, newest first. `?batch_id=`, `?order_id=`, `?status=` and `?variant=` filter the list."""
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        rows = await repositories.reverse_jobs.list(query.selection(), before=query.before_id(), limit=query.one_more)
    return query.page("jobs", rows, lambda job: job.id)


@router.get("/logs", response_model=LogPage, summary="Read a job's log", responses=problems(NotFound))
async def list_reverse_job_logs(
    query: Annotated[LogQuery, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists one line for each step, retry, warning and failure, oldest first."""
    rows = await use_cases.list_log(
        runtime.database, caller=caller, job_id=query.job_id, after=query.after_number(), limit=query.one_more
    )
    return query.page("logs", rows, lambda row: row.id)


@router.get("/prepared", response_model=PreparedPage, summary="List prepared codes", responses=problems(NotFound))
async def list_prepared_codes(
    query: Annotated[PreparedQuery, Query()], caller: Packer, runtime: RuntimeState
) -> dict[str, Any]:
    """Lists the codes that the job put into the queue, in that order. `?status=prepared` lists those that still
    wait.
    """
    async with runtime.database.read(tenant=caller.organisation_id) as repositories:
        await repositories.reverse_jobs.get(query.job_id)
        rows = await repositories.prepared_codes.list_of_job(
            query.job_id, status=query.status, after=query.after_number(), limit=query.one_more
        )
    return query.page("prepared_codes", rows, lambda row: row.id)


@router.post(
    "/cancel",
    response_model=JobCancelledAnswer,
    summary="Cancel a reverse job",
    responses=problems(NotFound, InvalidState),
)
async def cancel_reverse_job(
    body: JobReference, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.CancelledJob:
    """Ends a queued or running job and its exclusions. Codes that it prepared leave the queue. Codes that are already
    packed stay packed. Send `{"job_id": "…"}`.
    """
    return await use_cases.cancel_reverse_job(database, caller=caller, job_id=body.job_id)


@router.post(
    "/retry",
    response_model=JobRetriedAnswer,
    summary="Retry a failed reverse job",
    responses=problems(NotFound, InvalidState, BatchClosed),
)
async def retry_reverse_job(
    body: JobReference, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.RetriedJob:
    """Queues a failed job again. It keeps its progress and continues after the last finished chunk."""
    return await use_cases.retry_reverse_job(database, caller=caller, job_id=body.job_id)
