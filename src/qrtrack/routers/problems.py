"""Turns every refusal and failure into `application/problem+json`. Use cases know no HTTP statuses: see STATUSES."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qrtrack.domain.errors import (
    NAMED_ERRORS,
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    InvalidInput,
    InvalidState,
    NotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from qrtrack.domain.instants import rfc3339
from qrtrack.routers.addresses import methods_at
from qrtrack.routers.field_errors import field_error
from qrtrack.routers.http_problems import FRAMEWORK_PROBLEMS, HTTP_PROBLEMS, INTERNAL_ERROR, INVALID_JSON, HttpProblem

STATUSES: Final[Mapping[type[DomainError], int]] = {
    NotFound: 404,
    Conflict: 409,
    InvalidState: 409,
    InvalidInput: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    Throttled: 429,
    UpstreamFailed: 502,
    UpstreamTimeout: 504,
    Unavailable: 503,
}
RETRY_AFTER_SECONDS: Final = 5
# `responses` of a route hold the slugs of its refusals under this name, until routers/contract.py has completed the
# OpenAPI document.
DECLARED: Final = "x-problems"

Refusal = type[DomainError] | HttpProblem

log = structlog.get_logger(__name__)


class Refused(HTTPException):
    """A refusal while a body is read. It is an HTTPException, since FastAPI would report any other exception as bad
    JSON.
    """

    def __init__(self, refusal: DomainError) -> None:
        super().__init__(422)
        self.refusal = refusal


class ProblemResponse(JSONResponse):
    """Escapes everything outside ASCII, so that no text of a caller (such as a lone surrogate) can break the answer."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), default=_plain).encode("ascii")


def _plain(value: object) -> Any:
    """Members of errors hold ids, instants and money. Each becomes the same text as elsewhere in the API."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def status_of(refusal: Refusal) -> int:
    if isinstance(refusal, HttpProblem):
        return next(status for status, known in HTTP_PROBLEMS if known == refusal)
    return next(status for category, status in STATUSES.items() if issubclass(refusal, category))


def problems(*refusals: Refusal) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route: its own refusals. routers/contract.py adds those of every route of its
    kind.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for refusal in refusals:
        responses.setdefault(status_of(refusal), {DECLARED: []})[DECLARED].append(refusal.slug)
    return responses


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    error_count: int | None = None,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Builds a problem document. `members` are added to the standard members and never replace them.

    `error_count`: the number of errors, if `errors` contains only the first ones.
    """
    content: dict[str, Any] = dict(members or {}) | {
        "success": False,
        "type": f"urn:qrtrack:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    content.pop("errors", None)
    if listed := [asdict(error) for error in errors]:
        content |= {"errors": listed, "error_count": len(listed) if error_count is None else error_count}
    return ProblemResponse(content, status_code=status, headers=headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Installs the handlers. Call it before any middleware is added: DefectNet must be inside of CORS, or browsers
    cannot read its answers.
    """
    app.add_middleware(DefectNet)
    for category in STATUSES:
        app.add_exception_handler(category, _answer_domain_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)


async def _answer_domain_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return problem_of(error)


def problem_of(error: DomainError) -> ProblemResponse:
    status = status_of(type(error))
    headers = {}
    retry_after = error.members.get("retry_after", RETRY_AFTER_SECONDS if status == 503 else None)
    if retry_after is not None:
        headers["Retry-After"] = str(math.ceil(retry_after))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(
        status,
        error.slug,
        error.title,
        error.detail,
        errors=error.errors[:NAMED_ERRORS],
        error_count=error.error_count,
        members=error.members,
        headers=headers,
    )


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Refused):
        return problem_of(error.refusal)
    status, headers = error.status_code, error.headers
    if status == 405:
        headers = {"Allow": ", ".join(methods_at(request.scope))}
    if status < 400:
        return Response(status_code=status, headers=headers)
    meaning = HTTPStatus(status)
    slug, title, detail = FRAMEWORK_PROBLEMS.get(
        status, (meaning.name.lower().replace("_", "-"), meaning.phrase, f"{error.detail}.")
    )
    return problem(status, slug, title, detail, headers=headers)


async def _answer_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: Sequence[Mapping[str, Any]] = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        return _invalid_json(found[0])
    fields = list(dict.fromkeys(field_error(entry, error.body) for entry in found))
    more = f" (the first {NAMED_ERRORS} of {len(fields)} are listed)" if len(fields) > NAMED_ERRORS else ""
    detail = f"The request is not valid: correct the fields named in errors{more}."
    if isinstance(error.body, bytes):
        detail = "The body is not marked as JSON: send it with Content-Type: application/json."
    return problem(
        422,
        InvalidInput.slug,
        InvalidInput.title,
        detail,
        errors=fields[:NAMED_ERRORS],
        error_count=len(fields),
    )


def _invalid_json(entry: Mapping[str, Any]) -> Response:
    position, reason = entry["loc"][-1], entry["ctx"]["error"]
    return problem(
        400, INVALID_JSON.slug, INVALID_JSON.title, f"The body is not valid JSON: {reason} at character {position}."
    )


class DefectNet:
    """Answers 500 to an unforeseen error. The traceback goes to the log; the caller gets the request id to quote.

    Starlette's own handler is outside of every middleware, so its answers lack CORS headers and the request id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            log.info("the client went away")
        except Exception:
            log.exception("unforeseen error")
            if has_started:
                # Only a broken connection tells the client that the half-sent answer is incomplete.
                raise
            await _defect()(scope, receive, send)


def _defect() -> Response:
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    detail = f"This is a defect of the service: report it with the request id {request_id}."
    members = {"request_id": request_id}
    return problem(500, INTERNAL_ERROR.slug, INTERNAL_ERROR.title, detail, members=members)
