"""What holds on every route: who may, whose it is, and that no input is a defect."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from every_route import (
    ACCURATE,
    API,
    FOR_ANYBODY,
    FOR_MACHINES,
    FOR_OTHER_SYSTEMS,
    FOR_USERS,
    LABELS,
    NO_THINGS,
    PACKING,
    PROGRESS,
    Route,
    Things,
    things_of,
)
from plant import Plant
from process import settings_of
from qrtrack.domain.identity import Caller, Role
from qrtrack.settings import Settings

SignIn = Callable[[Caller], httpx2.AsyncClient]

# Without a gateway nothing can be sent: what holds for its bodies stands in tests/routers/akselgate/test_dispatches.py.
ROUTES = PACKING + LABELS + PROGRESS + ACCURATE


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    """The caller's organisation holds the account at the bank: for others the gateway's routes do not exist."""
    return settings_of(migrated_url, tmp_path, akselgate_organisation=caller.organisation_id)


def every(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.id)


@pytest.fixture
async def things(plant: Plant) -> Things:
    return await things_of(plant)


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def test_the_table_names_every_route_and_who_calls_it(app: FastAPI) -> None:
    """Each proof that holds on every route takes its requests from that table."""
    documented = {
        f"{method.upper()} {path}": [name for scheme in operation.get("security", []) for name in scheme]
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }
    callers = {route.id: ["UserToken"] for route in FOR_USERS} | {route.id: ["MachineSecret"] for route in FOR_MACHINES}
    assert {name: callers for name, callers in documented.items() if callers not in ([], ["WebhookToken"])} == callers
    assert documented.keys() - callers.keys() == {route.id for route in FOR_ANYBODY + FOR_OTHER_SYSTEMS}


async def refusals(client: httpx2.AsyncClient, routes: list[Route], **changed: Any) -> set[tuple[int, str]]:
    """Status and slug of every route's answer: one pair, where all answer alike."""
    assert routes
    answers = [await NO_THINGS.send(client, route, **changed) for route in routes]
    return {(answer.status_code, slug(answer)) for answer in answers}


MANAGERS = [route for route in PACKING + LABELS if route.manager]
POSTS = [route for route in FOR_USERS if route.method == "POST"]


async def test_without_a_token_nothing_is_answered(client: httpx2.AsyncClient) -> None:
    del client.headers["Authorization"]
    assert await refusals(client, FOR_USERS + FOR_MACHINES) == {(401, "unauthenticated")}


async def test_a_user_is_no_machine(client: httpx2.AsyncClient) -> None:
    assert await refusals(client, FOR_MACHINES) == {(401, "unauthenticated")}


async def test_a_machine_is_no_user(cron: httpx2.AsyncClient) -> None:
    assert await refusals(cron, FOR_USERS) == {(401, "unauthenticated")}


async def test_an_operator_may_not_do_what_is_the_managers(operator: httpx2.AsyncClient) -> None:
    assert await refusals(operator, MANAGERS) == {(403, "missing-role")}


async def test_an_operator_may_do_the_rest(operator: httpx2.AsyncClient) -> None:
    answers = [await NO_THINGS.send(operator, route) for route in PACKING + LABELS if not route.manager]
    assert {answer.status_code for answer in answers} == {200, 404}


async def test_finance_has_no_business_at_the_packing_line(sign_in: SignIn, caller: Caller) -> None:
    finance = sign_in(Caller("f", caller.organisation_id, frozenset({Role.FINANCE})))
    assert await refusals(finance, PACKING + LABELS) == {(403, "missing-role")}


async def test_a_body_that_speaks_for_another_organisation_is_refused(client: httpx2.AsyncClient) -> None:
    assert await refusals(client, POSTS, manufacturer_org_id=str(uuid4())) == {(403, "other-organisation")}


async def test_a_body_that_speaks_for_another_user_is_refused(client: httpx2.AsyncClient) -> None:
    assert await refusals(client, POSTS, user_id="somebody else") == {(403, "other-user")}


DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]
NASTY: list[Any] = [
    None, True, -1, 0, 1.5, 10**30, "", " ", "\0", "\ud800", "a\nb", "\u202e", "x" * 5000, "NaN", "SKA9999999999-SKA1",
    "https://x/q/ABCDEFGHJKLM", [], {}, [None], [1], ["\0"], ["\ud800"], [["a"]], ["SKA000001-SKA999999"], DEEP,
    "2031-02-30", float("inf"),
]  # fmt: skip


