"""What the `details` of each kind of event of an attempt hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, Field

from qrtrack.domain.akselgate.attempts import AttemptOutcome, EventKind
from qrtrack.domain.akselgate.callbacks import CallbackState
from qrtrack.schemas.event_details import Details, NoDetails


class CallbackDetails(Details):
    query: str = Field(description="The query string as it came.")


class ConflictDetails(Details):
    """A callback that contradicts an earlier one or the outcome, or an answer that contradicts callbacks."""

    outcome: AttemptOutcome
    before: CallbackState = Field(default_factory=lambda: CallbackState.MISSING)
    reported: str = Field(default_factory=str, description="The callback's result.")
    paid_references: list[str] = Field(default_factory=list)


class LateResponseDetails(Details):
    """The gateway's answer, which came after the attempt was set to unknown."""

    outcome: AttemptOutcome
    status_code: str
    response_code: str | None
    response_message: str | None
    response_payload: str | None


class SentBefore(BaseModel):
    """A reference, and an earlier attempt that sent it."""

    reference_number: str
    attempt_id: int


class DoubtedRefusalDetails(Details):
    """The gateway may have refused a duplicate of a request that it accepted before."""

    sent_before: list[SentBefore] = Field(description="The first of these references.")
    count: int = Field(description="How many references there are.")


ATTEMPT_DETAILS: Final[Mapping[EventKind, type[Details]]] = MappingProxyType(
    {
        EventKind.UNKNOWN_REFERENCE: CallbackDetails,
        EventKind.UNREADABLE_CALLBACK: CallbackDetails,
        EventKind.CONFLICT: ConflictDetails,
        EventKind.LATE_RESPONSE: LateResponseDetails,
        EventKind.DOUBTED_REFUSAL: DoubtedRefusalDetails,
        EventKind.SWEPT: NoDetails,
        EventKind.RESOLVED: NoDetails,
        EventKind.CLOSED: NoDetails,
    }
)
