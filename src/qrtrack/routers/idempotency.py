"""The Idempotency-Key for all routes: a route that creates or moves something depends on AnsweringDatabase."""

import hashlib
from functools import lru_cache
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from qrtrack.database import Database
from qrtrack.domain.errors import DomainError
from qrtrack.domain.requests import AlreadyAnswered, RepeatableRequest, StoredAnswer
from qrtrack.routers.dependencies import KnownCaller, RuntimeState
from qrtrack.routers.problems import problem_of
from qrtrack.schemas.base import PRINTABLE

KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
JSON: Final = "application/json"
FILE_PIECE: Final = 1024 * 1024

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=255,
        pattern=PRINTABLE,
        description="Makes the request safe to repeat: after a success, the same key with the same body and query gets "
        "the same answer, with `Idempotency-Replayed: true`, and changes nothing more. The answer is kept for at least "
        "24 hours. A refusal that changed nothing is not kept: the same key tries again.",
    ),
]


async def _answering_database(
    request: Request, runtime: RuntimeState, caller: KnownCaller, key: IdempotencyKey = None
) -> Database:
    if key is None:
        return runtime.database
    route: APIRoute = request.scope["route"]
    repeatable = RepeatableRequest(
        organisation_id=caller.organisation_id,
        # The path is the requested one, not its template: closing two batches is two requests.
        route=f"{request.method} {request.url.path}",
        key=key,
        body_hash=await _digest(request),
        render=lambda result: _render(result, route.response_model, route.status_code or 200),
    )
    return runtime.database.answering(repeatable)


AnsweringDatabase = Annotated[Database, Depends(_answering_database)]


async def _digest(request: Request) -> bytes:
    """Returns the hash of query and body: two requests with the same hash are the same. Of a form the fields are
    hashed, because its boundary differs each time it is sent.
    """
    digest = hashlib.sha256()
    _add(digest, request.url.query.encode())
    if request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        await _add_form(digest, await request.form())
    else:
        _add(digest, await request.body())
    return digest.digest()


async def _add_form(digest: Any, form: FormData) -> None:
    for name, value in form.multi_items():
        _add(digest, name.encode(errors="surrogatepass"))
        if isinstance(value, UploadFile):
            await _add_file(digest, value)
        else:
            _add(digest, value.encode(errors="surrogatepass"))


async def _add_file(digest: Any, file: UploadFile) -> None:
    """Adds a file like `_add`, but piece by piece: a file of a million codes must not be in memory as a whole."""
    assert file.size is not None
    digest.update(file.size.to_bytes(8))
    await file.seek(0)
    while piece := await file.read(FILE_PIECE):
        digest.update(piece)
    await file.seek(0)


def _add(digest: Any, part: bytes) -> None:
    """Adds each part with its length, so that two different lists of parts never give the same bytes."""
    digest.update(len(part).to_bytes(8))
    digest.update(part)


@lru_cache(maxsize=256)
def _adapter(response_model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(response_model)


def _render(result: Any, response_model: Any, status_code: int) -> StoredAnswer:
    """Builds the answer that FastAPI would build from the result. If it names a `status_url`, that becomes the header
    Location.

    A refusal is also an answer if something was done before it: a dispatch with an unknown outcome.
    """
    if isinstance(result, DomainError):
        refusal = problem_of(result)
        headers = {"Content-Type": refusal.headers["Content-Type"]}
        return StoredAnswer(refusal.status_code, headers, bytes(refusal.body).decode())
    adapter = _adapter(response_model)
    answer = adapter.validate_python(result, from_attributes=True)
    location = getattr(answer, "status_url", None)
    headers = {} if location is None else {"Location": location}
    return StoredAnswer(status_code, headers, adapter.dump_json(answer, by_alias=True).decode())


async def answer_again(_request: Request, answered: Exception) -> Response:
    """Repeats the stored answer: the exception handler of AlreadyAnswered."""
    assert isinstance(answered, AlreadyAnswered)
    stored = answered.stored
    headers = {**stored.headers, REPLAYED_HEADER: "true"}
    return Response(stored.body, status_code=stored.status_code, headers=headers, media_type=JSON)
