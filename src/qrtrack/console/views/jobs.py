"""Reverse jobs: the list, and one job with its log. Cancelling and retrying call the JSON API."""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Packer
from qrtrack.domain.identity import Permission
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.services.packing.reverse_jobs import list_log, list_reverse_jobs, view_reverse_job

router = APIRouter(route_class=ConsoleRoute, prefix="/console/jobs", include_in_schema=False)

PAGE: Final = 50
LOG_LINES: Final = 200


@router.get("")
async def show_jobs(
    visitor: Packer, status: JobStatus | Literal[""] = "", before: Annotated[UUID | None, Query()] = None
) -> Response:
    jobs = await list_reverse_jobs(
        visitor.database,
        caller=visitor.caller,
        selection=JobSelection(status=status or None),
        before=before,
        limit=PAGE + 1,
    )
    more = jobs[PAGE - 1].id if len(jobs) > PAGE else None
    return visitor.page("jobs.html", jobs=jobs[:PAGE], status=status, statuses=list(JobStatus), more=more)


@router.get("/{job_id}")
async def show_job(visitor: Packer, job_id: UUID) -> Response:
    return visitor.page("job.html", **await _job(visitor, job_id))


@router.get("/{job_id}/now")
async def show_job_now(visitor: Packer, job_id: UUID) -> Response:
    return visitor.page("job_now.html", **await _job(visitor, job_id))


async def _job(visitor: Packer, job_id: UUID) -> dict[str, object]:
    view = await view_reverse_job(visitor.database, caller=visitor.caller, job_id=job_id)
    log = await list_log(visitor.database, caller=visitor.caller, job_id=job_id, after=0, limit=LOG_LINES)
    return {
        "job": view.job,
        "position": view.queue_position,
        "log": log,
        "may_manage": visitor.may(Permission.MANAGE_BATCHES),
    }
