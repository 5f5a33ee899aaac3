from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, field_validator
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from qrtrack.domain.errors import (
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    InvalidInput,
    InvalidState,
    NotFound,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from qrtrack.domain.field_codes import FieldCode
from qrtrack.routers.middleware import RequestContext
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.schemas.base import Body, Day, Limit, Note, Text
from qrtrack.schemas.notifications import NotifyRequest
from qrtrack.schemas.packing.batches import Lot

ClientOf = Callable[..., httpx2.AsyncClient]


class Unit(BaseModel):
    code: Text
    kind: Literal["good", "damaged"] = "good"


class Order(Body):
    exclude_codes: list[Text] = Field(default_factory=list)
    units: list[Unit] = Field(default_factory=list)
    owner: Annotated[UUID | Unit | None, Field()] = None
    note: Note = ""
    secret_word: str = ""
    few: list[int] = Field([1], min_length=1, max_length=2)
    day: Day | None = None
    lot: Lot | None = None
    notify: NotifyRequest | None = None

    @field_validator("secret_word")
    @classmethod
    def _never(cls, value: str) -> str:
        if value:
            raise ValueError("This word is refused")
        return value


class TooFew(Conflict):
    slug = "too-few-codes"
    title = "Too few codes"


def application(raised: list[Exception]) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(RequestContext)

    @app.get("/raise")
    async def fail() -> None:
        raise raised[0]

    @app.get("/half-sent")
    async def half() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            raise raised[0]

        return StreamingResponse(pieces())

    @app.post("/orders/{number}")
    async def order(
        number: int, body: Order, limit: Limit = 100, weight: Annotated[int, Header()] = 0
    ) -> dict[str, Any]:
        return {"number": number, "codes": len(body.exclude_codes), "limit": limit, "weight": weight}

    one, other = APIRouter(), APIRouter()

    @one.get("/things/{number}")
    @other.delete("/things/{number}")
    @other.patch("/{number}/7")
    async def nothing(number: str) -> None: ...

    app.include_router(one, prefix="/deep")
    app.include_router(other, prefix="/deep")
    return app


@pytest.fixture
def raised() -> list[Exception]:
    return []


@pytest.fixture
def client(client_of: ClientOf, raised: list[Exception]) -> httpx2.AsyncClient:
    return client_of(application(raised))


def problem(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["success"] is False
    assert document["type"] == f"urn:qrtrack:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].endswith((".", "…"))
    return document


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (NotFound("No such batch."), 404, "not-found"),
        (Conflict("Busy."), 409, "conflict"),
        (InvalidState("Closed."), 409, "invalid-state"),
        (InvalidInput("Bad."), 422, "invalid-input"),
        (Unauthenticated("Sign in."), 401, "unauthenticated"),
        (Forbidden("No."), 403, "forbidden"),
        (UpstreamFailed("It failed."), 502, "upstream-failed"),
        (UpstreamTimeout("It was silent."), 504, "upstream-timeout"),
        (Unavailable("Later."), 503, "unavailable"),
        (TooFew("Too few."), 409, "too-few-codes"),
    ],
)
async def test_each_category_of_refusal_has_its_status(
    client: httpx2.AsyncClient, raised: list[Exception], error: DomainError, status: int, slug: str
) -> None:
    raised.append(error)
    document = problem(await client.get("/raise"), status, slug)
    assert document["detail"] == error.detail
    assert document["title"] == error.title
    assert "errors" not in document


async def test_a_refusal_carries_its_members_and_fields(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    raised.append(
        TooFew(
            "Too few.",
            errors=[FieldError("/a/0", "gone", FieldCode.TOO_SMALL, {"min": 1})],
            available=42,
            batch_id=UUID(int=1),
            amount=Decimal("1.10"),
            until=moment,
            codes={"b", "a"},
            status="stolen",
            success=True,
        )
    )
    document = problem(await client.get("/raise"), 409, "too-few-codes")
    assert document["errors"] == [{"pointer": "/a/0", "detail": "gone", "code": "too_small", "params": {"min": 1}}]
    assert document["error_count"] == 1
    assert document["available"] == 42
    assert document["batch_id"] == "00000000-0000-0000-0000-000000000001"
    assert document["amount"] == "1.10"
    assert document["until"] == "2026-01-02T03:04:05.000000Z"
    assert document["codes"] == ["a", "b"]


async def test_a_401_says_how_to_authenticate(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    raised.append(Unauthenticated("Sign in."))
    assert (await client.get("/raise")).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("Later."), "5"),
        (Unavailable("Later.", retry_after=60), "60"),
        (Conflict("Still running.", retry_after=0.2), "1"),
        (Conflict("No."), None),
    ],
)
async def test_a_temporary_failure_says_when_to_try_again(
    client: httpx2.AsyncClient, raised: list[Exception], error: DomainError, seconds: str | None
) -> None:
    raised.append(error)
    assert (await client.get("/raise")).headers.get("retry-after") == seconds


