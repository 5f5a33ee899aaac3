"""Events and replays over HTTP."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from plant import killed_at
from process import settings_of
from qrtrack.domain import matching
from qrtrack.domain.accurate.documents import TYPES, DocumentType
from qrtrack.domain.identity import Caller, Role
from qrtrack.repositories.accurate.replays import WebhookReplayRepository
from qrtrack.runtime import Runtime
from qrtrack.services.accurate import replays
from qrtrack.services.accurate.intake import receive_events
from qrtrack.settings import Settings

SignIn = Callable[[Caller], httpx2.AsyncClient]

EVENTS = "/api/accurate/events"
DOCUMENTS = "/api/accurate/documents"


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


async def test_events_are_listed_newest_first_by_pages(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    receipts = await accurate.send(*(event(uuid=f"e-{number}") for number in range(5)))
    ids = [receipt.queue_id for receipt in receipts][::-1]
    first = (await client.get(EVENTS, params={"limit": 3})).json()
    rest = (await client.get(EVENTS, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["queue_id"] for one in first["events"] + rest["events"]] == ids
    assert rest["next_cursor"] is None
    assert first["events"][0] | {"created_at": None, "updated_at": None} == {
        "queue_id": ids[0], "type": "SALES_INVOICE", "database_id": DATABASE, "uuid": "e-4", "status": "pending",
        "attempts": 0, "error_message": None, "note": None, "forward_status": None, "forward_attempts": 0,
        "forward_error_message": None, "created_at": None, "updated_at": None, "finished_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "uuids"),
    [
        ({"status": "invalid"}, ["no-type"]),
        ({"status": "pending"}, ["c-1", "i-1"]),
        ({"type": "CUSTOMER"}, ["c-1"]),
        ({"uuid": "i-1"}, ["i-1"]),
        ({"database": str(DATABASE)}, ["no-type", "c-1", "i-1"]),
        ({"database": "5"}, []),
        ({"database_id": str(DATABASE)}, ["no-type", "c-1", "i-1"]),
        ({"database_id": "5"}, []),
        ({"database_id": str(DATABASE), "database": str(DATABASE)}, ["no-type", "c-1", "i-1"]),
        ({"forward_status": "dead"}, []),
    ],
)
async def test_events_are_filtered(
    accurate: Accurate, client: httpx2.AsyncClient, query: dict[str, str], uuids: list[str]
) -> None:
    await accurate.send(event(uuid="i-1"), event("CUSTOMER", uuid="c-1"), event(uuid="no-type") | {"type": ""})
    answer = await client.get(EVENTS, params=query)
    assert [one["uuid"] for one in answer.json()["events"]] == uuids


async def test_contradicting_names_of_a_database_are_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get(EVENTS, params={"database_id": "5", "database": "6"})
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, ["/query/database"])


async def test_an_event_is_shown_with_its_payload_and_conflicts(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    (receipt,) = await accurate.send(event(uuid="i-1", note="first"))
    await accurate.send(event(uuid="i-1", note="other"))
    answer = (await client.get(f"{EVENTS}/{receipt.queue_id}")).json()
    assert json.loads(answer["event"]["payload"])["note"] == "first"
    (conflict,) = answer["conflicts"]
    assert (json.loads(conflict["payload"])["note"], conflict["times"]) == ("other", 1)
    assert answer["replays"] == []


async def test_events_of_other_organisations_and_unassigned_events_are_not_found(
    accurate: Accurate, client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    mine, nobodys = await accurate.send(event(), event(databaseId=STRANGE_DATABASE))
    for who, event_id in ((stranger, mine.queue_id), (client, nobodys.queue_id)):
        assert (await who.get(f"{EVENTS}/{event_id}")).status_code == 404
        assert (await who.post(f"{EVENTS}/{event_id}/replay")).status_code == 404
    assert (await stranger.get(EVENTS)).json()["events"] == []
    assert (await stranger.post(f"{EVENTS}/replay", json={"status": "done"})).json()["replayed"] == 0
    assert (await stranger.get(DOCUMENTS)).json()["documents"] == []


async def test_a_conflict_of_another_organisation_is_not_shown(
    accurate: Accurate, client: httpx2.AsyncClient, runtime: Runtime
) -> None:
    mine, theirs = event(uuid="i-1"), event(uuid="i-1", databaseId=STRANGE_DATABASE, note="secret")
    (receipt,) = await accurate.send(mine)
    owners = {**runtime.settings.database_owners, STRANGE_DATABASE: uuid4()}
    (again,) = await receive_events(
        runtime.database, json.dumps(theirs).encode(), owners=owners, forward=False, wake=False
    )
    assert (again.queue_id, again.conflict) == (receipt.queue_id, True)
    answer = await client.get(f"{EVENTS}/{receipt.queue_id}")
    assert answer.json()["conflicts"] == []
    assert "secret" not in answer.text
    (conflict,) = await accurate.sql("SELECT * FROM webhook_conflicts")
    assert conflict.manufacturer_org_id == owners[STRANGE_DATABASE]
    assert json.loads(conflict.payload)["note"] == "secret"


async def test_a_replay_processes_the_event_again_and_records_who_when_and_why(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (receipt,) = await accurate.send(event("VENDOR", {"vendorId": 5}))
    await accurate.process()
    assert await accurate.statuses() == ["skipped"]
    monkeypatch.setitem(TYPES, "VENDOR", DocumentType((("vendorId",),), (), ()))
    answer = await client.post(f"{EVENTS}/{receipt.queue_id}/replay", json={"reason": "a handler exists now"})
    assert answer.json() == {"success": True, "replayed": 1}
    await accurate.process()
    shown = (await client.get(f"{EVENTS}/{receipt.queue_id}")).json()
    assert (shown["event"]["status"], shown["event"]["note"]) == ("done", None)
    (replay,) = shown["replays"]
    assert (replay["actor"], replay["reason"]) == (caller.user_id, "a handler exists now")
    assert datetime.fromisoformat(replay["replayed_at"]).tzinfo is not None
    assert [document["entity_id"] for document in (await client.get(DOCUMENTS)).json()["documents"]] == ["5"]


async def test_events_that_were_not_forwarded_are_found_and_replayed(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient
) -> None:
    receipts = await accurate.send(event(), event(), event())
    await accurate.process()
    for receipt, forward_status in zip(receipts, ("sent", "dead", "dead"), strict=True):
        await accurate.sql(
            "UPDATE webhook_queue SET forward_status = :status WHERE id = :id",
            id=receipt.queue_id,
            status=forward_status,
        )
    given_up = [receipt.queue_id for receipt in receipts[:0:-1]]
    found = (await client.get(EVENTS, params={"forward_status": "dead"})).json()["events"]
    assert [one["queue_id"] for one in found] == given_up
    answer = await client.post(f"{EVENTS}/replay", json={"status": "done", "forward_status": "dead"})
    assert answer.json()["replayed"] == 2
    assert await accurate.statuses() == ["done", "pending", "pending"]


async def test_one_replay_takes_all_events_that_were_not_forwarded_but_none_that_still_waits(
    accurate: Accurate, client: httpx2.AsyncClient
) -> None:
    statuses = ["done", "skipped", "dead", "invalid", "pending", "done"]
    for receipt, status in zip(await accurate.send(*(event() for _ in statuses)), statuses, strict=True):
        await accurate.sql(
            "UPDATE webhook_queue SET status = :status, forward_status = 'dead',"
            " finished_at = CASE WHEN :status = 'pending' THEN NULL ELSE now() END WHERE id = :id",
            id=receipt.queue_id,
            status=status,
        )
    await accurate.sql(
        "UPDATE webhook_queue SET forward_status = 'sent' WHERE id = (SELECT max(id) FROM webhook_queue)"
    )
    body = {"forward_status": "dead"}
    counted = await client.post(f"{EVENTS}/replay", json=body | {"dry_run": True})
    assert counted.json()["matching"] == 3
    assert (await client.post(f"{EVENTS}/replay", json=body)).json()["replayed"] == 3
    assert await accurate.statuses() == ["pending", "pending", "pending", "invalid", "pending", "done"]


async def test_a_replay_needs_a_status_or_a_state_of_forwarding(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{EVENTS}/replay", json={"type": "CUSTOMER"})
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/status", "at_least_one_of")]


@pytest.mark.parametrize("status", ["done", "skipped", "dead"])
async def test_done_skipped_and_dead_events_can_be_replayed(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A changed handler writes the state again without a newer event."""
    (receipt,) = await accurate.send(event("ITEM", {"itemId": 1, "label": "I-1"}))
    await accurate.process()
    await accurate.sql(f"UPDATE webhook_queue SET status = '{status}'")
    monkeypatch.setitem(TYPES, "ITEM", DocumentType((("itemId",),), ("label",), ()))
    assert (await client.post(f"{EVENTS}/{receipt.queue_id}/replay")).json()["replayed"] == 1
    await accurate.process()
    assert await accurate.statuses() == ["done"]
    assert [document["number"] for document in (await client.get(DOCUMENTS)).json()["documents"]] == ["I-1"]


