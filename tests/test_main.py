from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from starlette.responses import Response
from structlog.testing import capture_logs

from qrtrack.domain.errors import Unavailable
from qrtrack.domain.identity import Caller, Role
from qrtrack.limits.body_budget import BodyBudget
from qrtrack.limits.fair_starts import FairStarts
from qrtrack.main import create_app
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings

ORIGIN = "https://app.example.com"


@asynccontextmanager
async def no_runtime(_settings: Settings) -> AsyncIterator[Runtime]:
    yield cast("Runtime", None)


def application(**settings: Any) -> FastAPI:
    return create_app(Settings(_env_file=None, **settings), no_runtime)


# For tests that add no route.
shared_application = cache(application)


def connect(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def test_the_lifespan_hands_the_runtime_to_requests_and_closes_it() -> None:
    events: list[object] = []
    runtime = cast("Runtime", object())

    @asynccontextmanager
    async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
        events.append(settings)
        yield runtime
        events.append("closed")

    settings = Settings(_env_file=None)
    app = create_app(settings, open_runtime)
    async with app.router.lifespan_context(app) as state:
        assert state == {"runtime": runtime}
        assert events == [settings]
    assert events == [settings, "closed"]


async def test_by_default_no_other_origin_may_call() -> None:
    async with connect(shared_application()) as client:
        answer = await client.get("/healthz", headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_listed_origin_may_call_and_read_our_headers() -> None:
    async with connect(shared_application(cors_allowed_origins=f"http://localhost:3000, {ORIGIN}")) as client:
        answer = await client.get("/healthz", headers={"Origin": ORIGIN})
        stranger = await client.get("/healthz", headers={"Origin": "https://evil.example"})
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        wanted = "authorization,content-type,idempotency-key,if-none-match,x-request-id,x-webhook-token"
        preflight = await client.options("/x", headers=asked | {"Access-Control-Request-Headers": wanted})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = answer.headers["access-control-expose-headers"]
    assert exposed == "Location, Idempotency-Replayed, X-Request-ID, Retry-After, ETag"
    assert "access-control-allow-origin" not in stranger.headers
    assert preflight.status_code == 200


async def test_refusals_and_defects_can_be_read_from_another_origin() -> None:
    app = application(cors_allowed_origins=ORIGIN)

    @app.get("/defect")
    async def fail() -> None:
        raise RuntimeError

    async with connect(app) as client:
        with capture_logs():
            defect = await client.get("/defect", headers={"Origin": ORIGIN})
        nowhere = await client.get("/nowhere", headers={"Origin": ORIGIN})
        too_large = await client.post("/x", content=b" " * 2_000_000, headers={"Origin": ORIGIN})
    answers = [defect, nowhere, too_large]
    assert [answer.status_code for answer in answers] == [500, 404, 413]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {ORIGIN}
    assert all(answer.headers["x-request-id"] for answer in answers)


class _Away:
    """A runtime whose database does not answer."""

    async def ready(self) -> None:
        raise Unavailable("The database does not answer.")


class _Believing:
    """Accepts any token, so that bodies are read."""

    async def verify(self, _token: str) -> Caller:
        return Caller("somebody", uuid4(), frozenset({Role.ADMIN}))


async def test_refusals_of_every_kind_can_be_read_from_an_allowed_origin_only() -> None:
    app = application(cors_allowed_origins=ORIGIN)

    async def with_runtime(scope: Any, receive: Any, send: Any) -> None:
        runtime = SimpleNamespace(database=_Away(), tokens=_Believing(), starts=FairStarts(), bodies=BodyBudget())
        await app({**scope, "state": {"runtime": runtime}}, receive, send)

    batches = "/api/manufacturer/batches"
    signed = {"Content-Type": "application/json", "Authorization": "Bearer token"}
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (400, "POST", batches, {"content": b"{", "headers": signed}),
        (401, "GET", batches, {}),
        (405, "DELETE", batches, {}),
        (422, "POST", batches, {"content": b'{"a": 1, "a": 2}', "headers": signed}),
        (503, "GET", "/readyz", {}),
    ]
    transport = httpx2.ASGITransport(with_runtime)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        for status, method, path, sent in requests:
            for origin, may_read in ((ORIGIN, True), ("https://evil.example", False)):
                headers = {**sent.get("headers", {}), "Origin": origin}
                answer = await client.request(method, path, content=sent.get("content"), headers=headers)
                assert answer.status_code == (status if may_read or method == "GET" else 403)
                assert answer.headers["content-type"] == "application/problem+json"
                assert (answer.headers.get("access-control-allow-origin") == origin) is may_read
                assert "Origin" in answer.headers["vary"]


async def preflight_of(headers: str, **settings: Any) -> httpx2.Response:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    async with connect(shared_application(cors_allowed_origins=ORIGIN, **settings)) as client:
        return await client.options("/x", headers=asked)


async def test_headers_of_tracing_and_error_reports_pass_a_preflight() -> None:
    for name in ("traceparent", "tracestate", "baggage", "sentry-trace", "x-client-info"):
        answer = await preflight_of(f"authorization,{name}")
        assert answer.status_code == 200
        assert name in answer.headers["access-control-allow-headers"].lower()


async def test_other_headers_pass_where_they_are_set() -> None:
    refused = await preflight_of("x-colour")
    assert refused.status_code == 400
    assert "CORS_ALLOWED_HEADERS" in refused.json()["detail"]
    chosen = {"cors_allowed_headers": "X-Colour, x-shape"}
    assert (await preflight_of("x-colour, x-shape, if-none-match", **chosen)).status_code == 200
    assert (await preflight_of("traceparent", **chosen)).status_code == 400
    assert (await preflight_of("x-anything", cors_allowed_headers="*")).status_code == 200


FOREIGN = (
    "https://evil.example", "null", "http://test.evil.example", "http://test:8000", "http://evil.example/test", "test",
    "http://app.example.com", f"{ORIGIN}:8443", f"{ORIGIN}.evil.example", "https://APP.example.com", "", "x" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"cors_allowed_origins": ORIGIN}], ids=["closed", "one origin"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_is_changed_for_a_page_of_another_origin(settings: dict[str, str], method: str) -> None:
    """Browsers send a form or plain text without a preflight, and only hide the answer: without this refusal, the page
    could change data.
    """
    paths = ("/webhook/accurate", "/api/manufacturer/link-to-master", "/api/worker/run", "/nowhere")
    async with connect(shared_application(**settings)) as client:
        for path, origin in product(paths, FOREIGN):
            headers = {"Origin": origin, "Content-Type": "text/plain"}
            answer = await client.request(method, path, content=b"[]", headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:qrtrack:problem:origin-refused")
            assert answer.json()["detail"].endswith("add it to CORS_ALLOWED_ORIGINS on the server.")
            assert len(answer.content) < 1000
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({}, None), ({}, "http://test"), ({}, "https://test"), ({"cors_allowed_origins": ORIGIN}, "http://test"),
        ({"cors_allowed_origins": ORIGIN}, ORIGIN), ({"cors_allowed_origins": "https://App.Example.com:443"}, ORIGIN),
        ({"public_base_url": f"{ORIGIN}:443/plant-1"}, ORIGIN), ({"cors_allowed_origins": "*"}, "https://evil.example"),
        ({}, "http://127.0.0.1:8000"),
    ],
)  # fmt: skip
async def test_own_pages_listed_origins_and_programs_may_change_things(
    settings: dict[str, str], origin: str | None
) -> None:
    async with connect(shared_application(**settings)) as client:
        answer = await client.post("/nowhere", headers={} if origin is None else {"Origin": origin})
    assert answer.status_code == 404


