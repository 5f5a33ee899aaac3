"""The answer to the sender of webhooks."""

from pydantic import Field

from qrtrack.schemas.base import Answer, View


class ReceivedElement(View):
    """One element of the request."""

    index: int = Field(description="The element's place in the request, from 0.")
    queue_id: int = Field(description="The event's id; for a duplicate, the id of the first event with this uuid.")
    type: str
    uuid: str | None
    duplicate: bool = Field(description="An event with this uuid is stored already. It is not processed twice.")
    error_message: str | None = Field(description="Why the element is stored as invalid; null if it is valid.")


class ReceivedAnswer(Answer):
    """The answer to a webhook. `queued + duplicates + invalid` is the number of elements. `queue_ids` are in the order
    of the request.
    """

    queued: int
    duplicates: int
    invalid: int
    queue_ids: list[int]
    results: list[ReceivedElement]