@every([route for route in ROUTES if route.body])
async def test_no_value_of_any_field_is_a_defect(route: Route, things: Things, client: httpx2.AsyncClient) -> None:
    assert route.body is not None
    for name in route.body:
        for value in NASTY:
            body = json.loads(things(json.dumps(route.body))) | {name: value}
            answer = await client.request(
                route.method, things(route.path), content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code < 500, (name, value, answer.text)
            if answer.status_code == 422:
                pointers = [error["pointer"] for error in answer.json()["errors"]]
                assert pointers, (name, value, answer.text)
                assert all(pointer.startswith("/") for pointer in pointers), (name, value, answer.text)


async def test_a_field_left_out_is_pointed_at_or_not_needed(things: Things, client: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        for name in route.body or {}:
            rest = {key: value for key, value in (route.body or {}).items() if key != name}
            body = json.loads(things(json.dumps(rest)))
            answer = await client.request(route.method, things(route.path), json=body)
            assert answer.status_code < 500, (route.id, name)
            if answer.status_code == 422:
                pointers = [error["pointer"] for error in answer.json()["errors"]]
                # Of two fields that stand for each other, the first is named.
                assert f"/{name}" in pointers or pointers == ["/codes"], (route.id, name)


async def test_an_unknown_field_is_refused(client: httpx2.AsyncClient) -> None:
    for route in POSTS:
        answer = await NO_THINGS.send(client, route, exclude_code="SKA000001")
        assert answer.status_code == 422, route.id
        assert "/exclude_code" in [error["pointer"] for error in answer.json()["errors"]], route.id


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"null", b"7", b"{", b"\xff", b"[" * 50_000, b'{"a":' + b"9" * 5000 + b"}", "{}".encode("utf-16"),
        "{}".encode("utf-32-le"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_object_is_refused(content: bytes, client: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        # A reason of a replay and the time of a release may be left out, and so may all of that body.
        may_be_null = route.path.endswith(("{queue_id}/replay", "{batch_id}/release"))
        if route.body and not (content == b"null" and may_be_null):
            answer = await client.request(
                route.method, NO_THINGS(route.path), content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in (400, 422), route.id


async def test_a_repeated_key_is_refused_on_every_route(app: FastAPI, client: httpx2.AsyncClient) -> None:
    paths = {
        path
        for path, operations in app.openapi()["paths"].items()
        if "application/json" in operations.get("post", {}).get("requestBody", {}).get("content", {})
    }
    # Nothing that Accurate sends may be lost. Without an account at the gateway there is nothing there to send to: its
    # holder is told of the key by a test of tests/routers/akselgate/test_dispatches.py.
    elsewhere = {path for path in paths if path == "/webhook/accurate" or path.startswith("/api/akselgate/")}
    for path in paths - elsewhere:
        answer = await client.post(
            path, content=b'{"reason": "a", "reason": "b"}', headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, slug(answer)) == (422, "repeated-key"), path
    assert len(paths) > 10


BODIES: list[dict[str, Any]] = [
    {},
    {"content": b"", "headers": {"Content-Type": "application/json"}},
    {"content": b"{}", "headers": {"Content-Type": "application/json; charset=utf-99"}},
    {"content": b"\xff\0", "headers": {"Content-Type": "text/plain"}},
    {"content": b"a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
    {"content": b"{}", "headers": {"Content-Type": "application/;"}},
]


async def test_no_method_and_no_kind_of_body_is_a_defect(
    app: FastAPI, client: httpx2.AsyncClient, things: Things
) -> None:
    for template, operations in app.openapi()["paths"].items():
        path = things(template).format_map(defaultdict(lambda: "SKA000001"))
        declared = {method.upper() for method in operations}
        # Wrong methods that have a meaning are sent by the next test.
        for method in sorted(declared | {"HEAD", "OPTIONS", "PROPFIND"}):
            for sent in BODIES if method in declared else BODIES[:1]:
                answer = await client.request(method, path, **sent)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path, sent)
                if answer.status_code >= 400:
                    assert answer.headers["content-type"] == "application/problem+json", (method, path, sent)
                if answer.status_code == 405:
                    assert declared <= set(answer.headers["allow"].split(", ")), (method, path)
                    assert method not in declared, (method, path)


async def test_a_wrong_method_is_405_with_the_right_ones_also_where_a_parameter_would_take_the_word(
    app: FastAPI, client: httpx2.AsyncClient, things: Things
) -> None:
    """`GET …/events/replay` was a 422 of the event `replay`."""
    for template, operations in app.openapi()["paths"].items():
        path = things(template).format_map(defaultdict(lambda: "SKA000001"))
        # HEAD stands in no document.
        allowed = {method.upper() for method in operations} | (
            {"HEAD"} if template in {"/healthz", "/readyz"} else set()
        )
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - allowed:
            answer = await client.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert answer.headers["content-type"] == "application/problem+json", (method, path)
            assert set(answer.headers["allow"].split(", ")) == allowed, (method, path)


@pytest.mark.parametrize("wrong", ["9" * 30, "-1", "1e400", str(2**63), "0" * 32, "%2e%2e", "a" * 3000, "%25"])
async def test_no_value_in_a_path_is_a_defect(wrong: str, app: FastAPI, client: httpx2.AsyncClient) -> None:
    for template, operations in app.openapi()["paths"].items():
        for method in operations if "{" in template else ():
            path = template.format_map(defaultdict(lambda: wrong))
            for sent in BODIES[:2]:
                answer = await client.request(method.upper(), path, **sent)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path)


NASTY_TEXT = ("", "\0", "\ufffe", "-1", "0", "9" * 20, "0.05", "nan", "x" * 2000, "WzE4MDAwMDAwMDAwMDAwXQ", "Wy0xXQ")


async def test_no_value_in_a_query_is_a_defect(things: Things, client: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        for name in {*route.query, "cursor", "limit"} if route.query else ():
            for value in NASTY_TEXT:
                query = {key: things(text) for key, text in route.query.items()} | {name: value}
                answer = await client.get(things(route.path), params=query)
                assert answer.status_code in (200, 422), (route.id, name, value)
                if answer.status_code == 422:
                    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/query/{name}"]


async def test_a_mistyped_filter_is_refused_and_not_ignored(things: Things, client: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        if route.query:
            query = {key: things(text) for key, text in route.query.items()}
            answer = await client.get(things(route.path), params=query | {"stauts": "x"})
            assert answer.status_code == 422, route.id
            assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/stauts"]


@pytest.mark.parametrize("bad", ["x", "%00", "1", "%ED%A0%80", "00000000-0000-0000-0000-00000000000g"])
async def test_an_id_in_the_path_that_is_none_is_pointed_out(bad: str, client: httpx2.AsyncClient) -> None:
    for rest in ("", "/codes", "/cases", "/reconciliation", "/qr.svg", "/qr.png"):
        answer = await client.get(f"{API}/batches/{bad}{rest}")
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/path/batch_id"]


@pytest.mark.parametrize("bad", ["%00", "a%0Ab", "x" * 300, "%E2%80%AE", "%20"])
async def test_a_code_in_the_path_that_is_none_is_pointed_out(bad: str, client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{API}/trace/{bad}")
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/path/code"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/codes/void", "codes"), ("/codes/printed", "codes"), ("/codes/readmit", "codes"),
        ("/reverse-job/submit", "exclude_codes"), ("/link-to-master", "codes"), ("/unlink-from-master", "codes"),
    ],
)  # fmt: skip
async def test_a_list_of_more_than_100_000_codes_is_refused(
    path: str, name: str, things: Things, client: httpx2.AsyncClient
) -> None:
    route = next(route for route in ROUTES if route.path == API + path)
    many = [f"SKA{number:06d}" for number in range(1, 100_002)]
    more = {"master_code": None} if path.startswith("/unlink") else {}
    answer = await things.send(client, route, **{name: many}, **more)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


def test_every_operation_is_described_for_front_end_developers(app: FastAPI) -> None:
    document = app.openapi()
    operations = {
        f"{method.upper()} {path}": operation
        for path, by_method in document["paths"].items()
        for method, operation in by_method.items()
        if path.startswith(("/api/manufacturer", "/api/worker"))
    }
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert operation["security"], name
        good = next(answer for status, answer in operation["responses"].items() if status < "3")
        media = good["content"].get("application/json")
        assert media is None or media["schema"], name
    identities = [operation["operationId"] for operation in operations.values()]
    assert len(set(identities)) == len(identities)
    assert {"create_batch", "submit_reverse_job", "get_reverse_job", "pack_case", "run_reverse_job"} <= set(identities)
