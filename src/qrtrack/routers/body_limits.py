"""How many bytes the body of a request may have. An endpoint that needs more than 1 MiB says so itself."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

MIB: Final = 1024 * 1024
BODY_BYTES: Final = MIB
LARGE_BODY_BYTES: Final = 16 * MIB
# A million rows of the longest code, root key and variant, each quoted, are 126 MB (a variant in ASCII).
IMPORT_BODY_BYTES: Final = 128 * MIB

# Where BodyLimit leaves, in the scope, how many bytes of body may come.
LONGEST_BODY: Final = "qrtrack.longest_body"

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_LIMITS: Final[dict[Callable[..., Any], int]] = {}


def body_limit(size: int) -> Callable[[EndpointT], EndpointT]:
    """Declares the limit of an endpoint whose path has no parameters. Stands below the decorators of the routes."""

    def declare(endpoint: EndpointT) -> EndpointT:
        _LIMITS[endpoint] = size
        return endpoint

    return declare


def body_limits(app: FastAPI) -> Mapping[str, int]:
    """The declared limits, by path: BodyLimit needs them before a request is routed."""
    contexts = iter_route_contexts(app.routes)
    endpoints = ((getattr(context, "path", None), getattr(context, "endpoint", None)) for context in contexts)
    return {path: _LIMITS[endpoint] for path, endpoint in endpoints if path and endpoint in _LIMITS}
