"""Progress batches over HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from fanout import API, announce, bad, good
from qrtrack.domain.identity import Caller, Role
from qrtrack.schemas.base import LONGEST_WAIT
from ticking import HANG_SECONDS

SignIn = Callable[[Caller], httpx2.AsyncClient]

RECALCULATE = "/api/progress/recalculate"
KEY = {"Idempotency-Key": "run-7"}


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_announcing_a_batch_answers_its_status_url(client: httpx2.AsyncClient) -> None:
    answer = await client.post(API, json={"name": " Price list ", "total_records": 1037, "kind": "prices"})
    made = answer.json()
    url = f"{API}/{made['batch_id']}"
    assert (answer.status_code, answer.headers["location"]) == (201, url)
    assert made == {
        "success": True, "batch_id": made["batch_id"], "status": "pending", "total_records": 1037, "status_url": url,
    }  # fmt: skip
    batch = (await client.get(url)).json()
    assert (batch["name"], batch["kind"]) == ("Price list", "prices")


async def test_a_fan_out_from_its_first_record_to_its_last(client: httpx2.AsyncClient, caller: Caller) -> None:
    url = await announce(client)
    first = await client.post(f"{url}/records", json=good("a") | {"user_id": caller.user_id})
    assert first.json() == {
        "success": True, "batch_id": url.rpartition("/")[2], "accepted": 1, "repeated": 0, "status": "processing",
        "processed_records": 1, "total_records": 4, "progress_percentage": 25,
    }  # fmt: skip
    middle = (await client.get(url)).json()
    assert (middle["status"], middle["progress_percentage"], middle["summary"]) == ("processing", 25, None)
    assert middle["eta_seconds"] is not None
    await client.post(f"{url}/records", json=bad("b"))
    last = await client.post(f"{url}/records", json=good("a", "b", "c", "d"))
    assert [last.json()[name] for name in ("accepted", "repeated", "status")] == [2, 2, "completed"]
    batch = (await client.get(url)).json()
    expected = {
        "success": True, "batch_id": url.rpartition("/")[2], "name": "Price list", "kind": "sync",
        "status": "completed", "total_records": 4, "processed_records": 4, "success_count": 3, "failed_records": 1,
        "progress_percentage": 100, "eta_seconds": None, "created_by": caller.user_id,
    }  # fmt: skip
    assert {name: batch[name] for name in expected} == expected
    assert batch["created_at"] <= batch["started_at"] <= batch["finished_at"]
    assert batch["summary"]["first_failures"] == [{"key": "b", "error": "timeout"}]


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_reports_and_looks(sign_in: SignIn, caller: Caller, role: Role) -> None:
    client = sign_in(Caller("somebody", caller.organisation_id, frozenset({role})))
    url = await announce(client)
    assert (await client.post(f"{url}/records", json=good(1))).status_code == 200
    assert (await client.get(url)).status_code == 200
    assert (await client.get(f"{url}/failures")).status_code == 200
    assert (await client.post(f"{url}/cancel")).json()["status"] == "cancelled"


async def test_callers_without_a_user_token_or_a_role_are_refused(
    client: httpx2.AsyncClient, cron: httpx2.AsyncClient, sign_in: SignIn, caller: Caller
) -> None:
    url = await announce(client)
    nobody = sign_in(Caller("x", caller.organisation_id, frozenset()))
    order = {"name": "x", "total_records": 1}
    for who, expected in ((cron, 401), (nobody, 403)):
        for answer in (
            await who.post(API, json=order),
            await who.post(f"{url}/records", json=good(1)),
            await who.get(url),
            await who.get(f"{url}/failures"),
            await who.post(f"{url}/cancel"),
        ):
            assert answer.status_code == expected
    assert (await client.post(RECALCULATE)).status_code == 401


@pytest.mark.parametrize("whose", ["another", "nobody"])
async def test_a_batch_of_another_organisation_answers_404_like_an_unknown_one(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, whose: str
) -> None:
    url = await announce(client)
    await client.post(f"{url}/records", json=bad("a"))
    asked = url if whose == "another" else f"{API}/{uuid4()}"
    who = stranger if whose == "another" else client
    for answer in (
        await who.get(asked),
        await who.get(asked, params={"wait": 5}),
        await who.get(f"{asked}/failures"),
        await who.post(f"{asked}/records", json=good("a")),
        await who.post(f"{asked}/records", json=good("b")),
        await who.post(f"{asked}/records", json=good("b"), headers=KEY),
        await who.post(f"{asked}/cancel"),
    ):
        assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert (await client.get(url)).json()["processed_records"] == 1


async def test_a_long_poll_answers_as_soon_as_a_record_is_in(client: httpx2.AsyncClient) -> None:
    url = await announce(client)

    async def report() -> None:
        await asyncio.sleep(0.3)
        await client.post(f"{url}/records", json=good(1))

    answer, _ = await asyncio.gather(client.get(url, params={"wait": LONGEST_WAIT}), report())
    assert answer.json()["processed_records"] == 1


async def test_a_long_poll_without_a_change_ends_at_its_limit(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    answer = await asyncio.wait_for(client.get(url, params={"wait": 0.3}), HANG_SECONDS)
    assert answer.json()["status"] == "pending"


async def test_a_long_poll_of_an_ended_batch_answers_at_once(client: httpx2.AsyncClient) -> None:
    url = await announce(client, 1)
    await client.post(f"{url}/records", json=good(1))
    answer = await asyncio.wait_for(client.get(url, params={"wait": LONGEST_WAIT}), LONGEST_WAIT)
    assert answer.json()["status"] == "completed"


async def test_requests_with_the_same_idempotency_key_take_effect_once(client: httpx2.AsyncClient) -> None:
    order = {"name": "Price list", "total_records": 4}
    url = await announce(client)
    for path, body in ((API, order), (f"{url}/records", good(1, 2)), (f"{url}/cancel", None)):
        first, second = [await client.post(path, json=body, headers=KEY) for _ in range(2)]
        assert first.status_code in (200, 201), first.text
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers.get("location") == first.headers.get("location")
        assert second.headers["idempotency-replayed"] == "true"
    assert (await client.get(url)).json()["processed_records"] == 2
    other = await client.post(f"{url}/records", json=good(3), headers=KEY)
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "   "}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": None}, "/name"),
        ({"total_records": 0}, "/total_records"),
        ({"total_records": -1}, "/total_records"),
        ({"total_records": 10_000_001}, "/total_records"),
        ({"total_records": "5"}, "/total_records"),
        ({"total_records": 1.5}, "/total_records"),
        ({"total_records": True}, "/total_records"),
        ({"kind": "x" * 256}, "/kind"),
        ({"totalrecords": 5}, "/totalrecords"),
    ],
)
async def test_an_invalid_announcement_is_refused_with_a_pointer(
    client: httpx2.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(API, json={"name": "x", "total_records": 5} | change)
    assert (answer.status_code, pointers(answer)) == (422, [pointer])


DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]
NASTY: list[Any] = [None, True, -1, 10**30, 1.5, "", "\ud800", "\0", "x" * 5000, [], {}, [None], [[]], DEEP]


async def test_no_value_of_any_field_is_a_defect(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    record = {"key": "a", "success": True, "error": None}
    bodies: list[tuple[str, Any]] = []
    for value in NASTY:
        bodies += [(API, {"name": "x", "total_records": 5, "kind": "y"} | {name: value}) for name in ("name", "kind")]
        bodies += [(API, {"name": "x", "total_records": value}), (f"{url}/records", {"records": value})]
        bodies += [(f"{url}/records", {"records": [record | {name: value}]}) for name in record]
        bodies += [(path, value) for path in (API, f"{url}/records")]
    for path, body in bodies:
        answer = await client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
        if answer.status_code == 422:
            assert all(pointer.startswith("/") or pointer == "" for pointer in pointers(answer)), (path, body)


async def test_invalid_queries_and_ids_are_refused_with_a_pointer(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    for wait in ("-1", "31", "nan", "x", ""):
        answer = await client.get(url, params={"wait": wait})
        assert (answer.status_code, pointers(answer)) == (422, ["/query/wait"])
    answer = await client.get(f"{API}/7")
    assert (answer.status_code, pointers(answer)) == (422, ["/path/batch_id"])


async def test_batches_are_listed_newest_first_by_pages_and_by_state(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    urls = [await announce(client) for _ in range(3)]
    await client.post(f"{urls[1]}/records", json=good("a"))
    first = (await client.get(API, params={"limit": 2})).json()
    rest = (await client.get(API, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    listed = [f"{API}/{batch['batch_id']}" for batch in first["batches"] + rest["batches"]]
    assert (listed, rest["next_cursor"]) == (urls[::-1], None)
    running = (await client.get(API, params={"status": "processing"})).json()["batches"]
    one = (await client.get(urls[1])).json()
    assert running == [{name: value for name, value in one.items() if name != "success"}]
    assert (await stranger.get(API)).json()["batches"] == []


def test_every_operation_is_described_for_front_end_developers(app: FastAPI) -> None:
    paths = {path: by for path, by in app.openapi()["paths"].items() if path.startswith("/api/progress")}
    assert {f"{method.upper()} {path}" for path, by in paths.items() for method in by} == {
        f"GET {API}",
        f"POST {API}",
        f"GET {API}/{{batch_id}}",
        f"POST {API}/{{batch_id}}/records",
        f"GET {API}/{{batch_id}}/failures",
        f"POST {API}/{{batch_id}}/cancel",
        f"POST {RECALCULATE}",
    }
    for by_method in paths.values():
        for operation in by_method.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation["security"]
