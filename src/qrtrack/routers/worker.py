"""Runs queued work by HTTP requests, for platforms that have a cron service but no long-running processes."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from qrtrack.domain.jobs import JobStatus
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, machine_caller
from qrtrack.runtime import Runtime
from qrtrack.schemas.worker import Budget, DrainAnswer, KindCounts, WorkerAnswer, WorkerHealthAnswer
from qrtrack.services.workers import worker_health
from qrtrack.worker.draining import drain, run_one_reverse_job
from qrtrack.worker.execution import End, WorkOutcome

router = APIRouter(route_class=StrictRoute, tags=["worker"], dependencies=[Depends(machine_caller)])

JOB_PATH: Final = "/api/manufacturer/reverse-job/worker"
DRAIN_PATH: Final = "/api/worker/run"
STATUS_OF: Final = {
    End.COMPLETED: JobStatus.COMPLETED,
    End.RELEASED: JobStatus.QUEUED,
    End.RETRIED: JobStatus.QUEUED,
    End.FAILED: JobStatus.FAILED,
}


@router.post(JOB_PATH, summary="Run the next reverse job", name="run_reverse_job")
@router.get(JOB_PATH, summary="Run the next reverse job", name="run_reverse_job_by_get")
async def run_reverse_job(budget: Annotated[Budget, Query()], runtime: RuntimeState) -> WorkerAnswer:
    """Claims and runs the next queued reverse job. Several calls and workers may do so at once: each job runs once. The
    answer is 200 even if the job fails: then `status` is `failed`, or `queued` if it will be retried or the time was
    up. `job_id` is null if nothing was queued.
    """
    outcome = await run_one_reverse_job(runtime, seconds=budget.max_seconds)
    return WorkerAnswer() if outcome is None else await _answer(runtime, outcome)


async def _answer(runtime: Runtime, outcome: WorkOutcome) -> WorkerAnswer:
    claim = outcome.claim
    async with runtime.database.read(tenant=claim.organisation_id) as repositories:
        job = await repositories.reverse_jobs.get(claim.uuid)
    return WorkerAnswer.model_validate(
        {
            "job_id": claim.uuid,
            # After a lost lease, only the table knows the job's status: another worker has the job, or it was
            # cancelled.
            "status": STATUS_OF.get(outcome.end, job.status),
            "result": job.result_summary if outcome.end is End.COMPLETED else None,
            "error_message": outcome.error,
        }
    )


@router.get("/api/worker/health", summary="Look at the work and the workers")
async def get_worker_health(runtime: RuntimeState) -> WorkerHealthAnswer:
    """Shows for each kind of work how much waits and runs, how long the oldest has been due, and when the last one
    ended. Also shows the processes with a running worker loop (a platform that calls `run` by cron has none), and when
    each periodic task runs next.
    """
    return WorkerHealthAnswer.model_validate(await worker_health(runtime.database))


@router.post(DRAIN_PATH, summary="Do all queued work", name="run_worker")
@router.get(DRAIN_PATH, summary="Do all queued work", name="run_worker_by_get")
async def run_worker(budget: Annotated[Budget, Query()], runtime: RuntimeState) -> DrainAnswer:
    """Executes all kinds of queued work until nothing is due or the time is up. Answers how many pieces of each kind
    ended, and how.
    """
    ends = await drain(runtime, seconds=budget.max_seconds)
    return DrainAnswer(kinds={kind: KindCounts.model_validate(counted) for kind, counted in ends.items()})
