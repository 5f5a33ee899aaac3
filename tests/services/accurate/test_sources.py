"""The connection to Accurate: the subscription, assigned events, old payloads, and silence."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from endpoint import Endpoint, answer, open_endpoint
from process import settings_of
from qrtrack.domain.identity import Caller
from qrtrack.integrations.accurate import Account
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.sources import (
    AccurateHealth,
    assign_events,
    empty_old_payloads,
    keep_subscription,
    read_accurate_health,
)
from qrtrack.settings import Settings
from qrtrack.worker.schedule import TASKS

OTHER_DATABASE = 77
JAKARTA = ZoneInfo("Asia/Jakarta")
TOKEN = "aat.the-token-of-accurate"


@pytest.fixture
async def host() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


async def renew(runtime: Runtime, host: Endpoint) -> None:
    await keep_subscription(runtime.database, runtime.http, Account(host.url, TOKEN), zone=JAKARTA)


async def health(runtime: Runtime) -> AccurateHealth:
    return await read_accurate_health(runtime.database, zone=JAKARTA)


def day(days: int) -> str:
    return (datetime.now(JAKARTA) + timedelta(days=days)).strftime("%d/%m/%Y")


async def test_the_subscription_is_renewed_once_a_day(runtime: Runtime, accurate: Accurate, host: Endpoint) -> None:
    host.reply = lambda _: answer(200, f'{{"s": true, "d": "{day(7)}"}}')
    await renew(runtime, host)
    await renew(runtime, host)
    (request,) = host.received
    assert "x-api-signature" not in request.headers
    assert (request.path, request.headers["authorization"]) == ("/api/webhook-renew.do", f"Bearer {TOKEN}")
    assert (await health(runtime)).subscription_days_left == 7
    await accurate.sql("UPDATE accurate_subscription SET renewed_at = now() - interval '1 day'")
    await renew(runtime, host)
    assert len(host.received) == 2


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, '{"s": false, "d": ["URL API tidak tepat"]}'), answer(200, f'{{"s": true, "d": "{day(0)}"}}'),
        answer(200, f'{{"s": true, "d": "{day(-1)}"}}'), answer(200, '{"s": true, "d": "soon"}'),
        answer(200, '{"s": true}'), answer(200, f'{{"s": 1, "d": "{day(7)}"}}'), answer(200, "[]"), answer(200, "no"),
        answer(500, f'{{"s": true, "d": "{day(7)}"}}'), answer(302, location="/login"), b"",
        answer(401, f"no such token: {TOKEN}"), answer(400, "\0"),
    ],
)  # fmt: skip
async def test_any_other_answer_is_logged_and_counted_as_a_failure(
    runtime: Runtime, host: Endpoint, reply: bytes
) -> None:
    host.reply = lambda _: reply
    with capture_logs() as logs:
        await renew(runtime, host)
        await renew(runtime, host)
    found = await health(runtime)
    assert (found.subscription_days_left, found.renewal_failures) == (None, 2)
    assert found.renewal_error
    assert sum("not renewed" in line["event"] for line in logs) == 2
    assert TOKEN not in repr(logs) + repr(found)


async def test_a_refused_signed_renewal_is_logged_and_counted_without_secrets(runtime: Runtime, host: Endpoint) -> None:
    secret = "the-signature-secret-of-the-application"
    host.reply = lambda request: answer(200, json.dumps({"s": False, "d": [secret, dict(request.headers)]}))
    account = Account(host.url, TOKEN, secret)
    with capture_logs() as logs:
        await keep_subscription(runtime.database, runtime.http, account, zone=JAKARTA)
    found = await health(runtime)
    assert (found.subscription_days_left, found.renewal_failures) == (None, 1)
    assert [request.path for request in host.received] == ["/api/api-token.do", "/api/webhook-renew.do"]
    shown = repr(logs) + repr(found) + repr(account)
    assert TOKEN not in shown
    assert secret not in shown


async def test_the_task_signs_when_the_signature_secret_is_set(
    runtime: Runtime, accurate: Accurate, host: Endpoint
) -> None:
    host.reply = lambda _: answer(200, f'{{"s": true, "d": "{day(7)}"}}')
    signing = {"accurate_signature_secret": SecretStr("s" * 32), "accurate_signature_encoding": "hex"}
    for changes in ({}, signing):
        given = settings_of("postgresql://unused", Path(), accurate_api_token=TOKEN, accurate_account_url=host.url)
        changed = replace(runtime, settings=given.model_copy(update=changes))
        await TASKS["accurate.renew_subscription"].run(changed)
        await accurate.sql("UPDATE accurate_subscription SET renewed_at = now() - interval '1 day'")
    assert [len(request.headers.get("x-api-signature", "")) for request in host.received] == [0, 64, 64]


async def test_a_failure_keeps_the_known_expiry_until_the_next_success(
    runtime: Runtime, accurate: Accurate, host: Endpoint
) -> None:
    host.reply = lambda _: answer(200, f'{{"s": true, "d": "{day(7)}"}}')
    await renew(runtime, host)
    await accurate.sql(
        "UPDATE accurate_subscription SET expires_on = expires_on - 9, renewed_at = now() - interval '9 d'"
    )
    host.reply = lambda _: answer(503)
    await renew(runtime, host)
    found = await health(runtime)
    assert (found.subscription_days_left, found.renewal_error is None) == (-2, False)
    host.reply = lambda _: answer(200, f'{{"s": true, "d": "{day(7)}"}}')
    await renew(runtime, host)
    found = await health(runtime)
    assert (found.subscription_days_left, found.renewal_error, found.renewal_failures) == (7, None, 1)


async def test_events_are_assigned_and_processed_once_their_database_is_mapped(
    runtime: Runtime, accurate: Accurate
) -> None:
    await accurate.send(event(databaseId=STRANGE_DATABASE), event(databaseId=None), event())
    await accurate.process()
    assert (await health(runtime)).unassigned == [(STRANGE_DATABASE, 1), (None, 1)]
    owner = uuid4()
    assert await assign_events(runtime.database, {STRANGE_DATABASE: owner}, forward=False) == 1
    await accurate.process()
    assert await accurate.statuses() == ["done", "unassigned", "done"]
    (document,) = await accurate.sql("SELECT * FROM accurate_documents WHERE database_id = :id", id=STRANGE_DATABASE)
    assert document.manufacturer_org_id == owner


async def test_invalid_events_and_conflicts_are_assigned_too(runtime: Runtime, accurate: Accurate) -> None:
    first = event(databaseId=STRANGE_DATABASE, uuid="x")
    await accurate.send(first, first | {"note": "other"}, {"databaseId": STRANGE_DATABASE}, 5)
    await accurate.send(first | {"databaseId": OTHER_DATABASE})
    owner = uuid4()
    assert await assign_events(runtime.database, {STRANGE_DATABASE: owner}, forward=False) == 2
    assert await accurate.statuses() == ["pending", "invalid", "invalid"]
    assert [row.manufacturer_org_id for row in await accurate.rows()] == [owner, owner, None]
    conflicts = await accurate.sql("SELECT database_id, manufacturer_org_id FROM webhook_conflicts")
    assert {row.database_id: row.manufacturer_org_id for row in conflicts} == {
        STRANGE_DATABASE: owner, OTHER_DATABASE: None,
    }  # fmt: skip
    assert await assign_events(runtime.database, {STRANGE_DATABASE: uuid4()}, forward=False) == 0


async def test_events_of_the_older_service_are_processed_and_deduplicated(
    runtime: Runtime, accurate: Accurate, caller: Caller
) -> None:
    """It writes only the columns that it knows: a new event, and a copied old one."""
    new, old = event(uuid="new"), event(uuid="old", timestamp="20/11/2026 10:00:00")
    for one, more in ((new, {}), (old, {"status": "done"})):
        columns = {"type": one["type"], "database_id": DATABASE, "uuid": one["uuid"], "payload": json.dumps(one)} | more
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        await accurate.sql(f"INSERT INTO webhook_queue ({names}) VALUES ({values})", **columns)
    assert await accurate.statuses() == ["unassigned", "done"]
    assert await assign_events(runtime.database, {DATABASE: caller.organisation_id}, forward=False) == 2
    await accurate.process()
    assert await accurate.statuses() == ["done", "done"]
    (document,) = await accurate.sql("SELECT * FROM accurate_documents")
    assert document.event_id == (await accurate.rows())[0].id
    again = await accurate.send(dict(reversed(new.items())), old, {**new, "note": "other"})
    assert [(receipt.duplicate, receipt.conflict) for receipt in again] == [(True, False), (True, False), (True, True)]


async def test_old_payloads_are_emptied_and_uuids_stay(runtime: Runtime, accurate: Accurate) -> None:
    old = event(uuid="old")
    (receipt,) = await accurate.send(old)
    await accurate.send(event(uuid="old", note="other"))
    await accurate.process()
    await accurate.send(event(uuid="waiting"), event(uuid="unowned", databaseId=STRANGE_DATABASE))
    await accurate.sql("UPDATE webhook_queue SET created_at = now() - interval '1 year'")
    await accurate.sql("UPDATE webhook_conflicts SET last_at = now() - interval '1 year'")
    await accurate.send(event(uuid="young"))
    await accurate.sql("UPDATE webhook_queue SET status = 'done', finished_at = now() WHERE uuid = 'young'")
    assert await empty_old_payloads(runtime.database, days=90) == 2
    assert {row.uuid: bool(row.payload) for row in await accurate.rows()} == {
        "old": False, "waiting": True, "unowned": True, "young": True,
    }  # fmt: skip
    assert await accurate.sql("SELECT id FROM webhook_conflicts WHERE payload <> ''") == []
    (again,) = await accurate.send(old)
    assert (again.queue_id, again.duplicate, again.conflict) == (receipt.queue_id, True, False)


async def test_an_event_that_waits_for_forwarding_keeps_its_payload(runtime: Runtime, accurate: Accurate) -> None:
    await accurate.send(event())
    await accurate.process()
    await accurate.sql("UPDATE webhook_queue SET forward_status = 'pending', created_at = now() - interval '91 days'")
    assert await empty_old_payloads(runtime.database, days=90) == 0
    await accurate.sql("UPDATE webhook_queue SET forward_status = 'dead'")
    assert await empty_old_payloads(runtime.database, days=90) == 1


async def test_the_health_shows_silence_waiting_and_dead_events(runtime: Runtime, accurate: Accurate) -> None:
    await accurate.send(event("ITEM", {"itemId": 1}))
    await accurate.process()
    await accurate.sql("UPDATE accurate_sources SET last_event_at = now() - interval '19 days'")
    await accurate.send(event("CUSTOMER"), event("CUSTOMER", uuid="c"), event("CUSTOMER", uuid="c", note="other"))
    await accurate.sql("UPDATE webhook_queue SET created_at = now() - interval '1 hour' WHERE status = 'pending'")
    found = await health(runtime)
    assert found.sources == [(DATABASE, "ITEM", 19 * 86400)]
    assert found.oldest_pending_seconds == 3600
    assert (found.dead, found.conflicts, found.to_pass_on) == (0, 1, 0)


async def test_the_schedule_runs_these_tasks(
    runtime: Runtime, accurate: Accurate, host: Endpoint, settings: Settings
) -> None:
    tasks = [TASKS[name] for name in TASKS if name.startswith("accurate.")]
    assert len(tasks) == 3
    for task in tasks:
        assert 0 < task.every(runtime.settings) <= 86400
        await task.run(runtime)
    assert host.received == []
    assert (await health(runtime)).renewal_failures == 0
    assert datetime.now(UTC).tzinfo is UTC
