"""The worker over HTTP, for platforms that have a cron service and no standing process."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from qrtrack.domain.packing.states import JobStatus
from qrtrack.domain.stopping import StopSignal
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import RuntimeState, machine_caller
from qrtrack.runtime import Runtime
from qrtrack.schemas.worker import Budget, DrainAnswer, KindCounts, WorkerAnswer, WorkerHealthAnswer
from qrtrack.services.workers import report_ends, worker_health
from qrtrack.worker.execution import End, Outcome, run_next
from qrtrack.worker.handlers import REVERSE_JOB, AnyHandler
from qrtrack.worker.loop import lanes_of
from qrtrack.worker.schedule import plan

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
    """Takes the next queued reverse job and runs it; any number of calls and workers may do so at once, each job runs
    once. Answers 200 also where the job fails: `status` is `failed`, or `queued` where it will be tried again or the
    time was up. `job_id` is null when nothing was queued.
    """
    async with _stopping_after(runtime, budget.max_seconds) as stop:
        outcome = await run_next(runtime, REVERSE_JOB, stop)
    await report_ends(runtime.database, runtime.pulse)
    return WorkerAnswer() if outcome is None else await _answer(runtime, outcome)


async def _answer(runtime: Runtime, outcome: Outcome) -> WorkerAnswer:
    claim = outcome.claim
    async with runtime.database.read(tenant=claim.organisation_id) as repositories:
        job = await repositories.reverse_jobs.get(claim.uuid)
    return WorkerAnswer.model_validate(
        {
            "job_id": claim.uuid,
            # A job that was lost is somebody else's now, or cancelled: only the table knows.
            "status": STATUS_OF.get(outcome.end, job.status),
            "result": job.result_summary if outcome.end is End.COMPLETED else None,
            "error_message": outcome.error,
        }
    )


@router.get("/api/worker/health", summary="Look at the work and the workers")
async def get_worker_health(runtime: RuntimeState) -> WorkerHealthAnswer:
    """For each kind of work what waits, what runs, how long the oldest has been due and when the last one ended; the
    processes whose loop is alive (a platform that calls `run` by cron has none); and when each periodic task runs next.
    """
    return WorkerHealthAnswer.model_validate(await worker_health(runtime.database))


@router.post(DRAIN_PATH, summary="Do all queued work", name="run_worker")
@router.get(DRAIN_PATH, summary="Do all queued work", name="run_worker_by_get")
async def run_worker(budget: Annotated[Budget, Query()], runtime: RuntimeState) -> DrainAnswer:
    """Works on every kind of queued work until nothing is due or the time is up, and answers what was done."""
    lanes = lanes_of(runtime.settings)
    await plan(runtime)
    ends: dict[str, Counter[End]] = {lane.handler.queue.kind: Counter() for lane in lanes}
    async with _stopping_after(runtime, budget.max_seconds) as stop:
        # One kind of work makes work of another: again, until a whole round finds nothing.
        did_something = True
        while did_something and not stop.is_set():
            drains = [
                _drain(runtime, lane.handler, stop, ends[lane.handler.queue.kind])
                for lane in lanes
                for _ in range(max(lane.slots, 1))
            ]
            did_something = await _all(drains)
    await report_ends(runtime.database, runtime.pulse)
    return DrainAnswer(kinds={kind: KindCounts.model_validate(counted) for kind, counted in ends.items()})


async def _drain(runtime: Runtime, handler: AnyHandler, stop: StopSignal, ends: Counter[End]) -> bool:
    """Works on one kind, one piece or group after the other; whether there was any."""
    did_something = False
    while (outcome := await run_next(runtime, handler, stop)) is not None:
        ends[outcome.end] += outcome.pieces
        did_something = True
    return did_something


async def _all(drains: list[Coroutine[Any, Any, bool]]) -> bool:
    """Lets every drain end before the first failure of one is passed on, so that no work is left running."""
    ended = await asyncio.gather(*drains, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return any(ended)


@asynccontextmanager
async def _stopping_after(runtime: Runtime, seconds: float) -> AsyncIterator[StopSignal]:
    """A signal that is set when the time is up or the process has been asked to end."""
    stop = StopSignal(deadline=time.monotonic() + seconds)

    async def pass_on() -> None:
        await runtime.stopping.wait()
        stop.set()

    task = asyncio.create_task(pass_on())
    try:
        yield stop
    finally:
        task.cancel()
