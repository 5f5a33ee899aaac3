"""What the worker's endpoints answer to a cron job."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from qrtrack.domain.jobs import JobStatus
from qrtrack.schemas.base import DECIMAL, Answer, Instant, Query
from qrtrack.schemas.packing.reverse_jobs import ResultSummary


class Budget(Query):
    """How long the call may last."""

    max_seconds: Annotated[float, DECIMAL, Field(ge=1, le=3600)] = Field(
        50, description="Then the work goes back to the queue, its progress kept: for platforms that cut requests."
    )


class WorkerAnswer(Answer):
    """The job that this call ran, and how that ended; all null when nothing was queued."""

    job_id: UUID | None = None
    status: JobStatus | None = None
    result: ResultSummary | None = None
    error_message: str | None = None


class KindCounts(BaseModel):
    """How many pieces of work of one kind ended how."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    completed: int = 0
    queued: int = Field(0, description="Given back, because the time was up or the process stops.")
    retried: int = Field(0, description="Failed, and queued for another attempt.")
    failed: int = 0
    lost: int = Field(0, description="Cancelled, or taken over by another worker.")


class KindHealth(BaseModel):
    """How one kind of work fares."""

    model_config = ConfigDict(from_attributes=True)

    queued: int = Field(description="Waiting, those for a later time too.")
    running: int
    expired_leases: int = Field(description="Running by the table, but their worker has stopped answering.")
    oldest_age_seconds: float | None = Field(description="How long the oldest has been due; null when nothing is.")
    last_finished_at: Instant | None = Field(description="To a few seconds; null when nothing has ended yet.")


class LivingWorker(BaseModel):
    """A process whose loop looks for work."""

    model_config = ConfigDict(from_attributes=True)

    worker_id: UUID = Field(validation_alias="id")
    host: str
    started_at: Instant
    polled_at: Instant


class TaskHealth(BaseModel):
    """A task that comes round again."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["recalculate_progress"])
    status: Literal["queued", "running"]
    next_run_at: Instant = Field(description="Of one that is running: when it was due.")
    error_message: str | None = Field(description="Why its last run failed; null when it did not.")


class WorkerHealthAnswer(Answer):
    """All kinds of work, who is there to do it, and what comes round again by itself."""

    kinds: dict[str, KindHealth]
    workers: list[LivingWorker]
    tasks: list[TaskHealth]


class DrainAnswer(Answer):
    """What this call has done, by kind of work."""

    kinds: dict[str, KindCounts] = Field(examples=[{"reverse_job": KindCounts(completed=2).model_dump()}])
