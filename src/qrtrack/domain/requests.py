"""Repeatable requests: the Idempotency-Key, and the stored answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from qrtrack.domain.errors import Conflict, InvalidInput

MOST_ANSWER_CHARACTERS: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An HTTP answer, stored to be repeated."""

    status_code: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class RepeatableRequest:
    """A request with an Idempotency-Key. The key is valid within organisation and route. `render` turns the result of
    the use case into the stored answer. `opened` says that this request holds the key. `so_far` is what its
    transactions have done, until the last one has the answer.
    """

    organisation_id: UUID
    route: str
    key: str
    body_hash: bytes
    render: Callable[[Any], StoredAnswer]
    answer: StoredAnswer | None = None
    opened: bool = False
    so_far: Sequence[int | str] | None = None


class AlreadyAnswered(Exception):
    """The request took effect earlier. `stored` is the answer that it got then."""

    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__("The request was answered before.")
        self.stored = stored


class KeyReused(InvalidInput):
    """The Idempotency-Key was used with another body or query."""

    slug = "idempotency-key-reused"
    title = "Idempotency-Key used for another request"
    message = (
        "This Idempotency-Key was used with another body or query. Use a new key for a new request. To repeat a "
        "request, send the same key with the same body and query."
    )


class AnswerTooLong(InvalidInput):
    """The answer is longer than an Idempotency-Key can keep. Nothing was changed, and the key is still unused."""

    slug = "idempotent-answer-too-long"
    title = "Too much for an Idempotency-Key"
    message = (
        f"Nothing was changed: the answer would be longer than the {MOST_ANSWER_CHARACTERS:,} characters that an "
        "Idempotency-Key keeps. Send the list in smaller parts, each with a key of its own."
    )


class StillRunning(Conflict):
    """The first request with this Idempotency-Key is still running."""

    slug = "idempotency-key-in-use"
    title = "The first request is still running"
    message = "The first request with this Idempotency-Key is still running. Send yours again in a moment."


class Unanswered(StillRunning):
    """The first request took effect but has stored no answer yet. Only a dispatch can be in this state: if its process
    died, the outcome of its attempt becomes the answer.
    """
