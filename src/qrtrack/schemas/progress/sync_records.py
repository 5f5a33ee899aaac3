"""Records of progress batches: reports, and the list of failures."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from qrtrack.domain.progress.sync_batches import SyncStatus
from qrtrack.domain.progress.sync_records import RecordOutcome
from qrtrack.schemas.base import Answer, Body, Instant, ListQuery, Note, Page, Part, Text, View
from qrtrack.schemas.cursors import decode_cursor


class ReportedRecord(Part):
    """How one record ended. A record has the same `key` in every report."""

    key: Text
    success: bool
    error: Note | None = None

    def outcome(self) -> RecordOutcome:
        return RecordOutcome(self.key, self.success, self.error)


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
    """Every record was accepted or repeated. The other members are the state of the batch after this report."""

    batch_id: UUID
    accepted: int = Field(description="Counted now.")
    repeated: int = Field(description="Counted before, or twice in this report. The first outcome stays.")
    status: SyncStatus
    processed_records: int
    total_records: int
    progress_percentage: int = Field(ge=0, le=100)


class ListedFailure(View):
    """A failed record."""

    key: str = Field(validation_alias="record_key")
    error: str | None
    recorded_at: Instant


class FailurePage(Page):
    """Failures in the order in which they were recorded."""

    failures: list[ListedFailure]


class FailureQuery(ListQuery):
    """One page of failures."""

    def after(self) -> tuple[datetime, str] | None:
        """Returns time and key of the last failure on the previous page. Raises InvalidInput."""
        if self.cursor is None:
            return None
        recorded_at, key = decode_cursor(self.cursor, datetime, str)
        return recorded_at, key
