"""Cancelling and retrying all reverse jobs that match a filter."""

from typing import Literal

from pydantic import Field

from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.selections import JobGroup
from qrtrack.schemas.base import Answer, Body, Id

DRY_RUN = Field(default=False, description="Counts the jobs that would be changed, and changes nothing.")


class CancelMatching(Body):
    """Which jobs to cancel: queued and running ones, unless `status` names one of the two."""

    status: Literal["queued", "running"] | None = None
    batch_id: Id | None = None
    dry_run: bool = DRY_RUN

    def group(self) -> JobGroup:
        return JobGroup([self.status] if self.status else [JobStatus.QUEUED, JobStatus.RUNNING], self.batch_id)


class RetryMatching(Body):
    """Which failed jobs to retry."""

    batch_id: Id | None = None
    dry_run: bool = DRY_RUN

    def group(self) -> JobGroup:
        return JobGroup([JobStatus.FAILED], self.batch_id)


class JobsCancelledAnswer(Answer):
    """How many jobs were cancelled, and how many codes left the queue with them."""

    dry_run: Literal[False] = False
    cancelled: int
    withdrawn: int


class JobsRetriedAnswer(Answer):
    """How many jobs are queued again."""

    dry_run: Literal[False] = False
    retried: int
