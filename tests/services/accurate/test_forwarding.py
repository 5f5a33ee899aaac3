"""Forwarding: signed, in order for each entity, and without holding up processing."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from accurate import DATABASE, HANDLER_OF, STRANGE_DATABASE, Accurate, event
from endpoint import Endpoint, Received, answer, open_endpoint
from process import settings_of
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.accurate.documents import read_event
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Claim, Group
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations import standard_webhooks
from qrtrack.integrations.forwarding import Forwarder
from qrtrack.repositories.accurate.forwarding import WINDOW, WebhookForwardingRepository
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.forwarding import BACKOFF, MAX_PAUSE_SECONDS
from qrtrack.services.accurate.intake import receive_events
from qrtrack.services.accurate.replays import replay_event
from qrtrack.services.accurate.sources import assign_events
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, WorkOutcome, execute, run_next

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller, endpoint: Endpoint) -> Settings:
    return settings_of(
        migrated_url,
        tmp_path,
        accurate_databases=f"{DATABASE}={caller.organisation_id}",
        accurate_forward_url=f"{endpoint.url}/hook",
        accurate_forward_secret=SECRET,
    )


def item(number: int, **changes: Any) -> dict[str, Any]:
    return event("ITEM", {"itemId": number}, **changes)


async def forward(runtime: Runtime) -> WorkOutcome | None:
    """One run of one stream."""
    return await run_next(runtime, HANDLER_OF["webhook_stream"], StopSignal())


async def due(accurate: Accurate) -> None:
    await accurate.sql("UPDATE webhook_queue SET forward_at = now() WHERE forward_status = 'pending'")
    await accurate.sql("UPDATE webhook_streams SET run_at = now()")


def uuids(endpoint: Endpoint) -> list[str]:
    return [json.loads(request.body)["uuid"] for request in endpoint.received]


async def test_an_event_is_forwarded_once_unchanged_and_signed(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    (receipt,) = await accurate.send(item(1, uuid="i-1"))
    await accurate.process()
    assert await forward(runtime) is not None
    assert await forward(runtime) is None
    (request,) = endpoint.received
    (row,) = await accurate.rows()
    assert (request.path, request.body.decode()) == ("/hook", row.payload)
    assert request.headers["webhook-id"] == f"accurate-event-{receipt.queue_id}"
    Webhook(SECRET).verify(request.body, request.headers)
    assert (row.status, row.forward_status, row.forward_attempts, row.forward_error) == ("done", "sent", 1, None)
    assert [row.status for row in await accurate.sql("SELECT status FROM webhook_streams")] == ["completed"]


async def test_a_type_without_a_handler_is_forwarded_too(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await accurate.send(event("VENDOR", {"vendorId": 1}))
    await accurate.process()
    await forward(runtime)
    assert len(endpoint.received) == 1
    assert [(row.status, row.forward_status) for row in await accurate.rows()] == [("skipped", "sent")]


@pytest.mark.parametrize("status", [300, 301, 307, 400, 404, 422, 500, 502])
async def test_any_answer_but_2xx_is_retried_under_the_same_id(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, status: int
) -> None:
    endpoint.reply = lambda _: answer(status, location=f"{endpoint.url}/elsewhere")
    await accurate.send(item(1))
    await accurate.process()
    await forward(runtime)
    (row,) = await accurate.rows()
    assert (row.forward_status, row.forward_attempts) == ("pending", 1)
    assert row.forward_error == f"the endpoint answered {status}"
    assert await forward(runtime) is None
    endpoint.reply = lambda _: answer(204)
    await due(accurate)
    await forward(runtime)
    assert [request.path for request in endpoint.received] == ["/hook", "/hook"]
    assert len({request.headers["webhook-id"] for request in endpoint.received}) == 1
    assert (await accurate.rows())[0].forward_status == "sent"


async def test_after_eight_attempts_an_event_is_dead_and_its_entity_goes_on(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(item(1, uuid="bad"), item(1, uuid="good"))
    await accurate.process()
    with capture_logs() as logs:
        for _ in range(len(BACKOFF) + 2):
            await due(accurate)
            await forward(runtime)
    assert [line["event"].split(":")[0] for line in logs if line["log_level"] == "error"] == [
        "an event was not forwarded and is given up"
    ]
    assert [(row.forward_status, row.forward_attempts) for row in await accurate.rows()] == [("dead", 8), ("sent", 1)]


async def test_a_failed_event_blocks_later_events_of_its_entities_only(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(
        item(1, uuid="bad"),
        item(2, uuid="other"),
        item(1, uuid="behind"),
        event("ITEM", {"itemId": 1}, {"itemId": 3}, uuid="behind too"),
        item(3, uuid="behind that"),
        item(4, uuid="free"),
    )
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == ["bad", "other", "free"]
    endpoint.reply = lambda _: answer(200)
    await due(accurate)
    await forward(runtime)
    assert uuids(endpoint)[3:] == ["bad", "behind", "behind too", "behind that"]


async def do(runtime: Runtime, group: Group[ClaimedEvent]) -> None:
    assert (await execute(runtime, HANDLER_OF["webhook_event"], group, StopSignal())).end is End.COMPLETED


async def test_events_are_forwarded_in_order_of_arrival_whatever_the_order_of_processing(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await accurate.send(item(1, uuid="first"), item(1, uuid="second"))
    first, second = await accurate.group(1), await accurate.group(1)
    await do(runtime, second)
    await forward(runtime)
    assert uuids(endpoint) == ["first", "second"]
    await do(runtime, first)
    while await forward(runtime) is not None:
        pass
    assert uuids(endpoint) == ["first", "second"]
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "sent"]


async def test_an_event_that_cannot_be_processed_is_forwarded_anyway(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await accurate.send(item(1, uuid="retried"), item(2, uuid="dead"))
    for permanent, held in zip((False, True), await accurate.one_by_one(await accurate.group()), strict=True):
        await HANDLER_OF["webhook_retry"].fail(runtime.database, held, "a defect", permanent=permanent)
        await forward(runtime)
    assert uuids(endpoint) == ["retried", "dead"]
    assert [(row.status, row.forward_status) for row in await accurate.rows()] == [
        ("pending", "sent"),
        ("dead", "sent"),
    ]


async def test_more_blocked_events_than_a_window_do_not_hold_up_other_entities(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(item(1, uuid="bad"), *(item(1) for _ in range(2 * WINDOW)), item(2, uuid="free"))
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == ["bad", "free"]


async def test_an_event_larger_than_a_window_is_forwarded(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.repositories.accurate.forwarding.LOADED_BYTES", 100)
    await accurate.send(item(1, uuid="one"), item(1, uuid="two", filler="x" * 1000), item(1, uuid="three"))
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == ["one", "two", "three"]


async def test_an_event_without_an_entity_blocks_no_other(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(payload: str, *rest: Any, **named: Any) -> Any:
        if "unreadable" in payload:
            raise ZeroDivisionError
        return read_event(payload, *rest, **named)

    monkeypatch.setattr("qrtrack.services.accurate.forwarding.read_event", read)
    endpoint.reply = lambda request: answer(200 if b"good" in request.body else 422)
    await accurate.send(item(1, uuid="unreadable"), event("ITEM", {"name": "?"}, uuid="bad"), item(1, uuid="good"))
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == ["unreadable", "bad", "good"]
    assert [row.forward_status for row in await accurate.rows()] == ["pending", "pending", "sent"]
    assert [row.status for row in await accurate.sql("SELECT status FROM webhook_streams")] == ["queued"]


async def test_events_of_an_unknown_type_keep_their_order(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(event("VENDOR", {"vendorId": 1}, uuid="bad"), event("VENDOR", {"vendorId": 2}))
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == ["bad"]


async def test_an_event_that_breaks_the_endpoint_holds_up_its_own_entity_only(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(500 if b"bad" in request.body else 200)
    await accurate.send(item(1, uuid="bad"), item(1, uuid="behind"), item(2, uuid="other"))
    await accurate.process()
    await accurate.sql("UPDATE webhook_queue SET forward_attempts = 5 WHERE uuid = 'bad'")
    await forward(runtime)
    (stream,) = await accurate.sql("SELECT EXTRACT(epoch FROM run_at - now())::float8 AS rest FROM webhook_streams")
    assert stream.rest <= MAX_PAUSE_SECONDS < BACKOFF[5]
    await accurate.sql("UPDATE webhook_streams SET run_at = now()")
    await forward(runtime)
    assert uuids(endpoint) == ["bad", "other"]


async def test_after_one_window_other_streams_run(accurate: Accurate, runtime: Runtime, endpoint: Endpoint) -> None:
    for events in ([item(number) for number in range(WINDOW + 1)], [event("CUSTOMER", {"customerId": 1})]):
        await accurate.send(*events)
        await accurate.process()
    runs = []
    while await forward(runtime) is not None:
        runs.append([json.loads(request.body)["type"] for request in endpoint.received])
        endpoint.received.clear()
    assert runs == [["ITEM"] * WINDOW, ["CUSTOMER"], ["ITEM"]]


async def test_sending_and_processing_an_event_at_once_does_not_deadlock(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await accurate.send(item(1, uuid="first"), item(1, uuid="second"))
    _, second = await accurate.group(1), await accurate.group(1)
    await do(runtime, second)
    async with runtime.database.engine.begin() as processing:
        await processing.execute(text("UPDATE webhook_queue SET note = 'locked' WHERE uuid = 'first'"))
        sending = asyncio.create_task(forward(runtime))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not await accurate.sql(waiting):
            await asyncio.sleep(0.01)
        await processing.execute(text("UPDATE webhook_streams SET touched = touched + 1"))
    outcome = await sending
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "sent"]


async def test_a_replay_is_forwarded_again_under_the_same_id(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, caller: Caller
) -> None:
    (receipt,) = await accurate.send(item(1))
    await accurate.process()
    await forward(runtime)
    for again in (True, False):
        await replay_event(runtime.database, caller=caller, event_id=receipt.queue_id, reason=None, forward=again)
        (held,) = await accurate.one_by_one(await accurate.group())
        await HANDLER_OF["webhook_retry"].fail(runtime.database, held, "a defect", permanent=True)
        await forward(runtime)
    assert [request.headers["webhook-id"] for request in endpoint.received] == [
        f"accurate-event-{receipt.queue_id}"
    ] * 2
    assert [(row.forward_status, row.forward_attempts) for row in await accurate.rows()] == [(None, 0)]


async def test_a_replay_keeps_an_event_that_waits_for_forwarding(
    accurate: Accurate, runtime: Runtime, caller: Caller
) -> None:
    (receipt,) = await accurate.send(item(1))
    await accurate.process()
    await replay_event(runtime.database, caller=caller, event_id=receipt.queue_id, reason=None, forward=False)
    assert [(row.status, row.forward_status) for row in await accurate.rows()] == [("pending", "pending")]


async def test_an_event_that_arrived_before_forwarding_was_on_is_forwarded_after_processing(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await receive_events(
        runtime.database,
        json.dumps(item(1)).encode(),
        owners=runtime.settings.database_owners,
        forward=False,
        wake=False,
    )
    assert [row.forward_status for row in await accurate.rows()] == [None]
    await accurate.process()
    await forward(runtime)
    assert [row.forward_status for row in await accurate.rows()] == ["sent"]


async def test_events_wait_while_the_forward_url_is_not_set(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    await accurate.send(item(1))
    without = replace(runtime, forwarder=None)
    await Accurate(without).process()
    await forward(without)
    assert [row.error_message for row in await accurate.sql("SELECT error_message FROM webhook_streams")] == [
        "ACCURATE_FORWARD_URL is no longer set"
    ]
    await due(accurate)
    await forward(runtime)
    assert [row.forward_status for row in await accurate.rows()] == ["sent"]


async def test_an_event_added_while_a_stream_is_requeued_is_sent_at_once(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeue, added = WebhookForwardingRepository.requeue, False

    async def requeue_late(self: WebhookForwardingRepository, claim: Claim, **values: Any) -> None:
        nonlocal added
        if not added:
            added = True
            await accurate.send(item(2, uuid="added"))
            await accurate.process()
        await requeue(self, claim, **values)

    monkeypatch.setattr(WebhookForwardingRepository, "requeue", requeue_late)
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(item(1, uuid="bad"))
    await accurate.process()
    await forward(runtime)
    await forward(runtime)
    assert uuids(endpoint) == ["bad", "added"]
    assert await forward(runtime) is None


async def test_newly_assigned_events_are_forwarded_before_later_arrivals(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, caller: Caller
) -> None:
    strange = {"databaseId": STRANGE_DATABASE}
    owners = {STRANGE_DATABASE: caller.organisation_id}
    await accurate.send(item(1, uuid="first", **strange), item(1, uuid="second", **strange), {**strange, "type": ""})
    await receive_events(
        runtime.database, json.dumps(item(1, uuid="third", **strange)).encode(), owners=owners, forward=True, wake=False
    )
    await accurate.process()
    await forward(runtime)
    assert uuids(endpoint) == []
    await assign_events(runtime.database, owners, forward=True)
    assert [row.forward_status for row in await accurate.rows()] == ["pending", "pending", None, "pending"]
    _, second = await accurate.group(1), await accurate.group(1)
    await do(runtime, second)
    await forward(runtime)
    assert uuids(endpoint) == ["first", "second", "third"]


@pytest.mark.parametrize("status", [500, 302])
async def test_a_failing_endpoint_is_tried_with_one_event_only(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, status: int
) -> None:
    endpoint.reply = lambda _: answer(status)
    await accurate.send(*(item(number) for number in range(5)))
    await accurate.process()
    await forward(runtime)
    assert len(endpoint.received) == 1
    assert [row.forward_attempts for row in await accurate.rows()] == [1, 0, 0, 0, 0]
    await accurate.send(item(6))
    await accurate.process()
    assert await forward(runtime) is None


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (lambda: "120", 120),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True), 600),
        (lambda: "999999999", 86400),
    ],
    ids=["seconds", "date", "too long"],
)
async def test_retry_after_is_honoured_and_counts_no_attempt(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, given: Callable[[], str], seconds: float
) -> None:
    endpoint.reply = lambda _: answer(429, retry_after=given())
    await accurate.send(item(1), item(2))
    await accurate.process()
    await forward(runtime)
    assert len(endpoint.received) == 1
    first, second = await accurate.rows()
    assert (first.forward_attempts, second.forward_attempts) == (0, 0)
    (wait,) = await accurate.sql("SELECT EXTRACT(epoch FROM run_at - now())::float8 AS seconds FROM webhook_streams")
    assert seconds - 60 < wait.seconds <= seconds
    await accurate.send(item(3))
    await accurate.process()
    assert await forward(runtime) is None


async def test_a_hanging_endpoint_times_out_and_does_not_hold_up_processing(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert standard_webhooks.SECONDS == 15
    monkeypatch.setattr(standard_webhooks, "SECONDS", 0.6)
    going, is_over = asyncio.Event(), asyncio.Event()

    async def hang(_request: Received) -> bytes:
        going.set()
        await is_over.wait()
        return b""

    endpoint.reply = hang
    await accurate.send(item(1))
    await accurate.process()
    sending = asyncio.create_task(forward(runtime))
    await going.wait()
    await accurate.send(item(1))
    await accurate.process()
    assert await accurate.statuses() == ["done", "done"]
    outcome = await sending
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    assert (await accurate.rows())[0].forward_error == "no answer within 1 s"
    is_over.set()


async def test_events_added_while_a_stream_completes_are_forwarded(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    added: list[Any] = []

    async def add_one(_request: Received) -> bytes:
        if not added:
            added.append(await accurate.send(item(2)))
            await accurate.process()
        return answer(200)

    endpoint.reply = add_one
    await accurate.send(item(1))
    await accurate.process()
    while await forward(runtime) is not None:
        pass
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "sent"]


async def test_a_worker_that_lost_its_lease_records_nothing(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    async def late(_request: Received) -> bytes:
        await accurate.sql("UPDATE webhook_streams SET lease_token = gen_random_uuid()")
        return answer(200)

    endpoint.reply = late
    await accurate.send(item(1), item(2))
    await accurate.process()
    outcome = await forward(runtime)
    assert outcome is not None
    assert outcome.end is End.LOST
    assert [(row.forward_status, row.forward_attempts) for row in await accurate.rows()] == [("pending", 0)] * 2


async def test_a_stopped_worker_releases_the_stream(accurate: Accurate, runtime: Runtime, endpoint: Endpoint) -> None:
    stop = StopSignal()

    def last(_request: Received) -> bytes:
        stop.set()
        return answer(200)

    endpoint.reply = last
    await accurate.send(item(1), item(2))
    await accurate.process()
    outcome = await run_next(runtime, HANDLER_OF["webhook_stream"], stop)
    assert outcome is not None
    assert outcome.end is End.RELEASED
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "pending"]
    await forward(runtime)
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "sent"]


async def test_a_database_outage_does_not_pause_a_stream(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accurate.send(item(1))
    await accurate.process()
    with monkeypatch.context() as away:
        away.setattr(WebhookForwardingRepository, "pending", torn)
        outcome = await forward(runtime)
    assert outcome is not None
    assert outcome.end is End.RELEASED
    await forward(runtime)
    assert [row.forward_status for row in await accurate.rows()] == ["sent"]


async def torn(*_: object, **__: object) -> None:
    raise DatabaseUnavailable


async def test_only_one_worker_holds_a_stream(accurate: Accurate, runtime: Runtime, endpoint: Endpoint) -> None:
    await accurate.send(*(item(1, uuid=f"i-{number:02}") for number in range(20)))
    await accurate.process()
    await asyncio.gather(*(forward(runtime) for _ in range(5)))
    assert uuids(endpoint) == [f"i-{number:02}" for number in range(20)]


async def test_a_stream_that_fails_is_retried(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    await accurate.send(item(1))
    await accurate.process()
    with monkeypatch.context() as patched:
        patched.setattr(Forwarder, "send", fail)
        outcome = await forward(runtime)
    assert outcome is not None
    assert outcome.end is End.RETRIED
    await due(accurate)
    await forward(runtime)
    assert (await accurate.rows())[0].forward_status == "sent"