async def test_a_lone_surrogate_does_not_break_the_answer(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    raised.append(InvalidInput("No code \ud800.", errors=[FieldError("/\udfff", "\ud800", FieldCode.INVALID)]))
    assert "\\ud800" in (await client.get("/raise")).text


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/orders/1", {"exclude_code": []}, {"/exclude_code"}),
        ("/orders/1", {"exclude_codes": ["a", "b", "c", 4]}, {"/exclude_codes/3"}),
        ("/orders/1", {"units": [{"code": "a"}, {}]}, {"/units/1/code"}),
        ("/orders/1", {"units": [{"code": "a", "kind": "odd"}]}, {"/units/0/kind"}),
        ("/orders/1", {"owner": {"code": ""}}, {"/owner", "/owner/code"}),
        ("/orders/1", {"a/b~c": 1}, {"/a~1b~0c"}),
        ("/orders/1?limit=0", {}, {"/query/limit"}),
        ("/orders/x", {}, {"/path/number"}),
        ("/orders/1", [], {""}),
        ("/orders/1", None, {""}),
    ],
)
async def test_bad_input_is_pointed_at(client: httpx2.AsyncClient, path: str, body: Any, errors: set[str]) -> None:
    document = problem(await client.post(path, json=body), 422, "invalid-input")
    assert {error["pointer"] for error in document["errors"]} == errors


@pytest.mark.parametrize(
    ("path", "body", "code", "params"),
    [
        ("/orders/1", {"exclude_code": []}, "unknown_field", {}),
        ("/orders/1", {"units": [{}]}, "required", {}),
        ("/orders/1", {"units": {}}, "wrong_type", {"expected": "list"}),
        ("/orders/1", {"units": [7]}, "wrong_type", {"expected": "object"}),
        ("/orders/1", {"note": 7}, "wrong_type", {"expected": "string"}),
        ("/orders/x", {}, "wrong_type", {"expected": "integer"}),
        ("/orders/1", {"manufacturer_org_id": "x"}, "wrong_type", {"expected": "uuid"}),
        ("/orders/1", {"units": [{"code": "a", "kind": "odd"}]}, "not_allowed_value", {"allowed": ["good", "damaged"]}),
        ("/orders/1", {"exclude_codes": [""]}, "too_short", {"min": 1}),
        ("/orders/1", {"exclude_codes": ["a" * 256]}, "too_long", {"max": 255}),
        ("/orders/1?limit=0", {}, "too_small", {"min": 1}),
        ("/orders/1?limit=1001", {}, "too_large", {"max": 1000}),
        ("/orders/1", {"few": []}, "too_few", {"min": 1}),
        ("/orders/1", {"few": [1, 2, 3]}, "too_many", {"max": 2}),
        ("/orders/1", {"few": [1.5]}, "wrong_type", {"expected": "integer"}),
        ("/orders/1", {"day": "tomorrow"}, "bad_date", {}),
        ("/orders/1", {"day": 7}, "bad_date", {}),
        ("/orders/1", {"lot": "a b"}, "bad_lot", {}),
        ("/orders/1", {"lot": ".."}, "bad_lot", {}),
        ("/orders/1", {"notify": {"email": "x"}}, "bad_email", {}),
        ("/orders/1", {"notify": {"url": "http://x"}}, "bad_https_address", {}),
        ("/orders/1", {"notify": {}}, "at_least_one_of", {"fields": ["email", "url"]}),
        ("/orders/1", {"secret_word": "x"}, "invalid", {}),
    ],
)
async def test_bad_input_has_a_code_of_ours_with_its_params(
    client: httpx2.AsyncClient, path: str, body: Any, code: str, params: Any
) -> None:
    [error] = problem(await client.post(path, json=body), 422, "invalid-input")["errors"]
    assert (error["code"], error["params"]) == (code, params)
    assert set(params) == set(FieldCode(code).params)


async def test_a_bad_header_is_pointed_at(client: httpx2.AsyncClient) -> None:
    document = problem(await client.post("/orders/1", json={}, headers={"weight": "x"}), 422, "invalid-input")
    assert document["errors"][0]["pointer"] == "/header/weight"


async def test_a_missing_body_is_bad_input(client: httpx2.AsyncClient) -> None:
    document = problem(await client.post("/orders/1"), 422, "invalid-input")
    assert document["errors"] == [{"pointer": "", "detail": "Field required", "code": "required", "params": {}}]


