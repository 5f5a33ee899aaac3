"""JSON bodies: a key that stands twice is refused, named and pointed at, whatever lies around it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.identity import Caller, Role
from qrtrack.limits.body_budget import MIB
from qrtrack.routers.bodies import MOST_VALUES, RepeatedKey, StrictRoute, parse
from qrtrack.routers.problems import Refused, install_problem_handlers
from qrtrack.runtime import Runtime
from ticking import HANG_SECONDS

ClientOf = Callable[..., httpx2.AsyncClient]


def refused(body: str) -> tuple[str, str]:
    """Pointer and detail."""
    with pytest.raises(Refused) as caught:
        parse(body.encode())
    assert isinstance(caught.value.refusal, RepeatedKey)
    (error,) = caught.value.refusal.errors
    return error.pointer, caught.value.refusal.detail


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"a": 1, "a": 1}', "/a"),
        ('{"a": 1, "\\u0061": 2, "b": 3, "b": 4}', "/a"),
        ('{"exclude_codes": ["A1"], "exclude_codes": []}', "/exclude_codes"),
        ('{"a": [0, {"b/c": {"x": 1, "x": 2}}]}', "/a/1/b~1c/x"),
        ('{"a": {"x": 1, "x": 2}, "b": {"y": 1, "y": 2}}', "/b/y"),
        ('{"a": {"x": 1, "x": 2}, "a": {}}', "/a"),
        ('[[], [{"": 1, "": 2}]]', "/1/0/"),
    ],
)
def test_the_refusal_of_a_repeated_key_points_at_it(body: str, pointer: str) -> None:
    assert refused(body)[0] == pointer


def test_the_refusal_names_the_key_and_what_to_do() -> None:
    assert refused('{"code": 1, "code": 2}')[1] == "The key 'code' appears twice in one object: send it once."
    key = "\u202e" + "k" * 1000
    assert len(refused(json.dumps({key: 1})[:-1] + f', "{key}": 2}}')[1]) < 200


def test_a_deep_and_wide_document_costs_no_more_than_its_size() -> None:
    deep = '{"x": 1, "x": 2, "y": ' + "[" * 500 + "[]," * 100_000 + "[]" + "]" * 500 + "}"
    assert refused(deep)[0] == "/x"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_other_document_is_read_as_it_is(document: Any) -> None:
    assert parse(json.dumps(document).encode()) == document


async def test_a_route_and_its_dependencies_share_one_parsed_body(client_of: ClientOf) -> None:
    app, router = FastAPI(), APIRouter(route_class=StrictRoute)
    install_problem_handlers(app)
    seen: list[Any] = []

    async def look(request: Request) -> None:
        seen.append(await request.json())

    @router.post("/x", dependencies=[Depends(look)])
    async def take(body: Annotated[dict[str, Any], Body()], request: Request) -> dict[str, Any]:
        seen.append(await request.json())
        return body

    app.include_router(router, prefix="/deep")
    client = client_of(app)
    json_headers = {"Content-Type": "application/json"}
    assert (await client.post("/deep/x", json={"a": {"b": 1}})).json() == {"a": {"b": 1}}
    assert seen[0] is seen[1]
    twice = await client.post("/deep/x", content=b'{"a": 1, "a": 2}', headers=json_headers)
    assert (twice.status_code, twice.json()["type"]) == (422, "urn:qrtrack:problem:repeated-key")
    assert twice.json()["errors"] == [
        {"pointer": "/a", "detail": "This key appears twice.", "code": "repeated_key", "params": {}}
    ]
    broken = await client.post("/deep/x", content=b'{"a": 1, "a": 2', headers=json_headers)
    assert (broken.status_code, broken.json()["type"]) == (400, "urn:qrtrack:problem:invalid-json")
    assert len(seen) == 2


@pytest.mark.parametrize("token", [None, "Bearer nonsense"])
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("batches/import", "multipart/form-data; boundary=b"),
        ("reverse-job/submit", "application/json"),
        ("link-to-master-from-queue", "application/json"),
    ],
)
async def test_no_body_of_a_stranger_is_read(
    client: httpx2.AsyncClient, path: str, content_type: str, token: str | None
) -> None:
    pieces: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        pieces.append(b"--b\r\n")
        yield pieces[-1]

    client.headers.pop("Authorization")
    headers = {"Content-Type": content_type} | ({"Authorization": token} if token else {})
    answer = await client.post(f"/api/manufacturer/{path}", content=body(), headers=headers)
    assert (answer.status_code, answer.headers["Connection"], pieces) == (401, "close", [])


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("manufacturer/batches/import", Role.OPERATOR),
        ("manufacturer/batches", Role.OPERATOR),
        ("manufacturer/reverse-job/submit", Role.FINANCE),
        ("accurate/events/replay", Role.MANAGER),
    ],
)
async def test_no_body_is_read_of_whoever_lacks_the_role(
    sign_in: Callable[[Caller], httpx2.AsyncClient], caller: Caller, path: str, role: Role
) -> None:
    pieces: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        pieces.append(b"{}")
        yield pieces[-1]

    client = sign_in(replace(caller, roles=frozenset({role})))
    answer = await client.post(f"/api/{path}", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:qrtrack:problem:missing-role")
    assert (answer.headers["Connection"], pieces) == ("close", [])


async def test_a_body_with_millions_of_values_is_refused_before_it_is_parsed(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b'{"exclude_codes": [' + b"0," * 1_600_000 + b"0]}", b"[" * 1_600_000):
        answer = await client.post("/api/manufacturer/reverse-job/submit", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:qrtrack:problem:too-many-values")


async def test_a_body_with_too_many_values_is_refused_while_it_arrives(client: httpx2.AsyncClient) -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        yield b'{"exclude_codes": ['
        while pieces < 120:
            pieces += 1
            yield b"0," * (64 * 1024)

    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/manufacturer/reverse-job/submit", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:qrtrack:problem:too-many-values")
    assert pieces == MOST_VALUES // (64 * 1024) + 1


async def test_unfinished_bodies_hold_their_organisations_share_and_no_more(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, runtime: Runtime
) -> None:
    """What is not read stays with its sender."""
    begun = 0

    async def unfinished() -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        yield b" " * (15 * MIB)
        await asyncio.Event().wait()

    async def upload(caller: httpx2.AsyncClient, content: bytes | AsyncIterator[bytes], length: int) -> int:
        headers = {"Content-Type": "application/json", "Content-Length": str(length)}
        answer = await caller.post("/api/manufacturer/reverse-job/submit", content=content, headers=headers)
        return answer.status_code

    uploads = [asyncio.create_task(upload(client, unfinished(), 15 * MIB + 2)) for _ in range(60)]
    async with asyncio.timeout(HANG_SECONDS):
        while runtime.bodies.waiting.total() < 58:
            await asyncio.sleep(0.01)
        assert await upload(stranger, b" " * 15 * MIB + b"{}", 15 * MIB + 2) == 422
    assert runtime.bodies.held.total() == 2 * (15 * MIB + 2)
    assert begun == 2
    for uploading in uploads:
        uploading.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)
    assert (runtime.bodies.held, runtime.bodies.waiting) == ({}, {})


async def test_a_long_list_of_numbers_gets_a_hundred_errors(client: httpx2.AsyncClient) -> None:
    body = {"batch_id": str(uuid4()), "order_id": str(uuid4()), "exclude_codes": [0] * 150_000}
    answer = await client.post("/api/manufacturer/reverse-job/submit", json=body)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 100)
    answer = await client.post("/api/manufacturer/reverse-job/submit", json=body | {"exclude_codes": [0] * 300_000})
    assert [error["code"] for error in answer.json()["errors"]] == ["too_many"]
