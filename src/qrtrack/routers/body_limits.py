"""How many bytes a request body may have: 1 MiB, unless the endpoint declares another limit."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

MIB: Final = 1024 * 1024
BODY_BYTES: Final = MIB
LARGE_BODY_BYTES: Final = 16 * MIB
# A million rows with the longest code, root key and variant, each quoted, have 126 MB (with an ASCII variant).
IMPORT_BODY_BYTES: Final = 128 * MIB

# BodyLimit stores under this name, in the scope, how many bytes the body may have.
LONGEST_BODY: Final = "qrtrack.longest_body"

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_LIMITS: Final[dict[Callable[..., Any], int]] = {}


def body_limit(size: int) -> Callable[[EndpointT], EndpointT]:
    """Declares the limit of an endpoint whose path has no parameters. Write it below the decorators of the routes."""

    def declare(endpoint: EndpointT) -> EndpointT:
        _LIMITS[endpoint] = size
        return endpoint

    return declare


def body_limits(app: FastAPI) -> Mapping[str, int]:
    """Returns the declared limits by path. BodyLimit needs them before a request is routed."""
    contexts = iter_route_contexts(app.routes)
    endpoints = ((getattr(context, "path", None), getattr(context, "endpoint", None)) for context in contexts)
    return {path: _LIMITS[endpoint] for path, endpoint in endpoints if path and endpoint in _LIMITS}
