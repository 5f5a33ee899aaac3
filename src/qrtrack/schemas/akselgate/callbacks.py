"""Callbacks of the gateway."""

from pydantic import Field

from qrtrack.schemas.base import Answer, Instant, View


class ReceivedCallback(View):
    """One callback of the gateway."""

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    reference_number: str
    result_code: str = Field(validation_alias="result", description="`rescore`; `00` is success.")
    result_reference: str = Field(description="`rescoreref`.")


class CallbackAnswer(Answer):
    """The callback is stored."""
