"""The trace of a code or a case."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field

from qrtrack.domain.packing.states import BatchStatus, CodeStatus
from qrtrack.repositories.packing.codes import Exclusion as ExclusionRow
from qrtrack.repositories.packing.codes import FoundCode
from qrtrack.schemas.base import LARGEST_SEQUENCE, LONGEST_PAGE, Instant, Limit, ListQuery, Page, View
from qrtrack.schemas.cursors import decode_cursor, encode_cursor
from qrtrack.schemas.event_details import ShownAs, event_kinds
from qrtrack.schemas.packing.cases import ListedCase
from qrtrack.schemas.trace_details import TRACE_DETAILS
from qrtrack.services.trace import Trace, TracePosition


class TracedBatch(View):
    """The batch, and the order that it was made for."""

    batch_id: UUID = Field(validation_alias="id")
    order_id: UUID
    product_name: str
    uniq_code: str
    status: BatchStatus


class TracedCode(View):
    """A unit."""

    code: str
    sequence_number: int
    variant: str | None
    status: CodeStatus


class Exclusion(View):
    """Why a unit is kept out of the queue: a reverse job listed it, or a station found it missing. `job_id` is null if
    a station found it missing, or if the job was deleted after its retention period.
    """

    job_id: UUID | None
    excluded_at: Instant
    excluded_by: str | None


class TracedUnit(TracedCode):
    """The requested unit. An exclusion ends when its job is cancelled, or when the unit is readmitted."""

    is_excluded: bool
    exclusions: list[Exclusion]

    @classmethod
    def of(cls, code: FoundCode, exclusions: Sequence[ExclusionRow]) -> Self:
        return cls(
            **dict(TracedCode.model_validate(code)),
            is_excluded=bool(exclusions),
            exclusions=[Exclusion.model_validate(exclusion) for exclusion in exclusions],
        )


class TracedEventBase(View):
    """An event: who did it, when, where and why. `unit_count`: how many units the action changed."""

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    actor: str
    station: str | None
    reason: str | None
    job_id: UUID | None
    unit_count: int


class TracedEvent(TracedEventBase):
    """What was done. The kind decides what `details` contain: see schemas/trace_details.py."""

    action: str
    details: dict[str, Any]


TracedEventKinds = event_kinds(TracedEventBase, "action", TRACE_DETAILS)


class TraceQuery(ListQuery):
    """One page of a trace. The default is the longest page, so that nearly every trace fits on one."""

    limit: Limit = LONGEST_PAGE

    def after(self) -> TracePosition:
        """Raises InvalidInput."""
        if self.cursor is None:
            return TracePosition()
        event_id, sequence_number = decode_cursor(self.cursor, int, int)
        return TracePosition(max(event_id, 0), min(max(sequence_number, 0), LARGEST_SEQUENCE))


class TraceAnswer(Page):
    """A unit with its case, or a case with its units (then `code` is null). Units are in serial order, events oldest
    first. The next page continues both lists.
    """

    batch: TracedBatch
    code: TracedUnit | None
    case: ListedCase | None
    codes: list[TracedCode]
    events: list[Annotated[TracedEvent, ShownAs(TracedEventKinds)]]
    truncated: bool = Field(description="There is a next page.")

    @classmethod
    def of(cls, trace: Trace, query: TraceQuery) -> "TraceAnswer":
        """Builds the answer from up to `query.one_more` rows of each list."""
        codes, events, after = trace.codes[: query.limit], trace.events[: query.limit], query.after()
        has_more = len(trace.codes) > len(codes) or len(trace.events) > len(events)
        last = (
            events[-1].id if events else after.event_id,
            codes[-1].sequence_number if codes else after.sequence_number,
        )
        return cls(
            batch=TracedBatch.model_validate(trace.batch),
            code=trace.code and TracedUnit.of(trace.code, trace.exclusions[: query.limit]),
            case=trace.case and ListedCase.model_validate(trace.case),
            codes=[TracedCode.model_validate(code) for code in codes],
            events=[TracedEvent.model_validate(event) for event in events],
            truncated=has_more,
            next_cursor=encode_cursor(*last) if has_more else None,
        )
