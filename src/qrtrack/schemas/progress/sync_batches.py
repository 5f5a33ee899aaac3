"""Progress batches: announcing one, and showing its state."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from qrtrack.domain.estimates import eta_seconds
from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.models import SyncBatch
from qrtrack.schemas.base import Answer, Body, Instant, ListQuery, Name, Page, View


class SyncBody(Body):
    """Announces a progress batch and its number of records."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Price list to 12 shops", "total_records": 1037}})

    name: Name
    total_records: Annotated[int, Field(ge=1, le=10_000_000)]
    kind: Name = Field("sync", description="Your own word for this kind of work.")


def _status_url(created: dict[str, Any]) -> str:
    return f"/api/progress/batches/{created['batch_id']}"


class SyncCreated(Answer):
    """The announced batch. Poll `status_url`; report its records at `{status_url}/records`."""

    batch_id: UUID
    status: SyncStatus
    total_records: int
    status_url: str = Field(default_factory=_status_url)


class FailedRecord(View):
    """A failed record."""

    key: str
    error: str | None


class SyncSummary(View):
    """The result of a batch that has ended."""

    total_records: int = Field(validation_alias="total")
    processed_records: int = Field(validation_alias="processed")
    success_count: int = Field(validation_alias="success")
    failed_records: int = Field(validation_alias="failed")
    duration_seconds: float = Field(description="From the first record to the end.")
    records_per_second: float
    first_failures: list[FailedRecord] = Field(description="At most the first ten; errors are cut to 200 characters.")


class SyncState(View):
    """A progress batch as lists show it."""

    batch_id: UUID
    name: str
    kind: str
    status: SyncStatus
    total_records: int
    processed_records: int
    success_count: int
    failed_records: int
    progress_percentage: int = Field(ge=0, le=100, description="Rounded down: 100 only when every record is counted.")
    eta_seconds: int | None = Field(
        None, description="Remaining seconds at the rate so far; null unless the batch is processing."
    )
    summary: SyncSummary | None = Field(description="Null until the batch has ended.")
    created_by: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None = Field(description="When the first record was counted.")
    finished_at: Instant | None = Field(
        validation_alias="completed_at", description="When the batch ended or was cancelled."
    )

    @classmethod
    def of(cls, batch: SyncBatch) -> Self:
        """Builds the state from the row, and adds the estimated time."""
        answer = cls.model_validate(batch)
        answer.eta_seconds = _eta(batch)
        return answer


class SyncAnswer(SyncState, Answer):
    """The state of a progress batch."""


class SyncPage(Page):
    """Newest first."""

    batches: list[SyncState]


class SyncQuery(ListQuery):
    status: SyncStatus | None = None


def _eta(batch: SyncBatch) -> int | None:
    """Uses only instants of the database, so the clocks of other machines do not matter."""
    if batch.status != SyncStatus.PROCESSING or batch.started_at is None:
        return None
    elapsed = (batch.updated_at - batch.started_at).total_seconds()
    return eta_seconds(batch.processed_records, batch.total_records, elapsed)
