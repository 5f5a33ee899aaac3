"""Reverse jobs: the list, and one job with its log. Cancelling and retrying call the JSON API."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.console.views.packing import span
from qrtrack.domain.identity import Permission
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.schemas.cursors import LARGEST_ROW_ID
from qrtrack.services.packing.reverse_jobs import list_log, view_reverse_job

router = APIRouter(route_class=ConsoleRoute, prefix="/console/jobs", include_in_schema=False)

PAGE: Final = 50
LOG_LINES: Final = 200

Status = JobStatus | Literal[""]
OfBatch = Annotated[UUID | Literal[""], Query(alias="batch")]
After = Annotated[int, Query(ge=0, le=LARGEST_ROW_ID)]


@router.get("")
async def show_jobs(
    visitor: Packer, status: Status = "", batch_id: OfBatch = "", before: UUID | None = None
) -> Response:
    batch = None
    if batch_id:
        async with visitor.read() as repositories:
            batch = await repositories.batches.get(batch_id)
    return visitor.page(
        "jobs.html",
        batch=batch,
        statuses=list(JobStatus),
        bulk=_bulk(visitor, status, batch_id),
        **await _jobs(visitor, status, batch_id, before),
    )


@router.get("/now")
async def show_jobs_now(
    visitor: Packer, status: Status = "", batch_id: OfBatch = "", before: UUID | None = None
) -> Response:
    return visitor.page("jobs_now.html", **await _jobs(visitor, status, batch_id, before))


async def _jobs(visitor: Packer, status: Status, batch_id: UUID | str, before: UUID | None) -> dict[str, Any]:
    selection = JobSelection(status=status or None, batch_id=UUID(str(batch_id)) if batch_id else None)
    async with visitor.read() as repositories:
        jobs = await repositories.reverse_jobs.list(selection, before=before, limit=PAGE + 1)
        names = await repositories.batch_lists.product_names({job.batch_id for job in jobs})
    wanted = {"status": str(status), "batch": str(batch_id)}
    return {
        "jobs": jobs[:PAGE],
        "names": names,
        "more": jobs[PAGE - 1].id if len(jobs) > PAGE else None,
        "status": status,
        "before": before,
        "query": urlencode({name: value for name, value in wanted.items() if value}),
    }


def _bulk(visitor: Packer, status: Status, batch_id: UUID | str) -> dict[str, dict[str, str]]:
    """Returns the request bodies of the actions on all matching jobs. An action that the visitor may not use, or that
    can match nothing, is left out.
    """
    if not visitor.may(Permission.MANAGE_BATCHES):
        return {}
    of_batch = {"batch_id": str(batch_id)} if batch_id else {}
    match status:
        case JobStatus.QUEUED | JobStatus.RUNNING:
            return {"cancel": {"status": status, **of_batch}}
        case JobStatus.FAILED:
            return {"retry": of_batch}
        case "":
            return {"cancel": of_batch, "retry": of_batch}
        case _:
            return {}


@router.get("/{job_id}")
async def show_job(visitor: Packer, job_id: UUID, after: After = 0) -> Response:
    shown = await _job(visitor, job_id, after)
    async with visitor.read() as repositories:
        batch = await repositories.batches.get(shown["job"].batch_id)
    return visitor.page("job.html", batch=batch, span=span(batch), **shown)


@router.get("/{job_id}/now")
async def show_job_now(visitor: Packer, job_id: UUID, after: After = 0) -> Response:
    return visitor.page("job_now.html", **await _job(visitor, job_id, after))


async def _job(visitor: Packer, job_id: UUID, after: int) -> dict[str, Any]:
    view = await view_reverse_job(visitor.database, caller=visitor.caller, job_id=job_id)
    log = await list_log(visitor.database, caller=visitor.caller, job_id=job_id, after=after, limit=LOG_LINES + 1)
    return {
        "job": view.job,
        "position": view.queue_position,
        "log": log[:LOG_LINES],
        "after": after,
        "more": log[LOG_LINES - 1].id if len(log) > LOG_LINES else None,
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
    }
