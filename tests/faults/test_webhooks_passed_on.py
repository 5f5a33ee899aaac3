"""kill -9 of the workers while they pass events on: all arrive, those of an entity in the order they came in."""

import asyncio
import json
import random
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

from accurate import DATABASE, Accurate, event
from endpoint import Endpoint, Received, answer, open_endpoint
from faults.processes import Workers, kill_now, until, workers
from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.intake import receive_events

WORKERS = 3
KILLS = 10
ENTITIES = 12
DICE = random.Random(1)
SECRET = "cXJ0cmFjay1wYXNzZXMtZXZlbnRzLW9uLXNpZ25lZA=="


async def accept_slowly(_request: Received) -> bytes:
    await asyncio.sleep(DICE.uniform(0, 0.02))
    return answer(200)


async def test_events_are_passed_on_in_order_through_kills(
    accurate: Accurate, runtime: Runtime, caller: Caller, migrated_url: str, tmp_path: Path
) -> None:
    over = asyncio.Event()
    async with open_endpoint() as endpoint:
        endpoint.reply = accept_slowly
        settings: dict[str, Any] = {
            "accurate_databases": f"{DATABASE}={caller.organisation_id}", "accurate_forward_url": endpoint.url,
            "accurate_forward_secret": SECRET, "accurate_workers": 2, "lease_seconds": 1, "poll_seconds": 0.05,
        }  # fmt: skip
        with workers(migrated_url, tmp_path, **settings) as started:
            for _ in range(WORKERS):
                started.start()
            await started.at_work(WORKERS)
            sending = asyncio.create_task(send_until(over, runtime, caller))
            for _ in range(KILLS):
                await kill_one(started, endpoint)
            over.set()
            sent = await sending
            await until(lambda: all_passed_on(accurate))
        check(endpoint, sent)


async def send_until(over: asyncio.Event, runtime: Runtime, caller: Caller) -> int:
    """Three types, so that workers have several streams at once; a count runs through each entity's events."""
    owners, count = {DATABASE: caller.organisation_id}, 0
    while not over.is_set():
        events = []
        for _ in range(DICE.randint(1, 4)):
            count += 1
            kind, field = DICE.choice([("ITEM", "itemId"), ("CUSTOMER", "customerId"), ("SALES_ORDER", "salesOrderId")])
            events.append(event(kind, {field: DICE.randrange(ENTITIES)}, count=count))
        await receive_events(runtime.database, json.dumps(events).encode(), owners=owners, forward=True, wake=True)
        await asyncio.sleep(0.03)
    return count


async def kill_one(started: Workers, endpoint: Endpoint) -> None:
    """Some time after others have gone on."""
    seen = len(endpoint.received)

    async def goes_on() -> bool:
        return len(endpoint.received) > seen

    await until(goes_on)
    await asyncio.sleep(DICE.uniform(0, 0.5))
    process = started.processes.pop(DICE.randrange(WORKERS))
    await kill_now([process], signal.SIGKILL)
    started.start()


async def all_passed_on(accurate: Accurate) -> bool:
    (row,) = await accurate.sql(
        "SELECT count(*) AS waiting FROM webhook_queue WHERE status <> 'done' OR forward_status <> 'sent'"
    )
    return bool(row.waiting == 0)


def check(endpoint: Endpoint, sent: int) -> None:
    """What was sent and not recorded is sent again, before anything that follows it."""
    counts: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for request in endpoint.received:
        body = json.loads(request.body)
        counts[body["type"], *body["data"][0].values()].append(body["count"])
    assert {count for seen in counts.values() for count in seen} == set(range(1, sent + 1))
    assert {entity: seen for entity, seen in counts.items() if seen != sorted(seen)} == {}