async def test_every_answer_carries_the_security_headers() -> None:
    app = application(cors_allowed_origins=ORIGIN)

    @app.get("/page")
    async def page() -> Response:
        return Response("", headers={"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"})

    @app.get("/defect")
    async def fail() -> None:
        raise RuntimeError

    async with connect(app) as client:
        with capture_logs():
            answers = [
                await client.get("/healthz"), await client.get("/nowhere"), await client.get("/openapi.json"),
                await client.get("/defect"), await client.post("/x", content=b" " * 2_000_000),
                await client.post("/x", headers={"Origin": "https://evil.example"}),
                await client.options("/x", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "TRACE"}),
            ]  # fmt: skip
        own = await client.get("/page")
    assert [answer.status_code for answer in answers] == [200, 404, 200, 500, 413, 403, 400]
    assert {answer.headers["x-content-type-options"] for answer in [*answers, own]} == {"nosniff"}
    assert {answer.headers["content-security-policy"] for answer in answers} == {"frame-ancestors 'none'"}
    assert own.headers.get_list("content-security-policy") == ["default-src 'none'; frame-ancestors 'none'"]


async def test_a_preflight_that_is_refused_says_why() -> None:
    async with connect(shared_application(cors_allowed_origins=ORIGIN)) as client:

        async def preflight(origin: str, method: str = "POST", **asked: str) -> httpx2.Response:
            return await client.options(
                "/x", headers={"Origin": origin, "Access-Control-Request-Method": method} | asked
            )

        stranger = await preflight("https://evil.example")
        method = await preflight(ORIGIN, "TRACE")
        header = await preflight(ORIGIN, **{"Access-Control-Request-Headers": "x-colour"})
    for answer in (stranger, method, header):
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:qrtrack:problem:cors-refused"
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert stranger.json()["detail"] == (
        "The origin https://evil.example is not allowed: add it to CORS_ALLOWED_ORIGINS on the server."
    )
    assert "access-control-allow-origin" not in stranger.headers
    assert method.headers["access-control-allow-origin"] == header.headers["access-control-allow-origin"] == ORIGIN
    assert "idempotency-key" in header.json()["detail"]


async def test_an_address_with_a_slash_too_many_is_not_redirected() -> None:
    async with connect(shared_application()) as client:
        assert (await client.get("/healthz/")).status_code == 404


async def test_the_document_of_the_api_stays_the_same() -> None:
    async with connect(shared_application()) as client:
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/openapi.json")).json() == document
    assert document["info"]["title"] == "qrtrack"
