"""Processing: every event to its end, the newest state of every document, and a bad event alone with itself."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from process import settings_of
from qrtrack.domain.accurate import read_event
from qrtrack.domain.claims import Claim
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import CARRIED_BYTES, WEBHOOK_EVENTS, WEBHOOK_RETRIES
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work
from qrtrack.services.webhook_events import process_event
from qrtrack.settings import Settings
from qrtrack.worker.execution import execute_group, run_next
from qrtrack.worker.handlers import HANDLERS
from qrtrack.worker.loop import Worker, lanes_of

BY_KIND = {handler.queue.kind: handler for handler in HANDLERS}
OTHER_DATABASE = 77


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    databases = f"{DATABASE}={caller.organisation_id},{OTHER_DATABASE}={uuid4()}"
    return settings_of(migrated_url, tmp_path, accurate_databases=databases)


@pytest.fixture
def accurate(runtime: Runtime) -> Accurate:
    return Accurate(runtime)


def invoice(number: int, at: str = "21/11/2026 10:00:00", **row: Any) -> dict[str, Any]:
    return event("SALES_INVOICE", {"salesInvoiceId": number, "action": "WRITE"} | row, timestamp=at)


async def claim(runtime: Runtime, count: int, queue: Any = WEBHOOK_EVENTS) -> list[Claim]:
    return await claim_work(runtime.database, queue, count, lease_seconds=30)


async def process(runtime: Runtime, count: int = 1000) -> None:
    """All that is due, in one group and those after it."""
    claims = await claim(runtime, count)
    if claims:
        await execute_group(runtime, BY_KIND["webhook_event"], claims, StopSignal())


async def documents(accurate: Accurate) -> Sequence[Any]:
    return await accurate.sql("SELECT * FROM accurate_documents ORDER BY database_id, type, entity_id")


async def test_a_processed_event_is_done_and_its_document_known(accurate: Accurate, runtime: Runtime) -> None:
    (receipt,) = await accurate.send(invoice(88020, salesInvoiceNo="INV/1", salesInvoiceTotalAmount="454000.10"))
    await process(runtime)
    (row,) = await accurate.rows()
    assert (row.status, row.attempts, row.error, row.lease_token) == ("done", 1, None, None)
    assert row.finished_at is not None
    (document,) = await documents(accurate)
    assert (document.database_id, document.type, document.entity_id, document.number, document.action) == (
        DATABASE, "SALES_INVOICE", "88020", "INV/1", "WRITE",
    )  # fmt: skip
    assert (document.amount, document.deleted, document.event_id) == (Decimal("454000.10"), False, receipt.queue_id)


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_newest_wins_whatever_the_order_of_arrival(
    accurate: Accurate, runtime: Runtime, order: Sequence[int]
) -> None:
    events = [
        invoice(1, "21/11/2026 10:00:00", salesInvoiceNo="old"),
        invoice(1, "21/11/2026 10:00:01", salesInvoiceNo="deleted", action="DELETE"),
        invoice(1, "21/11/2026 10:00:02", salesInvoiceNo="new"),
    ]
    for place in order:
        await accurate.send(events[place])
        await process(runtime)
    (document,) = await documents(accurate)
    assert (document.number, document.deleted) == ("new", False)


async def test_of_two_events_of_one_instant_the_later_in_the_queue_wins(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1, salesInvoiceNo="first"), invoice(1, salesInvoiceNo="second"))
    first, second = await claim(runtime, 2)
    for held in (second, first):
        await process_event(runtime.database, held, zone=zone(runtime), pass_on=False)
    assert [document.number for document in await documents(accurate)] == ["second"]


async def test_a_number_used_again_and_another_database_are_other_documents(
    accurate: Accurate, runtime: Runtime
) -> None:
    elsewhere = invoice(1, salesInvoiceNo="INV/1") | {"databaseId": OTHER_DATABASE}
    await accurate.send(invoice(1, salesInvoiceNo="INV/1"), invoice(2, salesInvoiceNo="INV/1"), elsewhere)
    await process(runtime)
    found = [(document.database_id, document.entity_id) for document in await documents(accurate)]
    assert found == [(OTHER_DATABASE, "1"), (DATABASE, "1"), (DATABASE, "2")]


async def test_a_row_without_an_id_changes_nothing_and_the_event_is_done_with_a_note(
    accurate: Accurate, runtime: Runtime
) -> None:
    await accurate.send(event("CUSTOMER", {"customerNo": "C.1"}))
    await process(runtime)
    (row,) = await accurate.rows()
    assert (row.status, row.note) == ("done", "1 of 1 rows have no id and change nothing")
    assert await documents(accurate) == []


async def test_what_was_noted_at_its_receipt_is_kept(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(event() | {"uuid": 5})
    await process(runtime)
    assert [row.note for row in await accurate.rows()] == ["Its uuid is no usable text: it was left out."]


async def test_an_unknown_type_is_skipped_and_seen(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(event("VENDOR", {"vendorId": 1}))
    await process(runtime)
    (row,) = await accurate.rows()
    assert (row.status, row.note) == ("skipped", "no handler knows this type")


async def test_events_of_nobody_and_what_is_no_event_are_not_claimed(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(event(databaseId=STRANGE_DATABASE), 5)
    assert await claim(runtime, 10) == []


async def test_many_groups_at_once_leave_what_one_after_the_other_would(accurate: Accurate, runtime: Runtime) -> None:
    events = [
        invoice(number % 40, f"21/11/2026 10:{number % 60:02}:{number // 60:02}", salesInvoiceNo=str(number))
        for number in range(600)
    ]
    random.shuffle(events)
    await accurate.send(*events)
    groups = [await claim(runtime, 50) for _ in range(8)]
    await asyncio.gather(*(execute_group(runtime, BY_KIND["webhook_event"], group, StopSignal()) for group in groups))
    assert set(await accurate.statuses()) == {"done"}
    newest = {one["data"][0]["salesInvoiceId"]: one for one in sorted(events, key=lambda one: str(one["timestamp"]))}
    wanted = {str(number): one["data"][0]["salesInvoiceNo"] for number, one in newest.items()}
    assert {document.entity_id: document.number for document in await documents(accurate)} == wanted


async def test_a_poison_event_fails_alone_and_ends_dead_after_eight_attempts(
    accurate: Accurate, runtime: Runtime
) -> None:
    await accurate.send(*(invoice(number) for number in range(5)), invoice(666), invoice(6))
    with poison("666"):
        await process(runtime)
        assert sorted(await accurate.statuses()) == ["done"] * 6 + ["pending"]
        for attempt in range(2, 9):
            await due(accurate)
            outcome = await run_next(runtime, BY_KIND["webhook_retry"], StopSignal())
            assert outcome is not None
            assert outcome.claim.attempts == attempt
    (row,) = [row for row in await accurate.rows() if row.status != "done"]
    assert (row.status, row.attempts) == ("dead", 8)
    assert row.error == "internal error (ZeroDivisionError); the service's log has the details"


async def test_an_event_that_kills_its_worker_takes_no_neighbours_with_it(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number) for number in range(20)))
    await claim(runtime, 20)
    poisoned = (await accurate.rows())[7].id
    for _ in range(40):
        await accurate.sql(
            "UPDATE webhook_queue SET lease_expires_at = now() - interval '1 s' WHERE lease_token IS NOT NULL"
        )
        # From here on each is taken by itself: only the one that is held when its worker dies is held up.
        held = await claim(runtime, 1, WEBHOOK_RETRIES)
        if not held:
            break
        if held[0].exhausted:
            await BY_KIND["webhook_retry"].fail(runtime, held[0], "worker lost", permanent=True)
        elif held[0].number != poisoned:
            await process_event(runtime.database, held[0], zone=zone(runtime), pass_on=False)
    statuses = {row.id: row.status for row in await accurate.rows()}
    assert statuses.pop(poisoned) == "dead"
    assert set(statuses.values()) == {"done"}


async def test_an_event_whose_lease_was_lost_changes_nothing(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1, salesInvoiceNo="mine"), invoice(2))
    claims = await claim(runtime, 2)
    await accurate.sql("UPDATE webhook_queue SET lease_token = gen_random_uuid() WHERE id = :id", id=claims[0].id)
    await execute_group(runtime, BY_KIND["webhook_event"], claims, StopSignal())
    assert await accurate.statuses() == ["processing", "done"]
    assert [document.entity_id for document in await documents(accurate)] == ["2"]


async def test_a_claim_brings_an_events_content_along_unless_it_is_long(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2, filler="x" * CARRIED_BYTES))
    short, long = sorted(await claim(runtime, 2), key=lambda held: held.number)
    rows = await accurate.rows()
    assert tuple(short.carried) == ("SALES_INVOICE", DATABASE, rows[0].created_at, None, rows[0].payload)
    assert tuple(long.carried) == ("SALES_INVOICE", DATABASE, rows[1].created_at, None, None)


async def test_payloads_beyond_the_memory_of_a_group_wait_for_the_next(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number, filler="x" * CARRIED_BYTES) for number in range(10)), invoice(10))
    handler = BY_KIND["webhook_event"]
    assert handler.run_group is not None
    with patch("qrtrack.repositories.webhook_events.LOADED_BYTES", 2.5 * CARRIED_BYTES):
        left = await handler.run_group(runtime, await claim(runtime, 11), more=11)
        assert len(left) == 7
        await execute_group(runtime, handler, left, StopSignal())
    assert set(await accurate.statuses()) == {"done"}
    assert len(await documents(accurate)) == 11


async def test_a_group_that_is_told_to_stop_goes_back_untouched(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number) for number in range(3)))
    stop = StopSignal()
    stop.set()
    await execute_group(runtime, BY_KIND["webhook_event"], await claim(runtime, 3), stop)
    assert [(row.status, row.attempts) for row in await accurate.rows()] == [("pending", 0)] * 3


async def test_the_standing_worker_drains_everything(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number) for number in range(700)))
    worker = Worker(
        runtime, [lane for lane in lanes_of(runtime.settings) if lane.handler.queue.kind == "webhook_event"]
    )
    loop = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while set(await accurate.statuses()) != {"done"}:
            await asyncio.sleep(0.05)
    await worker.stop()
    await loop
    assert len(await documents(accurate)) == 700


async def test_when_a_source_was_last_heard_is_kept_by_database_and_type(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), event("ITEM", {"itemId": 1}))
    await process(runtime)
    sources = await accurate.sql("SELECT database_id, type, last_event_at FROM accurate_sources ORDER BY type")
    assert [(row.database_id, row.type) for row in sources] == [(DATABASE, "ITEM"), (DATABASE, "SALES_INVOICE")]
    await accurate.sql("UPDATE accurate_sources SET last_event_at = now() - interval '1 day'")
    await accurate.send(invoice(2))
    await process(runtime)
    ages = await accurate.sql(
        "SELECT now() - last_event_at < interval '1 hour' AS fresh FROM accurate_sources ORDER BY type"
    )
    assert [row.fresh for row in ages] == [False, True]


def zone(runtime: Runtime) -> ZoneInfo:
    return ZoneInfo(runtime.settings.accurate_timezone)


async def due(accurate: Accurate) -> None:
    await accurate.sql("UPDATE webhook_queue SET run_at = now() WHERE status = 'pending'")


def poison(mark: str) -> Any:
    """The handler has a defect that events with the mark bring out."""

    def read(payload: str, *rest: Any, **named: Any) -> Any:
        if f'"salesInvoiceId": {mark}' in payload:
            raise ZeroDivisionError
        return read_event(payload, *rest, **named)

    return patch("qrtrack.services.webhook_events.read_event", read)
