"""Middleware of every request: request id, access log line, and the limit of the body. Pure ASGI, since this is a hot
path: three of Starlette's BaseHTTPMiddleware cost three quarters of the throughput, three of these 10 %.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qrtrack.domain.errors import FieldError
from qrtrack.domain.field_codes import FieldCode
from qrtrack.routers.addresses import loggable
from qrtrack.routers.body_limits import BODY_BYTES, LONGEST_BODY
from qrtrack.routers.http_problems import BODY_TOO_LARGE, INVALID_LENGTH, REPEATED_HEADER
from qrtrack.routers.problems import problem

REQUEST_ID_HEADER: Final = "X-Request-ID"
SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
UNMATCHED: Final = "unmatched"
CLIENT_GONE: Final = 499

LENGTH_DIGITS: Final = 18
# If a request has one of these headers twice, a proxy may obey the first and the program the second (request
# smuggling).
STAND_ONCE: Final = (b"authorization", b"idempotency-key", b"content-length", b"content-type", b"x-webhook-token")

Observe = Callable[[str, str, int, float], None]
"""Takes the method, the route's template (`unmatched` if no route matches), the status and the seconds of a finished
request.
"""

log = structlog.get_logger("qrtrack.access")


class RequestContext:
    """Gives each request an id, in all its log lines and in its answer, and logs the request once when it ends.

    It adds the security headers too, since every answer passes here.
    """

    def __init__(self, app: ASGIApp, observe: Observe | None = None) -> None:
        self.app = app
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status, answered = CLIENT_GONE, None

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(MutableHeaders(scope=message), request_id)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                # Work after the answer does not count as its duration.
                answered = time.perf_counter()

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                self._record(scope, status, (answered or time.perf_counter()) - started)
                # Unbinds the user and the organisation, which authentication has bound: the server may run the next
                # request in the same context.
                structlog.contextvars.unbind_contextvars("user", "organisation")

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method, template = scope["method"], _template(scope)
        # The query is never logged: it may hold the webhook's token.
        path = loggable(scope) if template is None else template
        log.info("request", method=method, path=path, status=status, duration_ms=round(seconds * 1000, 2))
        if self.observe is not None:
            self.observe(method, template or UNMATCHED, status, seconds)


def _complete(headers: MutableHeaders, request_id: str) -> None:
    headers[REQUEST_ID_HEADER] = request_id
    headers.setdefault("X-Content-Type-Options", "nosniff")
    # Pages set a stricter policy themselves.
    headers.setdefault("Content-Security-Policy", "frame-ancestors 'none'")


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if SANE_REQUEST_ID.fullmatch(given) else uuid4().hex


def _template(scope: Scope) -> str | None:
    # In an included router, `scope["route"]` has only the path within that router. FastAPI puts the whole template into
    # `effective_route_context`.
    route: Any = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else None


class BodyTooLarge(HTTPException):
    """Raised into the code that reads the body. FastAPI passes an HTTPException on; any other exception would become
    "bad JSON".
    """

    def __init__(self) -> None:
        super().__init__(413)


class BodyLimit:
    """Limits bodies by their Content-Length before anything else, and by counting while they are read. `limits`: bytes
    by path, where the limit is not BODY_BYTES.

    Refuses a request with a header of STAND_ONCE twice, before any code reads one of them.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if repeated := _repeated_header(scope):
            await _refuse_repeated(repeated)(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        allowed = self._limits.get(path, BODY_BYTES)
        headers = Headers(scope=scope)
        announced = headers.get("Content-Length", "0")
        if not (announced.isascii() and announced.isdigit()):
            await problem(400, *INVALID_LENGTH)(scope, receive, send)
        elif len(announced.lstrip("0")) > LENGTH_DIGITS or int(announced) > allowed:
            await problem(413, *BODY_TOO_LARGE)(scope, receive, send)
        else:
            scope[LONGEST_BODY] = allowed if "Transfer-Encoding" in headers else int(announced)
            await self.app(scope, _counting(receive, allowed), send)


def _repeated_header(scope: Scope) -> str | None:
    names: list[bytes] = [name for name, _ in scope["headers"] if name in STAND_ONCE]
    if len(names) == len(set(names)):
        return None
    return next(name for place, name in enumerate(names) if name in names[:place]).decode().title()


def _refuse_repeated(name: str) -> Response:
    return problem(
        400,
        *REPEATED_HEADER._replace(detail=f"The header {name} stands twice: send it once."),
        errors=[FieldError(f"/header/{name}", "This header stands twice.", FieldCode.REPEATED)],
        # The body follows, and nobody reads it.
        headers={"Connection": "close"},
    )


def _counting(receive: Receive, allowed: int) -> Receive:
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > allowed:
            raise BodyTooLarge
        return message

    return receive_counted
