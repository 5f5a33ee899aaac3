"""Intake over HTTP: exactly once, in order, and from allowed callers only."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from structlog.testing import capture_logs

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from process import settings_of
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.accurate.intake import Element, split_body
from qrtrack.domain.identity import Caller
from qrtrack.routers.client_addresses import client_address
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings
from ticking import HANG_SECONDS
from warm import SHELVES

ClientOf = Callable[..., httpx2.AsyncClient]

PATH = "/webhook/accurate"


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


@pytest.fixture
def sender(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> httpx2.AsyncClient:
    return client_of(app, runtime)


async def post(client: httpx2.AsyncClient, *events: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=list(events))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_the_answer_lists_ids_in_the_order_of_the_request(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    events = [event("SALES_INVOICE", uuid="z"), event("CUSTOMER", uuid=None), event("ITEM", uuid="a")]
    answer = await post(sender, *events)
    first, second, third = [row.id for row in await accurate.rows()]
    assert first < second < third
    assert answer == {
        "success": True,
        "queued": 3,
        "duplicates": 0,
        "invalid": 0,
        "queue_ids": [first, second, third],
        "results": [
            {
                "index": 0,
                "queue_id": first,
                "type": "SALES_INVOICE",
                "uuid": "z",
                "duplicate": False,
                "error_message": None,
            },
            {
                "index": 1,
                "queue_id": second,
                "type": "CUSTOMER",
                "uuid": None,
                "duplicate": False,
                "error_message": None,
            },
            {"index": 2, "queue_id": third, "type": "ITEM", "uuid": "a", "duplicate": False, "error_message": None},
        ],
    }


async def test_the_row_holds_the_element_as_received(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    text = '{"type":"ITEM",  "databaseId": 1443290, "uuid":"i-1", "odd": "\\u0000 \\ud800", "n": 1e999, "data":[]}'
    answer = await sender.post(PATH, content=f"[{text}]".encode())
    assert answer.status_code == 200
    (row,) = await accurate.rows()
    assert (row.payload, row.type, row.database_id, row.uuid) == (text, "ITEM", DATABASE, "i-1")
    assert (row.status, row.attempts, row.error) == ("pending", 0, None)


async def test_a_single_object_is_accepted(sender: httpx2.AsyncClient) -> None:
    answer = await sender.post(PATH, json=event())
    assert answer.json()["queued"] == 1


async def test_an_empty_array_is_accepted_and_stores_nothing(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    assert (await post(sender))["queue_ids"] == []
    assert await accurate.rows() == []


async def test_a_known_uuid_is_answered_with_its_first_id(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    first, other = event(uuid="inv-1"), event(uuid="inv-2")
    (queue_id,) = (await post(sender, first))["queue_ids"]
    answer = await post(sender, other, first)
    assert (answer["queued"], answer["duplicates"], answer["queue_ids"][1]) == (1, 1, queue_id)
    assert [result["duplicate"] for result in answer["results"]] == [False, True]
    assert len(await accurate.rows()) == 2


async def test_a_uuid_twice_in_one_request_is_one_row(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    twin = event(uuid="inv-1")
    answer = await post(sender, twin, event(uuid="inv-2"), twin)
    assert answer["queue_ids"][0] == answer["queue_ids"][2]
    assert (answer["queued"], answer["duplicates"]) == (2, 1)
    assert len(await accurate.rows()) == 2


async def test_a_second_content_for_one_uuid_in_a_request_is_a_conflict(
    sender: httpx2.AsyncClient, accurate: Accurate
) -> None:
    (known,) = (await post(sender, event(uuid="b-1")))["queue_ids"]
    nameless = event(uuid=None)
    answer = await post(
        sender, nameless, event(uuid="z-1", note="one"), nameless, event(uuid="z-1", note="two"),
        event(uuid="b-1", note="three"), nameless, event(uuid="a-1"),
    )  # fmt: skip
    one, twin, other = answer["queue_ids"][1], answer["queue_ids"][3], answer["queue_ids"][4]
    assert (one == twin, other) == (True, known)
    new = [result["queue_id"] for result in answer["results"] if not result["duplicate"]]
    assert (new, len(set(new))) == (sorted(new), 5)
    stored = {row.id: row for row in await accurate.rows()}
    assert [stored[queue_id].uuid for queue_id in new] == [None, "z-1", None, None, "a-1"]
    assert json.loads(stored[one].payload)["note"] == "one"
    conflicts = await accurate.sql("SELECT queue_id, payload FROM webhook_conflicts ORDER BY id")
    assert {row.queue_id: json.loads(row.payload)["note"] for row in conflicts} == {one: "two", known: "three"}


async def test_a_hundred_concurrent_identical_requests_store_one_row(
    sender: httpx2.AsyncClient, accurate: Accurate
) -> None:
    body = event("CUSTOMER", uuid="c-1")
    answers = await asyncio.gather(*(post(sender, body) for _ in range(100)))
    assert len({answer["queue_ids"][0] for answer in answers}) == 1
    assert sum(answer["queued"] for answer in answers) == 1
    assert len(await accurate.rows()) == 1


async def test_two_concurrent_requests_that_share_an_event_store_three_rows(
    sender: httpx2.AsyncClient, accurate: Accurate
) -> None:
    shared = event("SALES_INVOICE", uuid="inv-001")
    both = await asyncio.gather(
        post(sender, shared, event("SALES_RECEIPT", uuid="rec-001")),
        post(sender, shared, event("SALES_RECEIPT", uuid="rec-002")),
    )
    assert sorted(row.uuid for row in await accurate.rows()) == ["inv-001", "rec-001", "rec-002"]
    assert both[0]["queue_ids"][0] == both[1]["queue_ids"][0]


async def test_requests_with_the_same_uuids_in_other_orders_do_not_deadlock(
    sender: httpx2.AsyncClient, accurate: Accurate, runtime: Runtime
) -> None:
    """Both wait half way for a uuid that a third transaction holds."""
    first, middle, last = (event(uuid=uuid) for uuid in "amz")
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with runtime.database.engine.connect() as third:
        await third.exec_driver_sql(
            "INSERT INTO webhook_queue (type, uuid, payload, status) VALUES ('ITEM', 'm', '{}', 'unassigned')"
        )
        orders = ((first, middle, last), (last, middle, first))
        both = asyncio.gather(*(post(sender, *order) for order in orders))
        while len(await accurate.sql(waiting)) < len(orders):
            await asyncio.sleep(0.01)
        await third.rollback()
    assert sorted(answer["duplicates"] for answer in await both) == [0, 3]
    assert len(await accurate.rows()) == 3


@pytest.mark.parametrize("uuid", [None, "", 5, ["x"], "x" * 300])
async def test_events_without_a_usable_uuid_are_never_merged(
    sender: httpx2.AsyncClient, accurate: Accurate, uuid: Any
) -> None:
    body = event() | {"uuid": uuid}
    answer = await post(sender, body, body)
    assert answer["queued"] == 2
    assert [row.uuid for row in await accurate.rows()] == [None, None]


async def test_other_content_under_a_known_uuid_is_stored_as_a_conflict_and_counted(
    sender: httpx2.AsyncClient, accurate: Accurate, caller: Caller
) -> None:
    (queue_id,) = (await post(sender, event(uuid="c-1", note="first")))["queue_ids"]
    other = event(uuid="c-1", note="other")
    for others in ((other,), (other, other)):
        answer = await post(sender, *others)
        assert set(answer["queue_ids"]) == {queue_id}
    (row,) = await accurate.rows()
    assert json.loads(row.payload)["note"] == "first"
    (conflict,) = await accurate.sql("SELECT * FROM webhook_conflicts")
    assert (conflict.queue_id, conflict.times, conflict.manufacturer_org_id) == (queue_id, 3, caller.organisation_id)
    assert json.loads(conflict.payload)["note"] == "other"


async def test_another_order_of_keys_is_not_a_conflict(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    one = event(uuid="c-1")
    await post(sender, one)
    await sender.post(PATH, content=json.dumps(dict(reversed(one.items())), indent=3).encode())
    assert await accurate.sql("SELECT * FROM webhook_conflicts") == []


async def test_an_element_that_is_not_an_event_is_stored_as_invalid(
    sender: httpx2.AsyncClient, accurate: Accurate
) -> None:
    answer = await post(sender, 5, event(), {"databaseId": DATABASE, "uuid": "no-type"}, "text", None)
    assert (answer["queued"], answer["invalid"], answer["duplicates"]) == (1, 4, 0)
    assert await accurate.statuses() == ["invalid", "pending", "invalid", "invalid", "invalid"]
    assert [row.payload for row in await accurate.rows()][::4] == ["5", "null"]
    assert answer["results"][2]["error_message"] == "It has no type."


async def test_an_event_of_an_unmapped_database_is_unassigned(
    sender: httpx2.AsyncClient, accurate: Accurate, caller: Caller
) -> None:
    await post(sender, event(databaseId=STRANGE_DATABASE), event(databaseId=None), event())
    assert await accurate.statuses() == ["unassigned", "unassigned", "pending"]
    assert [row.manufacturer_org_id for row in await accurate.rows()] == [None, None, caller.organisation_id]


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[{]", b'["\xff"]'])
async def test_a_body_that_is_not_json_is_refused_and_logged(
    sender: httpx2.AsyncClient, accurate: Accurate, body: bytes
) -> None:
    with capture_logs() as logs:
        answer = await sender.post(PATH, content=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:qrtrack:problem:invalid-json"
    assert any("not JSON" in line["event"] for line in logs)
    assert await accurate.rows() == []


async def test_a_body_over_the_cap_is_refused_before_it_is_read(sender: httpx2.AsyncClient) -> None:
    answer = await sender.post(PATH, content=b"[" + b" " * (16 * 1024 * 1024) + b"]")
    assert answer.status_code == 413


async def test_a_body_with_too_many_elements_is_refused_and_not_stored(
    sender: httpx2.AsyncClient, accurate: Accurate
) -> None:
    with patch("qrtrack.domain.accurate.intake.MOST_ELEMENTS", 3):
        assert (await sender.post(PATH, json=[event() for _ in range(3)])).status_code == 200
        answer = await sender.post(PATH, json=[event() for _ in range(4)])
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:qrtrack:problem:body-too-large")
    assert len(await accurate.rows()) == 3


async def test_a_long_body_is_parsed_off_the_event_loop(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    readers: set[str] = set()

    def watched(body: bytes) -> Iterator[Element]:
        readers.add(threading.current_thread().name)
        return split_body(body)

    with patch("qrtrack.services.accurate.intake.split_body", watched):
        await post(sender, *(event("ITEM", uuid=f"i-{number}") for number in range(1000)))
        await post(sender, event("ITEM", uuid="short"))
    assert readers == {"webhook-bodies_0", threading.main_thread().name}
    assert len(await accurate.rows()) == 1001


async def test_deep_nesting_and_huge_numbers_are_stored(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    deep = b'{"type": "ITEM", "d": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    huge = b'{"type": "ITEM", "databaseId": ' + b"9" * 100_000 + b"}"
    answer = await sender.post(PATH, content=b"[" + deep + b"," + huge + b"]")
    assert answer.status_code == 200
    assert await accurate.statuses() == ["invalid", "unassigned"]


async def test_an_array_of_a_thousand_events_is_one_transaction(sender: httpx2.AsyncClient, accurate: Accurate) -> None:
    events = [event("ITEM", uuid=f"i-{number:04}") for number in range(1000, 0, -1)]
    answer = await post(sender, *events)
    rows = await accurate.sql("SELECT uuid, xmin::text AS writer FROM webhook_queue ORDER BY id")
    assert [row.uuid for row in rows] == [one["uuid"] for one in events]
    assert len({row.writer for row in rows}) == 1
    assert answer["queued"] == 1000


async def test_each_step_of_a_request_is_logged(sender: httpx2.AsyncClient) -> None:
    first = event("SALES_INVOICE", uuid="inv-1")
    (queue_id,) = (await post(sender, first))["queue_ids"]
    with capture_logs() as logs:
        answer = await post(sender, event("CUSTOMER", uuid="c-1"), first)
    lines = [line for line in logs if line["event"] != "request"]
    new = answer["queue_ids"][0]
    assert [(line["event"], line.get("queue_id")) for line in lines] == [
        ("received", None),
        ("queued 1/2", new),
        ("Duplicate detected", queue_id),
        ("finished", None),
    ]
    assert (lines[0]["types"], lines[0]["count"]) == (["CUSTOMER", "SALES_INVOICE"], 2)
    assert (lines[1]["type"], lines[1]["uuid"]) == ("CUSTOMER", "c-1")
    assert lines[2]["uuid"] == "inv-1"
    assert lines[3]["queue_ids"] == [new, queue_id]


async def test_the_lines_of_the_events_are_logged_after_the_answer(app: FastAPI, runtime: Runtime) -> None:
    before_the_end: list[list[str]] = []

    with capture_logs() as logs:

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def send_and_look(message: Any) -> None:
                await send(message)
                before_the_end.append([line["event"] for line in logs])

            await app({**scope, "state": {"runtime": runtime}}, receive, send_and_look)

        transport = httpx2.ASGITransport(watched)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.post(PATH, json=[event("ITEM", uuid="i-1")])).status_code == 200
    assert before_the_end[-1] == ["received"]
    assert [line["event"] for line in logs] == ["received", "queued 1/1", "finished", "request"]


async def test_without_the_database_the_answer_is_503_at_once(
    app: FastAPI, runtime: Runtime, client_of: ClientOf
) -> None:
    gone = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", pool_size=1)

    class Gone:
        database = gone
        settings = runtime.settings
        webhook_wake_ups = runtime.webhook_wake_ups
        bodies = runtime.bodies
        forwarder = None

    async with asyncio.timeout(HANG_SECONDS):
        answer = await client_of(app, Gone()).post(PATH, json=[event()])
    await gone.close()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


async def test_connections_that_died_in_the_pool_are_replaced(runtime: Runtime, accurate: Accurate) -> None:
    await accurate.send(event())
    async with runtime.database.engine.connect() as other:
        await other.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    async with asyncio.timeout(HANG_SECONDS):
        # A new connection may come from the shelf: it was killed too.
        while not all(one.is_closed() for one in chain(runtime.database.webhooks._idle, *SHELVES.values())):
            await asyncio.sleep(0.01)
    receipts = await accurate.send(event())
    assert receipts[0].queued


async def test_a_connection_that_dies_during_a_request_leaves_the_pool(runtime: Runtime, accurate: Accurate) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with runtime.database._driver(apart=True) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert (await accurate.send(event()))[0].queued


TOKENS = {"accurate_webhook_token": "first-token-of-two, second-token-of-two"}


@pytest.mark.parametrize(
    ("changes", "request_headers", "peer", "status"),
    [
        ({}, {}, "127.0.0.1", 200),
        ({}, {}, "::1", 200),
        ({}, {}, "203.0.113.9", 503),
        ({}, {"X-Forwarded-For": "203.0.113.9"}, "127.0.0.1", 503),
        ({}, {"X-Forwarded-For": "127.0.0.1"}, "127.0.0.1", 503),
        ({"trusted_proxies": 1}, {"X-Forwarded-For": "127.0.0.1"}, "127.0.0.1", 200),
        ({"qrtrack_env": "production"}, {}, "127.0.0.1", 503),
        (TOKENS, {}, "127.0.0.1", 401),
        (TOKENS, {"X-Webhook-Token": "first-token-of-two"}, "203.0.113.9", 200),
        (TOKENS, {"X-Webhook-Token": "second-token-of-two"}, "203.0.113.9", 200),
        (TOKENS, {"Authorization": "Bearer second-token-of-two"}, "203.0.113.9", 200),
        (TOKENS, {"X-Webhook-Token": "first-token-of-tw"}, "203.0.113.9", 401),
        (TOKENS, {"X-Webhook-Token": "first-token-of-two, second-token-of-two"}, "203.0.113.9", 401),
        (TOKENS, {"X-Webhook-Token": "ü".encode()}, "203.0.113.9", 401),
        (TOKENS, {"Authorization": "Basic second-token-of-two"}, "203.0.113.9", 401),
        ({"accurate_allowed_ips": "203.0.113.0/24"}, {}, "203.0.113.9", 200),
        ({"accurate_allowed_ips": "203.0.113.0/24"}, {}, "::ffff:203.0.113.9", 200),
        ({"accurate_allowed_ips": "203.0.113.0/24"}, {}, "127.0.0.1", 403),
        ({"accurate_allowed_ips": "203.0.113.0/24"}, {"X-Forwarded-For": "203.0.113.9"}, "198.51.100.1", 403),
        ({"accurate_allowed_ips": "203.0.113.9", **TOKENS}, {}, "203.0.113.9", 401),
        ({"accurate_allowed_ips": "203.0.113.9", **TOKENS}, {"X-Webhook-Token": "first-token-of-two"}, "::1", 403),
        (
            {"accurate_allowed_ips": "203.0.113.9", "trusted_proxies": 1},
            {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}, "10.0.0.1", 200,
        ),
        (
            {"accurate_allowed_ips": "203.0.113.9", "trusted_proxies": 1},
            {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}, "10.0.0.1", 403,
        ),
        (
            {"accurate_allowed_ips": "203.0.113.9", "trusted_proxies": 2},
            {"X-Forwarded-For": "203.0.113.9, 10.0.0.2"}, "10.0.0.1", 200,
        ),
        ({"accurate_allowed_ips": "203.0.113.9", "trusted_proxies": 1}, {}, "203.0.113.9", 403),
        ({"accurate_allowed_ips": "203.0.113.9", "trusted_proxies": 1}, {"X-Forwarded-For": "x"}, "10.0.0.1", 403),
        ({"trusted_proxies": 1}, {"X-Forwarded-For": "203.0.113.9"}, "127.0.0.1", 503),
    ],
)  # fmt: skip
async def test_a_sender_is_accepted_by_address_and_token(  # noqa: PLR0917 - pytest calls it by names
    app: FastAPI, runtime: Runtime, changes: dict[str, Any], request_headers: dict[str, Any], peer: str, status: int
) -> None:
    answer = await send_as(app, runtime, changes, peer, headers=request_headers)
    assert answer.status_code == status


IPV4, IPV6 = "203.0.113.7", "2001:db8::7"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        (IPV4, IPV4), (f"{IPV4}:51008", IPV4), (f'"{IPV4}:51008"', IPV4), (f'"{IPV4}"', IPV4), (f" {IPV4} ", IPV4),
        (f"\t{IPV4}:80", IPV4), (f"::ffff:{IPV4}", IPV4), (f"[::ffff:{IPV4}]:443", IPV4), ("::FFFF:cb00:7107", IPV4),
        (IPV6, IPV6), (f"[{IPV6}]", IPV6), (f"[{IPV6}]:51008", IPV6), (f'"[{IPV6}]:51008"', IPV6),
        ("2001:DB8:0:0:0:0:0:7", IPV6), ("fe80::1%eth0", "fe80::1"), ("[fe80::1%25eth0]:51008", "fe80::1"),
        (f"evil, {IPV4}:51008", IPV4), (f"{IPV4}, 198.51.100.1:1", "198.51.100.1"),
    ],
)  # fmt: skip
def test_a_forwarded_address_is_read_in_every_notation_of_proxies(entry: str, address: str) -> None:
    assert str(forwarded(entry)) == address


@pytest.mark.parametrize(
    "entry",
    [
        "", " ", "unknown", "_hidden", f"{IPV4}:", f"{IPV4}:x", f"{IPV4}:123456", f"{IPV4}:1:2", f"[{IPV4}", f"{IPV6}]",
        f"[{IPV6}]x", f"[{IPV6}]:", '"', '""', f'"{IPV4}', f'{IPV4}"', "203.0.113.007", "203.0.113", "203.0.113.256",
        "3405803783", "0xcb007107", f"for={IPV4}", f"http://{IPV4}", "[]", "[]:1", "[:::]", ":::", "1:2", "::g", "%",
        "::1%", f"::ffff:{IPV4}:443", f"{IPV4}\u0660".encode(), b"\xff", f"{IPV4}, ", "1" * 60_000, f"{IPV4}%eth0",
        f"{IPV4}/32",
    ],
)  # fmt: skip
def test_a_forwarded_entry_that_is_not_an_address_is_none(entry: str | bytes) -> None:
    assert forwarded(entry) is None


def forwarded(entry: str | bytes) -> object:
    """The caller behind one trusted proxy that sends this entry."""
    value = entry.encode("latin-1") if isinstance(entry, str) else entry
    scope = {"type": "http", "headers": [(b"x-forwarded-for", value)], "client": ("10.0.0.1", 5)}
    return client_address(Request(scope), 1)


@pytest.mark.parametrize(
    ("allowed", "entry", "status"),
    [
        ("203.0.113.0/24", '"203.0.113.7:51008"', 200), ("2001:db8::/32", "[2001:db8::7]:51008", 200),
        ("::ffff:203.0.113.0/120", "203.0.113.7:51008", 200), ("::ffff:203.0.113.7", "::ffff:203.0.113.7", 200),
        ("::ffff:203.0.113.0/120", "203.0.114.7", 403), ("203.0.113.0/24", "203.0.113.7:x", 403),
    ],
)  # fmt: skip
async def test_networks_are_matched_with_the_parsed_address(
    app: FastAPI, runtime: Runtime, allowed: str, entry: str, status: int
) -> None:
    changes = {"accurate_allowed_ips": allowed, "trusted_proxies": 1}
    answer = await send_as(app, runtime, changes, "10.0.0.1", headers={"X-Forwarded-For": entry})
    assert answer.status_code == status


async def test_a_token_in_the_query_is_accepted_and_never_logged(app: FastAPI, runtime: Runtime) -> None:
    with capture_logs() as logs:
        answer = await send_as(app, runtime, TOKENS, "203.0.113.9", query="?token=first-token-of-two")
        refused = await send_as(app, runtime, TOKENS, "203.0.113.9", query="?token=another-token")
    assert (answer.status_code, refused.status_code) == (200, 401)
    assert "token-of-two" not in repr(logs)
    assert "another-token" not in repr(logs)


async def send_as(
    app: FastAPI, runtime: Runtime, changes: dict[str, Any], peer: str, *, query: str = "", headers: Any = None
) -> httpx2.Response:
    class Changed:
        database = runtime.database
        webhook_wake_ups = runtime.webhook_wake_ups
        bodies = runtime.bodies
        forwarder = None
        settings = settings_of("postgresql://unused", Path(), **changes)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"runtime": Changed()}}, receive, send)

    transport = httpx2.ASGITransport(with_state, client=(peer, 1234))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(PATH + query, json=[], headers=headers)