async def test_input_is_never_repeated(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/orders/hunter2", json={"secret_word": "hunter2", "note": ["hunter2"], "units": "hunter2"}
    )
    document = problem(answer, 422, "invalid-input")
    assert len(document["errors"]) == 4
    refused = {"pointer": "/secret_word", "detail": "This word is refused", "code": "invalid", "params": {}}
    assert refused in document["errors"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("text", ["nul\0", "two\nlines", "right\u202eto left", "\x7f"])
async def test_text_that_would_mislead_is_refused_in_words(client: httpx2.AsyncClient, text: str) -> None:
    document = problem(await client.post("/orders/1", json={"exclude_codes": [text]}), 422, "invalid-input")
    assert document["errors"] == [
        {
            "pointer": "/exclude_codes/0",
            "detail": "Text may not hold line breaks, control characters or invisible marks",
            "code": "control_characters",
            "params": {},
        }
    ]


@pytest.mark.parametrize("raw", [b'{"exclude_codes": ["\\ud800"]}', b'{"\\ud800": 1}', b'{"user_id": "\\udfff"}'])
async def test_a_lone_surrogate_in_the_body_is_bad_input(client: httpx2.AsyncClient, raw: bytes) -> None:
    answer = await client.post("/orders/1", content=raw, headers={"content-type": "application/json"})
    problem(answer, 422, "invalid-input")


async def test_a_flood_of_errors_is_cut(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/orders/1", json={"exclude_codes": [1] * 1000})
    document = problem(answer, 422, "invalid-input")
    assert len(document["errors"]) == 100
    assert document["error_count"] == 1000
    assert "the first 100 of 1000" in document["detail"]


async def test_a_body_that_is_not_marked_as_json_is_explained(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/orders/1", content=b"{}", headers={"content-type": "text/plain"})
    assert "Content-Type: application/json" in problem(answer, 422, "invalid-input")["detail"]


async def test_broken_json_says_where_it_breaks(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/orders/1", content=b'{"a": hunter2}', headers={"content-type": "application/json"})
    document = problem(answer, 400, "invalid-json")
    assert document["detail"] == "The body is not valid JSON: Expecting value at character 6."


@pytest.mark.parametrize(
    "raw", [b"[" * 200_000, b'{"a": ' * 100_000, b"\xff\xfe\xff", b'{"a": ' + b"9" * 10_000 + b"}", b"\x00"]
)
async def test_a_body_that_cannot_be_read_is_bad_json(client: httpx2.AsyncClient, raw: bytes) -> None:
    answer = await client.post("/orders/1", content=raw, headers={"content-type": "application/json"})
    problem(answer, 400, "invalid-json")


async def test_an_unknown_address_is_a_problem(client: httpx2.AsyncClient) -> None:
    problem(await client.get("/nowhere"), 404, "no-such-route")


async def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: httpx2.AsyncClient) -> None:
    answer = await client.delete("/raise")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


async def test_a_wrong_method_names_those_of_all_routes_at_the_address(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/deep/things/7")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


async def test_other_refusals_of_the_framework_are_problems(
    client: httpx2.AsyncClient, raised: list[Exception]
) -> None:
    raised.append(HTTPException(418, "Tea"))
    assert problem(await client.get("/raise"), 418, "im-a-teapot")["detail"] == "Tea."


async def test_an_answer_without_content_stays_without(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    raised.append(HTTPException(304))
    answer = await client.get("/raise")
    assert (answer.status_code, answer.content) == (304, b"")


async def test_a_defect_is_logged_and_tells_only_the_request_id(
    client: httpx2.AsyncClient, raised: list[Exception]
) -> None:
    raised.append(RuntimeError("hunter2"))
    with capture_logs() as lines:
        answer = await client.get("/raise", headers={"X-Request-ID": "r-1"})
    document = problem(answer, 500, "internal-error")
    assert document["request_id"] == "r-1"
    assert "r-1" in document["detail"]
    assert answer.headers["x-request-id"] == "r-1"
    assert "hunter2" not in answer.text
    assert [line["event"] for line in lines if line.get("exc_info")] == ["unforeseen error"]


async def test_an_error_without_category_is_a_defect(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    raised.append(DomainError("hunter2"))
    with capture_logs():
        problem(await client.get("/raise"), 500, "internal-error")


async def test_a_half_sent_answer_is_broken_off(client: httpx2.AsyncClient, raised: list[Exception]) -> None:
    raised.append(RuntimeError("boom"))
    with capture_logs(), pytest.raises(RuntimeError, match="boom"):
        await client.get("/half-sent")


async def test_a_client_that_went_away_is_no_defect(client_of: ClientOf, raised: list[Exception]) -> None:
    raised.append(ClientDisconnect())
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/raise", "headers": [], "query_string": b""}
    with capture_logs() as lines:
        await application(raised)(scope, receive, send)
    assert sent == []
    assert {line["event"]: line["log_level"] for line in lines} == {"the client went away": "info", "request": "info"}
    assert lines[-1]["status"] == 499


async def test_a_good_request_is_not_touched(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/orders/7?limit=5", json={"exclude_codes": ["SKA000007"], "note": "two\nlines"})
    assert answer.json() == {"number": 7, "codes": 1, "limit": 5, "weight": 0}
