"""Domain errors: categories without HTTP. routers/problems.py maps them to HTTP statuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from qrtrack.domain.field_codes import FieldCode

# A refusal lists at most this many bad fields, and counts all.
NAMED_ERRORS: Final = 100
# A refusal lists at most this many codes, or other items of the caller's list.
NAMED_THINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field of the input. `pointer`: an RFC 6901 JSON pointer such as `/exclude_codes/3`. `detail`: an English
    sentence. `code` and `params`: what a front end translates.
    """

    pointer: str
    detail: str
    code: FieldCode
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)


class DomainError(Exception):
    """A refusal that a person can act on: the message says what to do next.

    `errors`: the bad fields. `members`: extra fields of the problem document (`{"available": 42}`). `error_count`: how
    many bad fields there are, when `errors` holds only the first ones. A subclass whose refusals all say the same has
    it as its `message`.
    """

    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "The request could not be carried out"
    message: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        error_count: int | None = None,
        **members: Any,
    ) -> None:
        self.detail = self.message if detail is None else detail
        super().__init__(self.detail)
        self.errors = tuple(errors)
        self.error_count = len(self.errors) if error_count is None else error_count
        self.members: Mapping[str, Any] = members


class NotFound(DomainError):
    """What the request names does not exist, or belongs to another organisation. The caller cannot tell which."""

    slug = "not-found"
    title = "Not found"


class Conflict(DomainError):
    """The request is valid, but conflicts with existing data or with work in progress."""

    slug = "conflict"
    title = "Conflict"


class InvalidState(DomainError):
    """The current state does not allow this step."""

    slug = "invalid-state"
    title = "Not possible in this state"


class InvalidInput(DomainError):
    """The input cannot be accepted as it is. `errors` names the bad fields, if fields are bad."""

    slug = "invalid-input"
    title = "Invalid input"


def invalid_field(pointer: str, detail: str, code: FieldCode, **params: Any) -> InvalidInput:
    """Builds the refusal of one field. `detail` is the message of the field and of the refusal."""
    return InvalidInput(detail, errors=[FieldError(pointer, detail, code, params)])


def require_exactly_one(**fields: object) -> None:
    """Raises InvalidInput unless the body contains exactly one of these fields. None means that a field was not
    sent.
    """
    if sum(value is not None for value in fields.values()) != 1:
        detail = f"Send either {' or '.join(fields)}."
        raise invalid_field(f"/{next(iter(fields))}", detail, FieldCode.EXACTLY_ONE_OF, fields=list(fields))


class Unauthenticated(DomainError):
    """The token or secret is missing, wrong or expired."""

    slug = "unauthenticated"
    title = "Not signed in"


class Forbidden(DomainError):
    """The caller is known but may not do this."""

    slug = "forbidden"
    title = "Not allowed"


class Throttled(DomainError):
    """The caller did this too often. It is allowed again later."""

    slug = "throttled"
    title = "Too often"


class UpstreamFailed(DomainError):
    """A system that the service calls answered with a failure."""

    slug = "upstream-failed"
    title = "An outside system failed"


class UpstreamTimeout(DomainError):
    """A system that the service calls did not answer in time."""

    slug = "upstream-timeout"
    title = "An outside system did not answer"


class Unavailable(DomainError):
    """The service cannot do this now, or is not set up for it."""

    slug = "unavailable"
    title = "Not available"
