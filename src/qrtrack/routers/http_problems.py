"""The problem types that no use case raises: errors of HTTP, refused browser origins, and defects."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class HttpProblem(NamedTuple):
    """A refusal that no use case raises. `detail` is used if there is no more exact message."""

    slug: str
    title: str
    detail: str


# Refusals of the framework whose own messages would not help a person.
FRAMEWORK_PROBLEMS: Final[Mapping[int, HttpProblem]] = {
    400: HttpProblem(
        "invalid-json",
        "Invalid JSON",
        "The body could not be read: send one JSON document in UTF-8, or a file as a complete multipart form.",
    ),
    404: HttpProblem(
        "no-such-route", "No such address", "There is nothing at this address. /docs lists the addresses of the API."
    ),
    405: HttpProblem(
        "method-not-allowed", "Method not allowed", "This address does not support this method. See /docs."
    ),
    413: HttpProblem("body-too-large", "Body too large", "The body is too large: send it in smaller parts."),
}
INVALID_JSON: Final = FRAMEWORK_PROBLEMS[400]
BODY_TOO_LARGE: Final = FRAMEWORK_PROBLEMS[413]
INVALID_LENGTH: Final = HttpProblem(
    "invalid-content-length", "Invalid Content-Length", "Content-Length must be a whole number."
)
REPEATED_HEADER: Final = HttpProblem("repeated-header", "A header appears twice", "Send each header once.")
CORS_REFUSED: Final = HttpProblem(
    "cors-refused", "Call from another origin refused", "This origin or this header is not allowed to call the API."
)
ORIGIN_REFUSED: Final = HttpProblem(
    "origin-refused", "Call from another origin refused", "Pages of this origin may not change data."
)
INTERNAL_ERROR: Final = HttpProblem(
    "internal-error", "Internal error", "This is a defect of the service: report it with the request id."
)
# The answers of the server itself, before a request exists.
CONNECTION_PROBLEMS: Final[Mapping[int, HttpProblem]] = {
    400: HttpProblem(
        "invalid-http", "Invalid HTTP", "The request is not valid HTTP/1.1 (RFC 9112): correct the client or the proxy."
    ),
    408: HttpProblem("too-slow", "The request came too slowly", "The request arrived too slowly: send it again."),
    431: HttpProblem(
        "headers-too-large",
        "Headers too large",
        "All headers together may have at most 64 KiB. Send fewer or shorter headers.",
    ),
    503: HttpProblem(
        "too-many-connections",
        "Too many connections",
        "The server takes no more connections. Close idle ones, or try again later.",
    ),
}
HTTP_PROBLEMS: Final[Sequence[tuple[int, HttpProblem]]] = (
    *FRAMEWORK_PROBLEMS.items(),
    *CONNECTION_PROBLEMS.items(),
    (400, INVALID_LENGTH),
    (400, REPEATED_HEADER),
    (400, CORS_REFUSED),
    (403, ORIGIN_REFUSED),
    (500, INTERNAL_ERROR),
)
