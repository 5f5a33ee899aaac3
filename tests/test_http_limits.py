"""The limits for clients before their requests reach the application: on real sockets, with a stand-in application."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import uvicorn

from qrtrack import http_limits
from qrtrack.http_limits import HEADER_BYTES, ConnectionLimits, LimitedProtocol
from qrtrack.settings import Settings
from ticking import HANG_SECONDS, altered

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Echo:
    """An application that answers with the length of the body. It answers `/wait` when `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.gone = self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        received = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            received += len(message["body"])
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"%d" % received})
        self.answered += 1


@asynccontextmanager
async def listening(limits: ConnectionLimits, app: Any) -> AsyncIterator[int]:
    protocol = cast("type[asyncio.Protocol]", partial(LimitedProtocol, limits))
    config = uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def limits() -> ConnectionLimits:
    return ConnectionLimits(in_all=50, per_address=None)


@pytest.fixture
async def port(limits: ConnectionLimits, app: Echo) -> AsyncIterator[int]:
    async with listening(limits, app) as port:
        yield port


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(http_limits, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(http_limits, "LOOK_SECONDS", 0.05)


async def told(port: int, *parts: bytes) -> bytes:
    """Sends the parts. Returns everything that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            # So that the server reads each part by itself.
            await asyncio.sleep(0.01)
        async with asyncio.timeout(HANG_SECONDS):
            return await reader.read()
    finally:
        writer.close()


def problem_in(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    problem: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    assert problem["success"] is False
    return problem


async def test_a_request_within_all_limits_is_answered(port: int) -> None:
    filling = b"X-Filling: " + b"x" * (HEADER_BYTES - 200) + b"\r\n"
    answer = await told(port, POST + filling + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"1\r\n3\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "parts",
    [
        [GET + b"X-Long: " + b"x" * 70_000],
        [GET + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n"],
        [GET, *[b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(80)]],
        [GET + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\n"],
        [b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"GET /" + b"x" * 70_000],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\nX-Trailer: " + b"x" * 70_000],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 70_000],
    ],
    ids=["unfinished", "whole", "many fields", "many small fields", "address", "half an address", "trailer", "chunk"],
)
async def test_more_than_64_kib_of_headers_is_refused_while_it_arrives(port: int, parts: list[bytes]) -> None:
    assert problem_in(await told(port, *parts))["type"] == "urn:qrtrack:problem:headers-too-large"


async def test_a_header_without_end_is_cut_off_and_not_kept(port: int, limits: ConnectionLimits) -> None:
    """The client gets the refusal, what it sends afterwards is dropped, and a second later the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send_for_ever() -> None:
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    writer.write(GET + b"X-Long: ")
    line, cut_off = await asyncio.gather(reader.readline(), send_for_ever(), return_exceptions=True)
    assert line == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    assert isinstance(cut_off, ConnectionError)
    await until(lambda: limits.held == 0)


@pytest.mark.parametrize(
    "junk",
    [
        b"\0\1\2\3 junk\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        GET + b"Content-Length: x\r\n\r\n",
        GET + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_junk_gets_a_problem(port: int, junk: bytes) -> None:
    assert problem_in(await told(port, junk))["type"] == "urn:qrtrack:problem:invalid-http"


async def test_junk_on_a_kept_connection_gets_a_problem_too(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"\r\n")
    assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.write(b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert problem_in(await reader.read())["type"] == "urn:qrtrack:problem:invalid-http"
    writer.close()


async def test_a_request_at_work_does_not_fail_when_what_follows_it_is_refused(port: int, app: Echo) -> None:
    """The answer to the first request is dropped. That is no defect, and logs no traceback."""
    answer = await told(port, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", b"\0 junk\r\n\r\n")
    assert answer == b""
    app.go.set()
    await until(lambda: app.answered == 1)


@pytest.mark.usefixtures("impatient")
async def test_half_a_header_is_not_waited_for(port: int, limits: ConnectionLimits) -> None:
    answers = await asyncio.gather(*[told(port, GET) for _ in range(20)])
    assert {problem_in(answer)["type"] for answer in answers} == {"urn:qrtrack:problem:too-slow"}
    await until(lambda: limits.held == 0)


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_sends_nothing_is_closed_without_an_answer(port: int) -> None:
    assert await told(port) == b""


@pytest.mark.usefixtures("impatient")
async def test_half_a_body_is_not_waited_for(port: int, app: Echo) -> None:
    answer = await told(port, POST + b"Content-Length: 1000\r\n\r\nabc")
    assert problem_in(answer)["type"] == "urn:qrtrack:problem:too-slow"
    await until(lambda: app.gone == 1)


async def test_a_body_that_comes_slowly_but_steadily_is_taken(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(http_limits, "time", altered(time, monotonic=lambda: now[0]))
    monkeypatch.setattr(http_limits, "BODY_SECONDS", 0.0)
    monkeypatch.setattr(http_limits, "LOOK_SECONDS", 0.02)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Connection: close\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
    for _ in range(10):
        await asyncio.sleep(0.03)
        now[0] += 0.4
        writer.write(b"x" * 5000)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_waits_for_an_answer_is_not_cut_off(port: int, app: Echo) -> None:
    """Neither the time for the next headers nor the time for a body counts while the client waits for an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.6)
    writer.write(GET)
    await asyncio.sleep(0.6)
    app.go.set()
    answer = await reader.readuntil(b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert problem_in(await reader.read())["type"] == "urn:qrtrack:problem:too-slow"
    writer.close()


@pytest.mark.parametrize("per_address", [None, 5])
async def test_connections_over_the_limit_are_refused_and_places_come_back(app: Echo, per_address: int | None) -> None:
    limits = ConnectionLimits(in_all=5 if per_address is None else 50, per_address=per_address)
    async with listening(limits, app) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        await until(lambda: limits.held == 5)
        assert problem_in(await told(port))["type"] == "urn:qrtrack:problem:too-many-connections"
        if per_address is not None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            writer.write(GET + b"Connection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        for _, writer in held:
            writer.close()
        await until(lambda: limits.held == 0)
        assert limits.by_address == {}
        assert (await told(port, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")


def test_behind_proxies_addresses_are_not_counted() -> None:
    assert ConnectionLimits.of(Settings(_env_file=None, trusted_proxies=1)).per_address is None
    limits = ConnectionLimits.of(Settings(_env_file=None, max_connections=7, max_connections_per_address=3))
    assert (limits.in_all, limits.per_address) == (7, 3)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_an_early_answer_reaches_a_client_that_still_sends(
    limits: ConnectionLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing at once would reset the connection, and the client would lose the answer."""
    monkeypatch.setattr(http_limits, "LINGER_SECONDS", HANG_SECONDS)

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with listening(limits, refuse) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 90000000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await reader.read()).endswith(b"no")
        writer.close()
        await until(lambda: limits.held == 0)
