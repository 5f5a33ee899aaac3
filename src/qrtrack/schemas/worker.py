"""What the worker's endpoints answer to a cron job."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from qrtrack.domain.states import JobStatus
from qrtrack.schemas.base import Answer, Query
from qrtrack.schemas.reverse_jobs import ResultSummary


class Budget(Query):
    """How long the call may last."""

    max_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
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

    completed: int = 0
    queued: int = Field(0, description="Given back, because the time was up or the process stops.")
    retried: int = Field(0, description="Failed, and queued for another attempt.")
    failed: int = 0
    lost: int = Field(0, description="Cancelled, or taken over by another worker.")


class DrainAnswer(Answer):
    """What this call has done, by kind of work."""

    kinds: dict[str, KindCounts] = Field(examples=[{"reverse_job": KindCounts(completed=2).model_dump()}])
