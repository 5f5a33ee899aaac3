"""Requests that may be sent again: the Idempotency-Key, and what is answered the second time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qrtrack.domain.errors import Conflict, InvalidInput


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An HTTP answer as it was given, to be given again."""

    status_code: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class RepeatableRequest:
    """One request with its Idempotency-Key. The key is good for one organisation and one route.

    `render` makes the stored answer of what the use case answers; `opened` once the key is ours.
    """

    organisation_id: UUID
    route: str
    key: str
    body_hash: bytes
    render: Callable[[Any], StoredAnswer]
    answer: StoredAnswer | None = None
    opened: bool = False


class AlreadyAnswered(Exception):
    """The request took effect before; `stored` is what was answered then."""

    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__("The request was answered before.")
        self.stored = stored


class KeyReused(InvalidInput):
    """The Idempotency-Key came before with another body."""

    slug = "idempotency-key-reused"
    title = "Idempotency-Key used for another request"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came before with another body. Send a new key with a new request, "
            "and the same body with the same key."
        )


class StillRunning(Conflict):
    """The first request with this Idempotency-Key is still running."""

    slug = "idempotency-key-in-use"
    title = "The first request is still running"

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key is still running. Send it again in a moment.")


class Unanswered(StillRunning):
    """The first request took effect and has no answer yet; or never will, because its process ended before it."""
