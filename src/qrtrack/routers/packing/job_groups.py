"""Cancelling and retrying all reverse jobs that match a filter, over HTTP."""

from fastapi import APIRouter

from qrtrack.domain.matching import Matching
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import BatchManager
from qrtrack.routers.idempotency import AnsweringDatabase
from qrtrack.schemas.matching import MatchingAnswer
from qrtrack.schemas.packing.job_groups import CancelMatching, JobsCancelledAnswer, JobsRetriedAnswer, RetryMatching
from qrtrack.services.packing import job_groups as use_cases

router = APIRouter(route_class=StrictRoute, prefix="/api/manufacturer/reverse-job", tags=["reverse jobs"])


@router.post(
    "/cancel-matching",
    response_model=JobsCancelledAnswer | MatchingAnswer,
    summary="Cancel reverse jobs by filter",
)
async def cancel_matching_jobs(
    body: CancelMatching, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.CancelledJobs | Matching:
    """Cancels all queued and running jobs that match, e.g. `{"status": "queued", "batch_id": "…"}`. `"dry_run": true`
    only counts them. If the request is interrupted, some jobs have been cancelled: send it again for the others. With
    the same `Idempotency-Key`, the answer then counts all.
    """
    if body.dry_run:
        return await use_cases.count_jobs(database, caller=caller, group=body.group())
    return await use_cases.cancel_jobs(database, caller=caller, group=body.group())


@router.post(
    "/retry-matching",
    response_model=JobsRetriedAnswer | MatchingAnswer,
    summary="Retry failed reverse jobs by filter",
)
async def retry_matching_jobs(
    body: RetryMatching, caller: BatchManager, database: AnsweringDatabase
) -> use_cases.RetriedJobs | Matching:
    """Queues all failed jobs again that match, e.g. `{"batch_id": "…"}`. Jobs of closed batches are left out.
    `"dry_run": true` only counts them. If the request is interrupted, send it again for the others. With the same
    `Idempotency-Key`, the answer then counts all.
    """
    if body.dry_run:
        return await use_cases.count_jobs(database, caller=caller, group=body.group())
    return await use_cases.retry_jobs(database, caller=caller, group=body.group())
