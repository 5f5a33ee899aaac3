"""Passing events on: signed, in order for each entity, and never in the way of processing."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from accurate import DATABASE, Accurate, event
from endpoint import Endpoint, Received, answer, open_endpoint
from process import settings_of
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations import forwarding
from qrtrack.runtime import Runtime
from qrtrack.services.webhook_forwarding import BACKOFF
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, Outcome, run_next
from qrtrack.worker.handlers import HANDLERS

BY_KIND = {handler.queue.kind: handler for handler in HANDLERS}
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


@pytest.fixture
def accurate(runtime: Runtime) -> Accurate:
    return Accurate(runtime)


def item(number: int, **changes: Any) -> dict[str, Any]:
    return event("ITEM", {"itemId": number}, **changes)


async def process(runtime: Runtime) -> None:
    while await run_next(runtime, BY_KIND["webhook_event"], StopSignal()) is not None:
        pass


async def forward(runtime: Runtime) -> Outcome | None:
    """One turn of one stream."""
    return await run_next(runtime, BY_KIND["webhook_stream"], StopSignal())


async def due(accurate: Accurate) -> None:
    await accurate.sql("UPDATE webhook_queue SET forward_at = now() WHERE forward_status = 'pending'")
    await accurate.sql("UPDATE webhook_streams SET run_at = now()")


def uuids(endpoint: Endpoint) -> list[str]:
    return [json.loads(request.body)["uuid"] for request in endpoint.received]


async def test_an_event_goes_on_as_it_came_signed_and_once(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    (receipt,) = await accurate.send(item(1, uuid="i-1"))
    await process(runtime)
    assert await forward(runtime) is not None
    assert await forward(runtime) is None
    (request,) = endpoint.received
    (row,) = await accurate.rows()
    assert (request.path, request.body.decode()) == ("/hook", row.payload)
    assert request.headers["webhook-id"] == f"accurate-event-{receipt.queue_id}"
    Webhook(SECRET).verify(request.body, request.headers)
    assert (row.status, row.forward_status, row.forward_attempts, row.forward_error) == ("done", "sent", 1, None)
    assert [row.status for row in await accurate.sql("SELECT status FROM webhook_streams")] == ["completed"]


async def test_a_type_without_a_handler_goes_on_too(accurate: Accurate, runtime: Runtime, endpoint: Endpoint) -> None:
    await accurate.send(event("VENDOR", {"vendorId": 1}))
    await process(runtime)
    await forward(runtime)
    assert len(endpoint.received) == 1
    assert [(row.status, row.forward_status) for row in await accurate.rows()] == [("skipped", "sent")]


@pytest.mark.parametrize("status", [300, 301, 307, 400, 404, 422, 500, 502])
async def test_what_is_no_2xx_is_a_failure_and_tried_again_under_the_same_id(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, status: int
) -> None:
    endpoint.reply = lambda _: answer(status, location=f"{endpoint.url}/elsewhere")
    await accurate.send(item(1))
    await process(runtime)
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


async def test_after_eight_attempts_an_event_is_given_up_and_its_entity_goes_on(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda request: answer(422 if b"bad" in request.body else 200)
    await accurate.send(item(1, uuid="bad"), item(1, uuid="good"))
    await process(runtime)
    for _ in range(len(BACKOFF) + 2):
        await due(accurate)
        await forward(runtime)
    assert [(row.forward_status, row.forward_attempts) for row in await accurate.rows()] == [("dead", 8), ("sent", 1)]


async def test_an_entitys_later_events_wait_and_those_of_others_do_not(
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
    await process(runtime)
    await forward(runtime)
    assert uuids(endpoint) == ["bad", "other", "free"]
    endpoint.reply = lambda _: answer(200)
    await due(accurate)
    await forward(runtime)
    assert uuids(endpoint)[3:] == ["bad", "behind", "behind too", "behind that"]


async def test_an_endpoint_that_is_away_is_not_asked_about_every_event(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    endpoint.reply = lambda _: answer(500)
    await accurate.send(*(item(number) for number in range(5)))
    await process(runtime)
    await forward(runtime)
    assert len(endpoint.received) == 1
    assert [row.forward_attempts for row in await accurate.rows()] == [1, 0, 0, 0, 0]
    await accurate.send(item(6))
    await process(runtime)
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
async def test_retry_after_is_honoured_and_charges_no_attempt(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, given: Callable[[], str], seconds: float
) -> None:
    endpoint.reply = lambda _: answer(429, retry_after=given())
    await accurate.send(item(1), item(2))
    await process(runtime)
    await forward(runtime)
    assert len(endpoint.received) == 1
    first, second = await accurate.rows()
    assert (first.forward_attempts, second.forward_attempts) == (0, 0)
    (wait,) = await accurate.sql("SELECT EXTRACT(epoch FROM run_at - now())::float8 AS seconds FROM webhook_streams")
    assert seconds - 60 < wait.seconds <= seconds
    await accurate.send(item(3))
    await process(runtime)
    assert await forward(runtime) is None


async def test_a_hanging_endpoint_is_left_after_its_time_and_does_not_hold_up_processing(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forwarding.SECONDS == 15
    monkeypatch.setattr(forwarding, "SECONDS", 0.6)
    going = asyncio.Event()

    async def hang(_request: Received) -> bytes:
        going.set()
        await asyncio.sleep(1)
        return b""

    endpoint.reply = hang
    await accurate.send(item(1))
    await process(runtime)
    sending = asyncio.create_task(forward(runtime))
    await going.wait()
    await accurate.send(item(1))
    await process(runtime)
    assert await accurate.statuses() == ["done", "done"]
    outcome = await sending
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    assert (await accurate.rows())[0].forward_error == "no answer within 1 s"


async def test_events_added_while_a_stream_ends_are_not_left_behind(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint
) -> None:
    added: list[Any] = []

    async def add_one(_request: Received) -> bytes:
        if not added:
            added.append(await accurate.send(item(2)))
            await process(runtime)
        return answer(200)

    endpoint.reply = add_one
    await accurate.send(item(1))
    await process(runtime)
    while await forward(runtime) is not None:
        pass
    assert [row.forward_status for row in await accurate.rows()] == ["sent", "sent"]


async def test_only_one_worker_has_a_stream(accurate: Accurate, runtime: Runtime, endpoint: Endpoint) -> None:
    await accurate.send(*(item(1, uuid=f"i-{number:02}") for number in range(20)))
    await process(runtime)
    await asyncio.gather(*(forward(runtime) for _ in range(5)))
    assert uuids(endpoint) == [f"i-{number:02}" for number in range(20)]


async def test_a_stream_with_a_defect_rests_and_comes_back(
    accurate: Accurate, runtime: Runtime, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    await accurate.send(item(1))
    await process(runtime)
    with monkeypatch.context() as patched:
        patched.setattr("qrtrack.services.webhook_forwarding.read_event", fail)
        outcome = await forward(runtime)
    assert outcome is not None
    assert outcome.end is End.RETRIED
    await due(accurate)
    await forward(runtime)
    assert (await accurate.rows())[0].forward_status == "sent"
