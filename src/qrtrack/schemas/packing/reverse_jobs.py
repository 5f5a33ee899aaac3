"""Reverse jobs: submitting, polling, ending and retrying them."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from qrtrack.domain.estimates import eta_seconds
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.selections import JobSelection
from qrtrack.domain.packing.states import PreparedStatus
from qrtrack.models import ReverseJob
from qrtrack.schemas.base import LONGEST_WAIT, Answer, Body, Id, Instant, ListQuery, Page, Query, View, Wait
from qrtrack.schemas.notifications import NotifyRequest
from qrtrack.schemas.packing.batches import VariantName
from qrtrack.schemas.packing.codes import CodeList
from qrtrack.services.packing.reverse_jobs import JobView, SubmittedJob


class JobRequest(Body):
    """A batch to prepare, except for the listed codes. The list is required, so that no exclusion is forgotten."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "batch_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a11",
                "order_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10",
                "exclude_codes": ["SKA000007", "SKA000013"],
            }
        }
    )

    batch_id: Id
    order_id: Id
    exclude_codes: CodeList
    variant: VariantName | None = Field(None, description="Prepares only this variant of the batch.")
    priority: Annotated[int, Field(ge=0, le=9)] = Field(0, description="9 goes first.")
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = Field(
        0, description="Seconds to wait for the job's end. The answer contains the job's state at that time."
    )
    notify: NotifyRequest | None = None
    dry_run: bool = Field(default=False, description="Returns what would be counted and refused, and changes nothing.")


class ResultSummary(View):
    """`prepared + duplicates + invalid + excluded_count = total_available`."""

    prepared: int
    duplicates: int = Field(description="Codes that another job has already put into the queue.")
    invalid: int = Field(description="Codes that were no longer available when the job reached them.")
    total_available: int
    excluded_count: int
    excluded_already_unavailable: int


class JobSubmitted(Answer):
    """The submitted job. Its status differs from `queued` only if the request waited."""

    model_config = ConfigDict(title="JobSubmitted")

    dry_run: Literal[False] = False
    job_id: UUID
    status: JobStatus
    exclude_count: int = Field(description="Codes in the list, after splitting, expanding and dropping repeats.")
    excluded_already_unavailable: int = Field(description="How many of these are packed, void or with a consumer.")
    progress: int = Field(0, ge=0, le=100)
    result_summary: ResultSummary | None = None
    error_message: str | None = None

    @classmethod
    def of(cls, submitted: SubmittedJob, job: ReverseJob) -> Self:
        """Builds the answer of a request that waited for the job."""
        return cls(
            job_id=submitted.job_id,
            status=JobStatus(job.status),
            exclude_count=submitted.exclude_count,
            excluded_already_unavailable=submitted.excluded_already_unavailable,
            progress=job.progress,
            result_summary=ResultSummary(**job.result_summary) if job.result_summary else None,
            error_message=job.error_message,
        )


class JobDryRun(Answer):
    """What a submission would count, in the present state of the batch. With `unknown_codes` it would be refused."""

    dry_run: Literal[True] = True
    exclude_count: int
    excluded_already_unavailable: int
    total_available: int
    excluded_count: int
    duplicates: int
    would_prepare: int
    unknown_codes: list[str] = Field(
        description="Excluded codes that are not in the batch, as ranges: the first 1,000."
    )
    unknown_count: int
    unavailable_codes: list[str]


class JobSummary(View):
    """A job as lists show it. `remaining_to_prepare` and `total_available_in_batch` are null until a worker has counted
    the codes.
    """

    job_id: UUID = Field(validation_alias="id")
    batch_id: UUID
    order_id: UUID
    variant: str | None
    priority: int
    status: JobStatus
    progress: int = Field(ge=0, le=100)
    prepared_count: int
    remaining_to_prepare: int | None
    total_available_in_batch: int | None
    result_summary: ResultSummary | None
    error_message: str | None
    attempts: int
    created_by: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class JobPage(Page):
    """Jobs, newest first."""

    jobs: list[JobSummary]


class JobAnswer(JobSummary, Answer):
    """One job: poll it every few seconds."""

    queue_position: int | None = Field(description="1 is the organisation's next job; null unless the job is queued.")
    eta_seconds: int | None = Field(description="Remaining seconds at the rate so far; null unless the job is running.")

    @classmethod
    def of(cls, view: JobView) -> Self:
        summary = JobSummary.model_validate(view.job)
        return cls(**dict(summary), queue_position=view.queue_position, eta_seconds=_eta(view.job))


def _eta(job: ReverseJob) -> int | None:
    """Returns the remaining seconds. Both times come from the database, because the clocks of workers may differ."""
    if job.status != JobStatus.RUNNING or job.counted_at is None:
        return None
    done = job.prepared_count + job.duplicate_count + job.excluded_count
    elapsed = (job.updated_at - job.counted_at).total_seconds()
    return eta_seconds(done, job.total_available_in_batch or 0, elapsed)


class JobQuery(Query):
    """Which job to show, and how long to wait for a change."""

    job_id: UUID
    wait: Wait = 0


class JobFilter(ListQuery):
    """Which jobs to list."""

    batch_id: UUID | None = None
    order_id: UUID | None = None
    status: JobStatus | None = None
    variant: VariantName | None = None

    def selection(self) -> JobSelection:
        return JobSelection(**self.model_dump(exclude={"cursor", "limit"}))


class LogQuery(ListQuery):
    """Which job's log lines to list."""

    job_id: UUID


class LogLine(View):
    """One line of the log, such as a step, a retry, a warning or a failure."""

    level: Literal["info", "warn", "error"]
    message: str
    created_at: Instant


class LogPage(Page):
    """Log lines, oldest first."""

    logs: list[LogLine]


class PreparedQuery(LogQuery):
    """Which of a job's prepared codes to list."""

    status: PreparedStatus | None = None


class ListedPreparedCode(View):
    """A code that is, or was, in the queue."""

    code: str
    sequence_number: int
    status: PreparedStatus
    created_at: Instant
    consumed_at: Instant | None


class PreparedPage(Page):
    """Prepared codes in the order in which they were queued."""

    prepared_codes: list[ListedPreparedCode]


class JobReference(Body):
    """Which job."""

    job_id: Id


class JobCancelledAnswer(Answer):
    """How many codes left the queue with the job."""

    job_id: UUID
    status: JobStatus
    withdrawn: int


class JobRetriedAnswer(Answer):
    """The job, queued again."""

    job_id: UUID
    status: JobStatus
