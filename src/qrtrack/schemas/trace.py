"""Looking back: where a code or a case has been."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from qrtrack.domain.states import CodeStatus
from qrtrack.schemas.base import Answer
from qrtrack.schemas.cases import ListedCase


class TracedBatch(BaseModel):
    """The batch and the order behind it."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    batch_id: UUID = Field(validation_alias="id")
    order_id: UUID
    product_name: str
    uniq_code: str
    status: str


class TracedCode(BaseModel):
    """A unit."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    sequence_number: int
    variant: str | None
    status: CodeStatus


class TracedEvent(BaseModel):
    """Who did what, when, where and why; `unit_count` is how many units the action touched."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    occurred_at: datetime
    action: str
    actor: str
    station: str | None
    reason: str | None
    job_id: UUID | None
    unit_count: int
    details: dict[str, Any]


class TraceAnswer(Answer):
    """A unit with its case, or a case with its units (`code` is null then); the events oldest first."""

    batch: TracedBatch
    code: TracedCode | None
    case: ListedCase | None
    codes: list[TracedCode]
    events: list[TracedEvent]
    truncated: bool = Field(description="There are older events, or further units in the case, than are shown.")
