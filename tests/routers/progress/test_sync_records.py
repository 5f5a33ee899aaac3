"""Reports and failures of records over HTTP."""

import asyncio
from typing import Any

import httpx2
import pytest

from fanout import announce, bad, good


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_a_surplus_is_named_and_nothing_is_counted(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    await client.post(f"{url}/records", json=good(1, 2, 3))
    answer = await client.post(f"{url}/records", json=good(4, 5, 3, 6))
    assert (answer.status_code, slug(answer)) == (409, "surplus-records")
    problem = answer.json()
    assert [problem[name] for name in ("surplus", "keys", "total_records", "processed_records")] == [
        2,
        ["5", "6"],
        4,
        3,
    ]
    assert (await client.get(url)).json()["processed_records"] == 3


async def test_late_reports_are_refused_with_the_state_of_the_batch(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    await client.post(f"{url}/records", json=good(1))
    assert (await client.post(f"{url}/cancel")).json()["status"] == "cancelled"
    late = await client.post(f"{url}/records", json=good(1, 2))
    assert (late.status_code, slug(late), late.json()["state"]) == (409, "progress-cancelled", "cancelled")
    known = await client.post(f"{url}/records", json=good(1))
    assert (known.status_code, known.json()["repeated"], known.json()["status"]) == (200, 1, "cancelled")
    again = await client.post(f"{url}/cancel")
    assert (again.status_code, slug(again)) == (409, "invalid-state")


async def test_failures_are_paged_in_the_order_of_recording(client: httpx2.AsyncClient) -> None:
    url = await announce(client, 10)
    keys = ["z", "日" * 255, "👍" * 255, "a", '"' * 255]
    for key in keys:
        assert (await client.post(f"{url}/records", json=bad(key))).status_code == 200
    await client.post(f"{url}/records", json=good("fine"))
    seen, cursor = [], None
    while True:
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"{url}/failures", params=query)).json()
        seen += page["failures"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [failure["key"] for failure in seen] == keys
    assert (seen[0]["error"], set(seen[0])) == ("timeout", {"key", "error", "recorded_at"})


async def test_a_report_sent_twenty_times_at_once_is_counted_once(client: httpx2.AsyncClient) -> None:
    url = await announce(client)
    answers = await asyncio.gather(
        *(client.post(f"{url}/records", json=good(1), headers={"Idempotency-Key": "run-7"}) for _ in range(20))
    )
    accepted = [answer.json()["accepted"] for answer in answers if answer.status_code == 200]
    assert set(accepted) == {1}
    assert {slug(answer) for answer in answers if answer.status_code != 200} <= {"idempotency-key-in-use"}
    assert (await client.get(url)).json()["processed_records"] == 1


@pytest.mark.parametrize(
    ("records", "pointer"),
    [
        ([], "/records"),
        (None, "/records"),
        ([{"key": str(number), "success": True} for number in range(1001)], "/records"),
        ([{"key": "a"}], "/records/0/success"),
        ([{"success": True}], "/records/0/key"),
        ([{"key": "a", "success": True}, {"key": "", "success": True}], "/records/1/key"),
        ([{"key": "x" * 256, "success": True}], "/records/0/key"),
        ([{"key": "a\0", "success": True}], "/records/0/key"),
        ([{"key": 7, "success": True}], "/records/0/key"),
        ([{"key": "a", "success": "true"}], "/records/0/success"),
        ([{"key": "a", "success": 1}], "/records/0/success"),
        ([{"key": "a", "success": False, "error": "x" * 2001}], "/records/0/error"),
        ([{"key": "a", "success": False, "error": "\0"}], "/records/0/error"),
        ([{"key": "a", "success": False, "eror": "x"}], "/records/0/eror"),
    ],
)
async def test_an_invalid_report_is_refused_with_a_pointer(
    client: httpx2.AsyncClient, records: Any, pointer: str
) -> None:
    url = await announce(client)
    answer = await client.post(f"{url}/records", json={"records": records})
    assert (answer.status_code, pointers(answer)) == (422, [pointer])
    assert (await client.get(url)).json()["processed_records"] == 0


async def test_a_thousand_records_are_one_report(client: httpx2.AsyncClient) -> None:
    url = await announce(client, 1000)
    answer = await client.post(f"{url}/records", json=good(*range(1000)))
    assert (answer.json()["accepted"], answer.json()["status"]) == (1000, "completed")


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "WyJhIl0", "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwiayJd", "WyIyMDI2LTAxLTAxIiwiayJd"]
)
async def test_an_invalid_cursor_is_refused_with_a_pointer(client: httpx2.AsyncClient, cursor: str) -> None:
    url = await announce(client)
    answer = await client.get(f"{url}/failures", params={"cursor": cursor})
    assert (answer.status_code, pointers(answer)) == (422, ["/query/cursor"])
