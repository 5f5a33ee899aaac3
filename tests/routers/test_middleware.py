import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import Response
from structlog.testing import capture_logs

import promised
from qrtrack.routers.body_limits import BODY_BYTES, IMPORT_BODY_BYTES, LARGE_BODY_BYTES, body_limits
from qrtrack.routers.middleware import BodyLimit, Observe, RequestContext
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.routers.verification.checks import SMALL_BODY
from ticking import HANG_SECONDS

ClientOf = Callable[..., httpx2.AsyncClient]


LIMITS = {
    "/api/akselgate/dispatch": LARGE_BODY_BYTES,
    "/api/manufacturer/batches/import": IMPORT_BODY_BYTES,
    "/api/manufacturer/codes/printed": LARGE_BODY_BYTES,
    "/api/manufacturer/codes/readmit": LARGE_BODY_BYTES,
    "/api/manufacturer/codes/void": LARGE_BODY_BYTES,
    "/api/manufacturer/link-to-master": LARGE_BODY_BYTES,
    "/api/manufacturer/link-to-master-from-queue": LARGE_BODY_BYTES,
    "/api/manufacturer/recall": LARGE_BODY_BYTES,
    "/api/manufacturer/reverse-job/submit": LARGE_BODY_BYTES,
    "/api/manufacturer/unlink-from-master": LARGE_BODY_BYTES,
    "/api/redeem": SMALL_BODY,
    "/api/report": SMALL_BODY,
    "/api/verify": SMALL_BODY,
    "/webhook/accurate": LARGE_BODY_BYTES,
}


def application(observe: Observe | None = None) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, limits=LIMITS)
    app.add_middleware(RequestContext, observe=observe)
    router = APIRouter(prefix="/things")

    @router.get("/{number}")
    async def read(number: int) -> dict[str, Any]:
        structlog.get_logger().info("inside")
        return structlog.contextvars.get_contextvars() | {"number": number}

    @app.post("/json")
    async def parsed(body: list[int]) -> int:
        return len(body)

    @app.post("/raw")
    @app.post("/webhook/accurate")
    @app.post("/api/manufacturer/codes/void")
    @app.post("/api/manufacturer/link-to-master-from-queue")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/api/manufacturer/batches/import")
    async def streamed(request: Request) -> int:
        return sum([len(piece) async for piece in request.stream()])

    app.include_router(router)
    folder = APIRouter()
    folder.include_router(router, prefix="/deep")
    app.include_router(folder, prefix="/very")
    return app


@pytest.fixture
def client(client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(application())


async def pieces(total: int, size: int = 65_536) -> AsyncIterator[bytes]:
    """A chunked body: its length is announced nowhere."""
    for start in range(0, total, size):
        yield b" " * min(size, total - start)


def is_too_large(answer: httpx2.Response) -> bool:
    return answer.status_code == 413 and answer.json()["type"] == "urn:qrtrack:problem:body-too-large"


async def test_a_token_in_an_address_that_is_no_route_is_not_logged(client: httpx2.AsyncClient) -> None:
    """A callback address of ours with a slash too many, and whatever else people type."""
    paths = (
        f"/webhook/akselgate/callback/17-{'0a' * 32}/",
        "/hunter2",
        "/things/12/hunter2",
        "/very/hunter2",
        "/very/deep/things/",
        "/things/../hunter2",
        "//hunter2",
        "/very%2Fhunter2",
        "/very/deep%20hunter2/things/12",
    )
    with capture_logs() as logs:
        for path in paths:
            assert (await client.get(path)).status_code == 404
    told = [line["path"] for line in logs]
    assert told == ["/webhook/…", "/…", "/things/…", "/very/…", "/very/deep/things/…", "/…", "/…", "/very/…", "/very/…"]


async def test_a_sane_request_id_is_kept_through_the_request(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things/1", headers={"X-Request-ID": "line-3.A_7"})
    assert answer.headers["x-request-id"] == "line-3.A_7"
    assert answer.json() == {"request_id": "line-3.A_7", "number": 1}
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("given", ["", "a b", "x" * 101, "é", "a\tb", "a;b"])
async def test_any_other_request_id_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    answer = await client.get("/things/1", headers=[(b"X-Request-ID", given.encode())])
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-request-id"] != (await client.get("/things/1")).headers["x-request-id"]


async def test_a_finished_request_is_one_line_without_its_query(client_of: ClientOf) -> None:
    observed: list[tuple[str, str, int, float]] = []
    client = client_of(application(lambda *seen: observed.append(seen)))
    with capture_logs() as lines:
        await client.get("/things/12?token=hunter2")
        await client.get("/very/deep/things/12")
        await client.delete("/very/deep/things/12")
        await client.get("/nowhere?token=hunter2")
    access = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in access] == [
        ("GET", "/things/{number}", 200),
        ("GET", "/very/deep/things/{number}", 200),
        ("DELETE", "/very/deep/things/{number}", 405),
        ("GET", "/…", 404),
    ]
    assert all(line["duration_ms"] >= 0 for line in access)
    assert "hunter2" not in str(lines)
    assert [seen[1] for seen in observed] == [line["path"] for line in access[:3]] + ["unmatched"]


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Authorization", "Content-Length", "Content-Type", "X-Webhook-Token"]
)
@pytest.mark.parametrize("values", [("1", "1"), ("1", "2"), ("", "1"), ("1", "2", "3")])
async def test_a_repeated_header_is_refused_before_anything_is_done(
    client: httpx2.AsyncClient, name: str, values: tuple[str, ...]
) -> None:
    headers = [("X-Other", "1"), *((name if place else name.lower(), value) for place, value in enumerate(values))]
    answer = await client.post("/raw", headers=headers)
    said = answer.json()
    assert (answer.status_code, said["type"]) == (400, "urn:qrtrack:problem:repeated-header")
    assert said["errors"][0]["pointer"] == f"/header/{name}"
    assert answer.headers["connection"] == "close"


