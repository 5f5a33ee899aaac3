"""The answers of the worker's endpoints to a cron job."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from qrtrack.domain.jobs import JobStatus
from qrtrack.schemas.base import DECIMAL, Answer, Instant, Query, View
from qrtrack.schemas.packing.reverse_jobs import ResultSummary


class Budget(Query):
    """How long the call may last."""

    max_seconds: Annotated[float, DECIMAL, Field(ge=1, le=3600)] = Field(
        50,
        description="After this time the work goes back to the queue with its progress, for platforms that cut off "
        "long requests.",
    )


class WorkerAnswer(Answer):
    """The job that this call ran, and its state now. All members are null if no job was due."""

    job_id: UUID | None = None
    status: JobStatus | None = None
    result: ResultSummary | None = None
    error_message: str | None = None


class KindCounts(View):
    """How many pieces of work of one kind this call ran, by what became of them."""

    completed: int = 0
    queued: int = Field(0, description="Released, because the time was up or the process is stopping.")
    retried: int = Field(0, description="Failed, and queued for another attempt.")
    failed: int = 0
    lost: int = Field(0, description="Cancelled, or taken over by another worker.")


class KindHealth(View):
    """The state of one kind of work."""

    queued: int = Field(description="Waiting, including work that is due later.")
    running: int
    expired_leases: int = Field(description="Marked as running, but their worker has stopped answering.")
    oldest_age_seconds: float | None = Field(description="How long the oldest has been due; null when nothing is.")
    last_finished_at: Instant | None = Field(description="Exact to a few seconds; null when nothing has ended yet.")


class LivingWorker(View):
    """A process with a running worker loop."""

    worker_id: UUID = Field(validation_alias="id")
    host: str
    started_at: Instant
    polled_at: Instant


class TaskHealth(View):
    """A periodic task."""

    name: str = Field(examples=["recalculate_progress"])
    status: Literal["queued", "running"]
    next_run_at: Instant = Field(description="For a running task: when it was due.")
    error_message: str | None = Field(description="Why its last run failed; null if it did not fail.")


class WorkerHealthAnswer(Answer):
    """The state of all kinds of work, of the workers, and of the periodic tasks."""

    kinds: dict[str, KindHealth]
    workers: list[LivingWorker]
    tasks: list[TaskHealth]


class DrainAnswer(Answer):
    """What this call has done, by kind of work."""

    kinds: dict[str, KindCounts] = Field(examples=[{"reverse_job": KindCounts(completed=2).model_dump()}])
