"""Decides which other origins may call the API from a browser, and refuses the others with a message for the front-end
developer.
"""

from collections.abc import Sequence
from typing import Final

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from qrtrack.routers.http_problems import CORS_REFUSED, ORIGIN_REFUSED
from qrtrack.routers.problems import problem

SHOWN_ORIGIN: Final = 200
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

ALLOWED_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "X-Request-ID",
    "X-Webhook-Token",
)
EXPOSED_HEADERS: Final = ("Location", "Idempotency-Replayed", "X-Request-ID", "Retry-After", "ETag")


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, with one addition: pages of unlisted origins may not change anything.

    A browser sends a form or plain text to another origin without a preflight, and only hides the answer. `pages` are
    the beginnings of the paths of pages without referrer, whose own forms come with `Origin: null`. Nobody is signed in
    there, so another page gains nothing by sending these forms.
    """

    def __init__(
        self, app: ASGIApp, *, origins: Sequence[str], headers: Sequence[str], own_origin: str, pages: tuple[str, ...]
    ) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=ALLOWED_METHODS,
            allow_headers=(*ALLOWED_HEADERS, *headers),
            expose_headers=EXPOSED_HEADERS,
        )
        self.own_origin = own_origin
        self.pages = pages

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        origin = request_headers.get("Origin")
        is_own_form = origin == "null" and get_route_path(scope).startswith(self.pages)
        is_safe = origin is None or scope["method"] in SAFE_METHODS or is_own_form
        if origin is not None and not is_safe and not self._may_change(origin, request_headers):
            slug, title, _ = ORIGIN_REFUSED
            refusal = problem(403, slug, title, _not_listed(origin), headers={"Vary": "Origin"})
            await refusal(scope, receive, send)
        elif self.allow_origins:
            await super().simple_response(scope, receive, send, request_headers)
        else:
            await self.app(scope, receive, send)

    def _may_change(self, origin: str, headers: Headers) -> bool:
        """Returns True for this host (by the name in the request, or by its public name) and for listed origins."""
        # The schemes cannot be compared: behind a proxy that ends TLS, we see http.
        is_here = origin.partition("://")[2] == headers.get("Host", "no host")
        return is_here or origin == self.own_origin or self.is_allowed_origin(origin)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers as Starlette does, except that a refusal is a problem document."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        allowed = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        why = self._why(request_headers)
        return problem(400, CORS_REFUSED.slug, CORS_REFUSED.title, why, headers=allowed)

    def _why(self, asked: Headers) -> str:
        if not self.is_allowed_origin(asked["origin"]):
            return _not_listed(asked["origin"])
        return (
            f"From another origin the methods {', '.join(self.allow_methods)} may be called with the headers "
            f"{', '.join(self.allow_headers)} only: add other headers to CORS_ALLOWED_HEADERS on the server."
        )


def _not_listed(origin: str) -> str:
    return f"The origin {origin[:SHOWN_ORIGIN]} is not allowed: add it to CORS_ALLOWED_ORIGINS on the server."