def test_code_lists_dispatches_webhooks_and_imports_declare_larger_bodies() -> None:
    assert body_limits(promised.application()) == LIMITS


@pytest.mark.parametrize("path", ["/json", "/raw", "/nowhere"])
async def test_an_announced_large_body_is_refused_unread(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b" " * (BODY_BYTES + 1), headers={"content-type": "application/json"})
    assert is_too_large(answer)


@pytest.mark.parametrize("path", ["/json", "/raw"])
async def test_a_large_body_is_refused_while_it_is_read(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=pieces(BODY_BYTES + 1), headers={"content-type": "application/json"})
    assert is_too_large(answer)


async def test_a_body_of_exactly_the_cap_passes(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/raw", content=b" " * BODY_BYTES)).json() == BODY_BYTES
    assert (await client.post("/raw", content=pieces(BODY_BYTES))).json() == BODY_BYTES


@pytest.mark.parametrize(
    "path",
    ["/webhook/accurate", "/api/manufacturer/codes/void", "/api/manufacturer/link-to-master-from-queue"],
)
async def test_code_lists_and_webhooks_have_a_larger_cap(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.post(path, content=pieces(LARGE_BODY_BYTES))).json() == LARGE_BODY_BYTES
    assert is_too_large(await client.post(path, content=pieces(LARGE_BODY_BYTES + 1)))
    assert is_too_large(await client.post(path, content=b" " * (LARGE_BODY_BYTES + 1)))


async def test_an_import_has_the_cap_that_a_million_rows_need(client: httpx2.AsyncClient) -> None:
    path = "/api/manufacturer/batches/import"
    assert (await client.post(path, content=pieces(IMPORT_BODY_BYTES))).json() == IMPORT_BODY_BYTES
    assert is_too_large(await client.post(path, content=pieces(IMPORT_BODY_BYTES + 1)))
    assert is_too_large(await client.post(path, headers={"Content-Length": str(IMPORT_BODY_BYTES + 1)}))


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "", "0x10", "1, 1", "²"])
async def test_a_garbage_length_is_refused(client: httpx2.AsyncClient, length: str) -> None:
    answer = await client.post("/raw", headers=[(b"content-length", length.encode())])
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:qrtrack:problem:invalid-content-length"


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000])
async def test_an_absurd_length_is_too_large(client: httpx2.AsyncClient, length: str) -> None:
    assert is_too_large(await client.post("/raw", headers={"content-length": length}))


async def test_a_body_with_a_false_content_length_is_counted() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * 600_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"5")]
    scope = {"type": "http", "method": "POST", "path": "/raw", "headers": headers, "query_string": b""}
    await application()(scope, receive, send)
    assert sent[0]["status"] == 413


@pytest.fixture
def finished() -> asyncio.Event:
    """Set when the server behind the socket has finished a request."""
    return asyncio.Event()


@pytest.fixture
async def port(finished: asyncio.Event) -> AsyncIterator[int]:
    """The application behind a real socket."""
    app = application(lambda *_seen: finished.set())
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.lifespan.startup()
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await server.shutdown()


async def test_over_a_socket_a_chunked_body_is_cut_and_the_connection_goes_on(port: int) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=HANG_SECONDS) as client:
        for path in ("/json", "/raw", "/webhook/accurate"):
            content = pieces(LARGE_BODY_BYTES + 1)
            answer = await client.post(path, content=content, headers={"content-type": "application/json"})
            assert is_too_large(answer)
        assert (await client.get("/things/1")).status_code == 200


@pytest.mark.parametrize("path", ["/json", "/raw"])
async def test_over_a_socket_a_client_may_leave_in_the_middle(
    port: int, finished: asyncio.Event, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n[1"
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(HANG_SECONDS):
            await finished.wait()
    assert [line for line in lines if line["log_level"] in ("warning", "error", "critical")] == []
    assert [record for record in caplog.records if record.exc_info] == []


async def test_the_duration_of_a_request_ends_with_its_answer(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("qrtrack.routers.middleware.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    observed: list[float] = []
    app = application(lambda _method, _path, _status, seconds: observed.append(seconds))

    async def pass_time(seconds: float) -> None:
        clock[0] += seconds

    @app.get("/slow")
    async def slow() -> Response:
        await pass_time(1)
        return Response(background=BackgroundTask(pass_time, 1000))

    await client_of(app).get("/slow")
    assert (observed, clock) == ([1], [1001])
