"""Callbacks of the gateway."""

from pydantic import BaseModel, ConfigDict, Field

from qrtrack.schemas.base import Answer, Instant


class ReceivedCallback(BaseModel):
    """One callback of the gateway."""

    model_config = ConfigDict(from_attributes=True)

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    reference_number: str
    result_code: str = Field(validation_alias="result", description="`rescore`; `00` is success.")
    result_reference: str = Field(description="`rescoreref`.")


class CallbackAnswer(Answer):
    """The callback is stored."""
