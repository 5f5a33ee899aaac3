"""Looking back: where a code or a case has been."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from qrtrack.domain.packing.states import BatchStatus, CodeStatus
from qrtrack.schemas.base import (
    LARGEST_SEQUENCE,
    LONGEST_PAGE,
    Instant,
    Limit,
    ListQuery,
    Page,
    decode_cursor,
    encode_cursor,
)
from qrtrack.schemas.event_details import TRACE_DETAILS, ShownAs, event_kinds
from qrtrack.schemas.packing.cases import ListedCase
from qrtrack.services.trace import Trace, TracePlace


class TracedBatch(BaseModel):
    """The batch and the order behind it."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    batch_id: UUID = Field(validation_alias="id")
    order_id: UUID
    product_name: str
    uniq_code: str
    status: BatchStatus


class TracedCode(BaseModel):
    """A unit."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    sequence_number: int
    variant: str | None
    status: CodeStatus


class Exclusion(BaseModel):
    """What holds a unit out of the queue: a reverse job that listed it, or a station that found it missing (no job)."""

    model_config = ConfigDict(from_attributes=True)

    job_id: UUID | None
    excluded_at: Instant
    excluded_by: str | None


class TracedUnit(TracedCode):
    """The unit that was asked for. `is_excluded` until its job is cancelled or somebody readmits it."""

    is_excluded: bool
    exclusions: list[Exclusion]


class TracedEventBase(BaseModel):
    """Who did it, when, where and why; `unit_count` is how many units the action touched."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    actor: str
    station: str | None
    reason: str | None
    job_id: UUID | None
    unit_count: int


class TracedEvent(TracedEventBase):
    """What was done; `details` are those of the kind: see schemas/event_details.py."""

    action: str
    details: dict[str, Any]


TracedEventKinds = event_kinds(TracedEventBase, "action", TRACE_DETAILS)


class TraceQuery(ListQuery):
    """One page of a trace. It is long, so that nearly every unit and case is told of in one."""

    limit: Limit = LONGEST_PAGE

    def after(self) -> TracePlace:
        """Raises InvalidInput."""
        if self.cursor is None:
            return TracePlace()
        event_id, sequence_number = decode_cursor(self.cursor, int, int)
        return TracePlace(max(event_id, 0), min(max(sequence_number, 0), LARGEST_SEQUENCE))


class TraceAnswer(Page):
    """A unit with its case, or a case with its units (`code` is null then); units in serial order, events oldest first.

    The next page goes on with both lists where each of them ended.
    """

    batch: TracedBatch
    code: TracedUnit | None
    case: ListedCase | None
    codes: list[TracedCode]
    events: list[Annotated[TracedEvent, ShownAs(TracedEventKinds)]]
    truncated: bool = Field(description="There is a next page.")

    @classmethod
    def of(cls, trace: Trace, query: TraceQuery) -> "TraceAnswer":
        """Out of `query.one_more` rows of either list."""
        codes, events, after = trace.codes[: query.limit], trace.events[: query.limit], query.after()
        has_more = len(trace.codes) > len(codes) or len(trace.events) > len(events)
        behind = (
            events[-1].id if events else after.event_id,
            codes[-1].sequence_number if codes else after.sequence_number,
        )
        return cls(
            batch=TracedBatch.model_validate(trace.batch),
            code=trace.code and _unit(trace.code, trace.exclusions[: query.limit]),
            case=trace.case and ListedCase.model_validate(trace.case),
            codes=[TracedCode.model_validate(code) for code in codes],
            events=[TracedEvent.model_validate(event) for event in events],
            truncated=has_more,
            next_cursor=encode_cursor(*behind) if has_more else None,
        )


def _unit(code: Any, exclusions: Sequence[Any]) -> TracedUnit:
    known = TracedCode.model_validate(code).model_dump()
    return TracedUnit(
        **known, is_excluded=bool(exclusions), exclusions=[Exclusion.model_validate(e) for e in exclusions]
    )