async def test_a_replay_by_filter_takes_matching_events(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient
) -> None:
    receipts = await accurate.send(event(), event("CUSTOMER"), event("CUSTOMER"))
    await accurate.sql("UPDATE webhook_queue SET status = 'dead', attempts = 8, finished_at = now(), error = 'x'")
    answer = await client.post(f"{EVENTS}/replay", json={"status": "dead", "type": "CUSTOMER", "reason": "fixed"})
    assert answer.json()["replayed"] == 2
    assert await accurate.statuses() == ["dead", "pending", "pending"]
    assert [row.attempts for row in await accurate.rows()] == [8, 0, 0]
    shown = (await client.get(f"{EVENTS}/{receipts[2].queue_id}")).json()
    assert [replay["reason"] for replay in shown["replays"]] == ["fixed"]
    (kept,) = await accurate.sql("SELECT selection, event_count FROM webhook_replays")
    assert (kept.selection["status"], kept.selection["type"], kept.event_count) == ("dead", "CUSTOMER", 2)


async def test_a_dry_run_counts_what_a_replay_would_take(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    await accurate.send(event(), event(), event("CUSTOMER"), event())
    await accurate.process()
    await accurate.sql("UPDATE webhook_queue SET status = 'dead', error = 'x'")
    await accurate.sql("UPDATE webhook_queue SET payload = '' WHERE id = (SELECT max(id) FROM webhook_queue)")
    body = {"status": "dead", "type": "SALES_INVOICE", "reason": "mended"}
    counted = await client.post(f"{EVENTS}/replay", json=body | {"dry_run": True})
    assert counted.json() == {"success": True, "dry_run": True, "matching": 2, "more": False}
    assert [row.status for row in await accurate.rows()] == ["dead"] * 4
    assert await accurate.sql("SELECT * FROM webhook_replays") == []
    answer = await client.post(f"{EVENTS}/replay", json=body)
    assert answer.json() == {"success": True, "replayed": 2}


async def test_a_count_stops_and_says_so(
    accurate: Accurate, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accurate.send(*(event() for _ in range(4)))
    await accurate.process()
    for module in (replays, matching):
        monkeypatch.setattr(module, "MOST_COUNTED", 3)
    counted = await client.post(f"{EVENTS}/replay", json={"status": "done", "dry_run": True})
    assert counted.json() == {"success": True, "dry_run": True, "matching": 3, "more": True}


async def test_events_with_conflicts_are_listed(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    await accurate.send(event(uuid="i-1", note="first"), event(uuid="i-2"), event(uuid="i-3", note="first"))
    await accurate.send(event(uuid="i-1", note="other"), event(uuid="i-3", note="other"))
    answer = await client.get(EVENTS, params={"conflicts": "true"})
    assert [one["uuid"] for one in answer.json()["events"]] == ["i-3", "i-1"]


async def test_a_long_replay_runs_in_several_transactions_with_one_answer(
    accurate: Accurate, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "CHUNK", 2)
    await accurate.send(*(event() for _ in range(5)))
    await accurate.sql("UPDATE webhook_queue SET status = 'dead', attempts = 8, finished_at = now(), error = 'x'")
    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = await client.post(f"{EVENTS}/replay", json={"status": "dead", "reason": "fixed"}, headers=key)
        assert answer.json()["replayed"] == 5
    assert await accurate.statuses() == ["pending"] * 5
    kept = await accurate.sql("SELECT reason, event_count FROM webhook_replays ORDER BY id")
    assert [tuple(row) for row in kept] == [("fixed", 2), ("fixed", 2), ("fixed", 1)]


async def test_after_a_kill_between_two_chunks_the_same_key_goes_on_and_replays_nothing_twice(
    accurate: Accurate, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "CHUNK", 2)
    await accurate.send(*(event() for _ in range(5)))
    await accurate.process()
    key, body = {"Idempotency-Key": str(uuid4())}, {"status": "done", "reason": "fixed"}
    with killed_at(WebhookReplayRepository, "find_replayable", call=2, moment="before"):
        assert (await client.post(f"{EVENTS}/replay", json=body, headers=key)).status_code >= 500
    # What the first chunk has replayed matches again.
    await accurate.process()
    assert (await client.post(f"{EVENTS}/replay", json=body, headers=key)).json()["replayed"] == 5
    assert await accurate.statuses() == ["done"] * 2 + ["pending"] * 3
    kept = await accurate.sql("SELECT event_count FROM webhook_replays ORDER BY id")
    assert [row.event_count for row in kept] == [2, 2, 1]


async def test_concurrent_replays_take_each_event_once(
    accurate: Accurate, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "CHUNK", 7)
    await accurate.send(*(event() for _ in range(60)))
    await accurate.sql("UPDATE webhook_queue SET status = 'dead', attempts = 8, finished_at = now(), error = 'x'")
    answers = await asyncio.gather(*(client.post(f"{EVENTS}/replay", json={"status": "dead"}) for _ in range(6)))
    assert sum(answer.json()["replayed"] for answer in answers) == 60
    assert set(await accurate.statuses()) == {"pending"}


async def test_a_replay_is_idempotent(accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient) -> None:
    (receipt,) = await accurate.send(event())
    await accurate.process()
    key = {"Idempotency-Key": str(uuid4())}
    first = await client.post(f"{EVENTS}/{receipt.queue_id}/replay", headers=key)
    again = await client.post(f"{EVENTS}/{receipt.queue_id}/replay", headers=key)
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    await accurate.process()
    assert len(await accurate.sql("SELECT * FROM accurate_documents")) == 1
    assert len(await accurate.sql("SELECT * FROM webhook_replays")) == 1


async def test_pending_and_invalid_events_are_not_replayed(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    waiting, invalid = await accurate.send(event(), event() | {"type": ""})
    for receipt in (waiting, invalid):
        answer = await client.post(f"{EVENTS}/{receipt.queue_id}/replay")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:qrtrack:problem:event-not-replayable")


async def test_an_emptied_payload_cannot_be_replayed(
    accurate: Accurate, runtime: Runtime, client: httpx2.AsyncClient
) -> None:
    (receipt,) = await accurate.send(event())
    await accurate.process()
    await accurate.sql("UPDATE webhook_queue SET payload = ''")
    answer = await client.post(f"{EVENTS}/{receipt.queue_id}/replay")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:qrtrack:problem:payload-gone")
    assert (await client.post(f"{EVENTS}/replay", json={"status": "done"})).json()["replayed"] == 0


async def test_replays_are_append_only(accurate: Accurate, client: httpx2.AsyncClient) -> None:
    await client.post(f"{EVENTS}/replay", json={"status": "dead"})
    for statement in ("UPDATE webhook_replays SET actor = 'x'", "DELETE FROM webhook_replays"):
        with pytest.raises(Exception, match="append-only"):
            await accurate.sql(statement)


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_reads_documents_and_only_admins_read_events(
    sign_in: SignIn, caller: Caller, role: Role
) -> None:
    user = sign_in(Caller("u", caller.organisation_id, frozenset({role})))
    statuses = [
        (await user.get(EVENTS)).status_code,
        (await user.get(f"{EVENTS}/1")).status_code,
        (await user.post(f"{EVENTS}/1/replay")).status_code,
        (await user.post(f"{EVENTS}/replay", json={"status": "dead"})).status_code,
    ]
    assert statuses == ([200, 404, 404, 200] if role is Role.ADMIN else [403] * 4)
    assert (await user.get(DOCUMENTS)).status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [(EVENTS, {"state": "dead"}), (EVENTS, {"status": "x"}), (EVENTS, {"cursor": "x"}), (EVENTS, {"database": "x"}),
     (EVENTS, {"uuid": "\0"}), (DOCUMENTS, {"typ": "ITEM"}), (DOCUMENTS, {"cursor": "WzFd"}), (f"{EVENTS}/0", {}),
     (f"{EVENTS}/99999999999999999999", {})],
)  # fmt: skip
async def test_invalid_queries_are_refused(client: httpx2.AsyncClient, path: str, query: dict[str, str]) -> None:
    assert (await client.get(path, params=query)).status_code == 422
