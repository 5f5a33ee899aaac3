"""Progress of other systems' fan-outs: announcing, reporting, looking, cancelling; and recounting."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.estimates import eta_seconds
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.progress.sync_batches import Outcome, SyncStatus
from qrtrack.models import SyncBatch
from qrtrack.repositories.recalculation import CountedKind
from qrtrack.schemas.base import (
    Answer,
    Body,
    Flag,
    Instant,
    ListQuery,
    Name,
    Note,
    Page,
    Part,
    Query,
    Text,
    Wait,
    decode_cursor,
)


class SyncOrder(Body):
    """A fan-out, and how many records it has."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Price list to 12 shops", "total_records": 1037}})

    name: Name
    total_records: Annotated[int, Field(ge=1, le=10_000_000)]
    kind: Name = Field("sync", description="A word of your own for what is fanned out.")


class SyncCreated(Answer):
    """Where to report and to look."""

    batch_id: UUID
    status: SyncStatus
    total_records: int
    status_url: str


class ReportedRecord(Part):
    """How one record ended. `key` is the record's own: the same record has the same key whenever it is reported."""

    key: Text
    success: bool
    error: Note | None = None

    def outcome(self) -> Outcome:
        return Outcome(self.key, self.success, self.error)


class RecordReport(Body):
    """Outcomes of records of one batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "records": [
                    {"key": "order-1", "success": True},
                    {"key": "order-2", "success": False, "error": "timeout after 30 s"},
                ]
            }
        }
    )

    records: Annotated[list[ReportedRecord], Field(min_length=1, max_length=1000)]


class RecordsAnswer(Answer):
    """Every record is either accepted or repeated. The rest is how the batch stood when they were counted."""

    batch_id: UUID
    accepted: int = Field(description="Counted now.")
    repeated: int = Field(description="Counted before, or twice in this report: their first outcome stays.")
    status: SyncStatus
    processed_records: int
    total_records: int
    progress_percentage: int = Field(ge=0, le=100)


class FailedRecord(BaseModel):
    """One of the failures."""

    key: str
    error: str | None


class SyncSummary(BaseModel):
    """What there is to say once a batch is over."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    total_records: int = Field(validation_alias="total")
    processed_records: int = Field(validation_alias="processed")
    success_count: int = Field(validation_alias="success")
    failed_records: int = Field(validation_alias="failed")
    duration_seconds: float = Field(description="From the first record to the end.")
    records_per_second: float
    first_failures: list[FailedRecord] = Field(description="At most ten, as they came, their errors cut short.")


class SyncAnswer(Answer):
    """How a batch stands."""

    batch_id: UUID
    name: str
    kind: str
    status: SyncStatus
    total_records: int
    processed_records: int
    success_count: int
    failed_records: int
    progress_percentage: int = Field(ge=0, le=100, description="Rounded down: 100 only when every record is in.")
    eta_seconds: int | None = Field(None, description="At the pace so far; null unless it is processing.")
    summary: SyncSummary | None = Field(description="Null until the batch is over.")
    created_by: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None = Field(description="When the first record was counted.")
    finished_at: Instant | None = Field(
        validation_alias="completed_at", description="When the batch ended, cancelled ones too."
    )

    @classmethod
    def of(cls, batch: SyncBatch) -> Self:
        answer = cls.model_validate(batch)
        answer.eta_seconds = _eta(batch)
        return answer


def _eta(batch: SyncBatch) -> int | None:
    """Both instants are the database's."""
    if batch.status != SyncStatus.PROCESSING or batch.started_at is None:
        return None
    elapsed = (batch.updated_at - batch.started_at).total_seconds()
    return eta_seconds(batch.processed_records, batch.total_records, elapsed)


class WaitQuery(Query):
    """How long to wait for news."""

    wait: Wait = 0


class ListedFailure(BaseModel):
    """A record that failed."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    key: str = Field(validation_alias="record_key")
    error: str | None
    recorded_at: Instant


class FailurePage(Page):
    """Failures in the order in which they were recorded."""

    failures: list[ListedFailure]


class FailureQuery(ListQuery):
    """One page of failures."""

    def after(self) -> tuple[datetime, str] | None:
        """When the last failure seen was recorded, and its key. Raises InvalidInput."""
        if self.cursor is None:
            return None
        recorded_at, key = decode_cursor(self.cursor, datetime, str)
        return recorded_at, key


class RecountQuery(Query):
    """What to recount; without either, what is in progress and has been silent for five minutes."""

    batch_id: UUID | None = Field(None, description="One batch, reverse job or progress batch.")
    all: Flag = Field(default=False, description="Everything that is in progress.")

    def check(self) -> None:
        """Raises InvalidInput."""
        if self.batch_id is not None and self.all:
            fields = {"fields": ["batch_id", "all"]}
            error = FieldError("/query/all", "Leave it out, or leave batch_id out.", FieldCode.AT_MOST_ONE_OF, fields)
            raise InvalidInput("Recount one batch or all of them: the two exclude each other.", errors=[error])


class RecountedCounters(BaseModel):
    """The counters of one row, as they were and as they ought to be."""

    model_config = ConfigDict(from_attributes=True)

    kind: CountedKind
    subject_id: UUID = Field(validation_alias="id", description="Of the batch, job or progress batch.")
    is_repair: bool
    before: dict[str, int | str]
    after: dict[str, int | str]


class RecalculationAnswer(Answer):
    """Normally nothing is repaired: every repair is the trace of a defect."""

    checked: int
    repaired: int
    failed: int = Field(description="Could not be recounted; the service's log has why.")
    recounts: list[RecountedCounters] = Field(description="What was repaired; with `batch_id` also what was right.")
