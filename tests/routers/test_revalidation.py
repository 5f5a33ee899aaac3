"""Polls: an answer that the client has already costs no body."""

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse

from plant import Plant
from qrtrack.domain.identity import Caller
from qrtrack.routers.bodies import StrictRoute
from qrtrack.routers.dependencies import KnownCaller
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.routers.revalidation import TAGGED_BYTES
from qrtrack.runtime import Runtime

ClientOf = Callable[..., httpx2.AsyncClient]
SignIn = Callable[[Caller], httpx2.AsyncClient]


async def poll(client: httpx2.AsyncClient, path: str, tag: str | None = None) -> httpx2.Response:
    return await client.get(path, headers={} if tag is None else {"If-None-Match": tag})


async def test_an_unchanged_poll_is_304_and_a_changed_one_is_not(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(10)
    job_id = await plant.submit(batch)
    paths = [
        f"/api/manufacturer/reverse-job/status?job_id={job_id}",
        "/api/manufacturer/reverse-job/jobs",
    ]
    tags = []
    for path in paths:
        first = await poll(client, path)
        assert (first.headers["cache-control"], first.headers["vary"]) == ("private, no-cache", "Authorization")
        again = await poll(client, path, first.headers["etag"])
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert "content-type" not in again.headers
        assert (again.headers["cache-control"], again.headers["vary"]) == ("private, no-cache", "Authorization")
        tags.append(first.headers["etag"])
    await plant.work("reverse_job")
    for path, tag in zip(paths, tags, strict=True):
        assert (await poll(client, path, tag)).status_code == 200


async def test_a_tag_shows_nothing_to_another_organisation(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, plant: Plant
) -> None:
    path = f"/api/manufacturer/batches/{(await plant.batch(10)).batch_id}"
    for tag in ((await poll(client, path)).headers["etag"], "*"):
        assert (await poll(stranger, path, tag)).status_code == 404


@pytest.fixture
async def odd(client_of: ClientOf, runtime: Runtime, client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Routes of the kinds that are no small JSON document of a signed-in user, signed in nevertheless."""
    app, router = FastAPI(), APIRouter(route_class=StrictRoute)
    install_problem_handlers(app)

    @router.get("/json/{size}")
    async def read(size: int, _caller: KnownCaller) -> str:
        return "x" * size

    @router.get("/open")
    async def is_open() -> str:
        return "x"

    @router.get("/text")
    async def text(_caller: KnownCaller) -> Response:
        return Response("x", media_type="text/csv")

    @router.get("/stream")
    async def stream(_caller: KnownCaller) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"[]"

        return StreamingResponse(pieces(), media_type="application/json")

    @router.get("/created", status_code=201)
    async def created(_caller: KnownCaller) -> str:
        return "x"

    @router.post("/json/1")
    async def write(_caller: KnownCaller) -> str:
        return "x"

    app.include_router(router)
    connected = client_of(app, runtime)
    connected.headers["Authorization"] = client.headers["Authorization"]
    return connected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/json/{TAGGED_BYTES}"), ("GET", "/open"), ("GET", "/text"), ("GET", "/stream"), ("GET", "/created"),
        ("POST", "/json/1"), ("GET", "/json/x"), ("GET", "/nowhere"),
    ],
)  # fmt: skip
async def test_other_answers_have_no_tag(odd: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await odd.request(method, path, headers={"If-None-Match": "*"})
    assert answer.status_code != 304
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("{tag}", 304), ("{strong}", 304), ('"x", {tag}', 304), ('W/"x",{strong} , "y"', 304), ("*", 304), (" * ", 304),
        ("", 200), ('""', 200), ('"x"', 200), ("{bare}", 200), ('W/"', 200), ('"' * 5000, 200), ("\xff", 200),
    ],
)  # fmt: skip
async def test_tags_are_compared_weakly_as_the_standard_says(odd: httpx2.AsyncClient, given: str, status: int) -> None:
    tag = (await odd.get("/json/10")).headers["etag"]
    assert tag.startswith('W/"')
    sent = given.format(tag=tag, strong=tag[2:], bare=tag[3:-1]).encode("latin-1")
    answer = await odd.get("/json/10", headers=[(b"If-None-Match", sent)])
    assert answer.status_code == status


async def test_a_header_that_comes_twice_is_read_as_one_list(odd: httpx2.AsyncClient) -> None:
    tag = (await odd.get("/json/10")).headers["etag"]
    several = [(b"If-None-Match", b'"x"'), (b"If-None-Match", tag.encode())]
    assert (await odd.get("/json/10", headers=several)).status_code == 304
