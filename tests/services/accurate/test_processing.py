"""Processing: every event ends, documents keep their newest state, and a bad event fails alone."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from accurate import DATABASE, HANDLER_OF, STRANGE_DATABASE, Accurate, event
from process import settings_of
from qrtrack.domain.accurate.documents import TYPES, DocumentType, read_event
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Group
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import CARRIED_BYTES, WEBHOOK_EVENTS, WEBHOOK_RETRIES
from qrtrack.runtime import Runtime
from qrtrack.services.accurate.processing import process_event
from qrtrack.services.accurate.replays import replay_event
from qrtrack.services.claims import break_up_group, claim_group, claim_work
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, WorkOutcome, run_next
from qrtrack.worker.execution import execute as execute_held
from qrtrack.worker.loop import Worker, slots_of
from ticking import HANG_SECONDS

OTHER_DATABASE = 77


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    databases = f"{DATABASE}={caller.organisation_id},{OTHER_DATABASE}={uuid4()}"
    return settings_of(migrated_url, tmp_path, accurate_databases=databases)


def invoice(number: int, at: str = "21/11/2026 10:00:00", **row: Any) -> dict[str, Any]:
    return event("SALES_INVOICE", {"salesInvoiceId": number, "action": "WRITE"} | row, timestamp=at)


async def execute(runtime: Runtime, group: Group[ClaimedEvent]) -> WorkOutcome:
    return await execute_held(runtime, HANDLER_OF["webhook_event"], group, StopSignal())


async def documents(accurate: Accurate) -> Sequence[Any]:
    return await accurate.sql("SELECT * FROM accurate_documents ORDER BY database_id, type, entity_id")


async def test_a_processed_event_is_done_and_its_document_stored(accurate: Accurate, runtime: Runtime) -> None:
    (receipt,) = await accurate.send(invoice(88020, salesInvoiceNo="INV/1", salesInvoiceTotalAmount="454000.10"))
    await accurate.process()
    (row,) = await accurate.rows()
    assert (row.status, row.attempts, row.error, row.lease_token) == ("done", 1, None, None)
    assert row.finished_at is not None
    (document,) = await documents(accurate)
    assert (document.database_id, document.type, document.entity_id, document.number, document.action) == (
        DATABASE, "SALES_INVOICE", "88020", "INV/1", "WRITE",
    )  # fmt: skip
    assert (document.amount, document.deleted, document.event_id) == (Decimal("454000.10"), False, receipt.queue_id)


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_newest_state_wins_in_any_order_of_arrival(
    accurate: Accurate, runtime: Runtime, order: Sequence[int]
) -> None:
    events = [
        invoice(1, "21/11/2026 10:00:00", salesInvoiceNo="old"),
        invoice(1, "21/11/2026 10:00:01", salesInvoiceNo="deleted", action="DELETE"),
        invoice(1, "21/11/2026 10:00:02", salesInvoiceNo="new"),
    ]
    for place in order:
        await accurate.send(events[place])
        await accurate.process()
    (document,) = await documents(accurate)
    assert (document.number, document.deleted) == ("new", False)


async def test_the_later_id_wins_between_two_events_with_one_timestamp(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1, salesInvoiceNo="first"), invoice(1, salesInvoiceNo="second"))
    first, second = await accurate.group(1), await accurate.group(1)
    for held in (second, first):
        await execute(runtime, held)
    assert [document.number for document in await documents(accurate)] == ["second"]


async def test_a_replay_applies_a_changed_handler(accurate: Accurate, runtime: Runtime, caller: Caller) -> None:
    (receipt,) = await accurate.send(event("VENDOR", {"vendorId": 1, "no": "V.1"}))
    for type_, number in ((TYPES["ITEM"], None), (_named_by("no"), "V.1")):
        with patch.dict(TYPES, VENDOR=replace(type_, ids=(("vendorId",),))):
            await accurate.process()
        assert [document.number for document in await documents(accurate)] == [number]
        await accurate.sql("UPDATE webhook_queue SET status = 'skipped'")
        await replay_event(runtime.database, caller=caller, event_id=receipt.queue_id, reason=None, forward=False)


async def test_a_reused_number_and_another_database_are_other_documents(accurate: Accurate, runtime: Runtime) -> None:
    elsewhere = invoice(1, salesInvoiceNo="INV/1") | {"databaseId": OTHER_DATABASE}
    await accurate.send(invoice(1, salesInvoiceNo="INV/1"), invoice(2, salesInvoiceNo="INV/1"), elsewhere)
    await accurate.process()
    found = [(document.database_id, document.entity_id) for document in await documents(accurate)]
    assert found == [(OTHER_DATABASE, "1"), (DATABASE, "1"), (DATABASE, "2")]


async def test_a_row_without_an_id_is_ignored_and_the_event_is_done_with_a_note(
    accurate: Accurate, runtime: Runtime
) -> None:
    await accurate.send(event("CUSTOMER", {"customerNo": "C.1"}))
    await accurate.process()
    (row,) = await accurate.rows()
    assert (row.status, row.note) == ("done", "1 of 1 rows have no id and are ignored")
    assert await documents(accurate) == []


@pytest.mark.parametrize("alone", [False, True])
async def test_the_note_of_the_intake_is_kept(accurate: Accurate, runtime: Runtime, *, alone: bool) -> None:
    await accurate.send(event() | {"uuid": 5})
    if alone:
        await break_up_group(runtime.database, WEBHOOK_EVENTS, await accurate.group())
    await accurate.process()
    found = [(row.status, row.note) for row in await accurate.rows()]
    assert found == [("done", "Its uuid is not usable text: it was ignored.")]


async def test_an_unknown_type_is_skipped_with_a_note(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(event("VENDOR", {"vendorId": 1}))
    await accurate.process()
    (row,) = await accurate.rows()
    assert (row.status, row.note) == ("skipped", "no handler knows this type")


async def test_unassigned_and_invalid_events_are_not_claimed(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(event(databaseId=STRANGE_DATABASE), 5)
    assert await run_next(runtime, HANDLER_OF["webhook_event"], StopSignal()) is None


async def test_concurrent_groups_leave_the_newest_states(accurate: Accurate, runtime: Runtime) -> None:
    events = [
        invoice(number % 40, f"21/11/2026 10:{number % 60:02}:{number // 60:02}", salesInvoiceNo=str(number))
        for number in range(600)
    ]
    random.shuffle(events)
    await accurate.send(*events)
    groups = [await accurate.group(75) for _ in range(8)]
    await asyncio.gather(*(execute(runtime, group) for group in groups))
    assert set(await accurate.statuses()) == {"done"}
    newest = {one["data"][0]["salesInvoiceId"]: one for one in sorted(events, key=lambda one: str(one["timestamp"]))}
    wanted = {str(number): one["data"][0]["salesInvoiceNo"] for number, one in newest.items()}
    assert {document.entity_id: document.number for document in await documents(accurate)} == wanted


async def test_a_poison_event_fails_alone_and_ends_dead_after_eight_attempts(
    accurate: Accurate, runtime: Runtime
) -> None:
    await accurate.send(*(invoice(number) for number in range(5)), invoice(666), invoice(6))
    with poison("666"):
        await accurate.process()
        assert sorted(await accurate.statuses()) == ["done"] * 6 + ["pending"]
        for attempt in range(3, 9):
            await due(accurate)
            outcome = await run_next(runtime, HANDLER_OF["webhook_retry"], StopSignal())
            assert outcome is not None
            assert outcome.claim.attempts == attempt
    (row,) = [row for row in await accurate.rows() if row.status != "done"]
    assert (row.status, row.attempts) == ("dead", 8)
    assert row.error == "internal error (ZeroDivisionError); the service's log has the details"


async def test_an_event_with_an_empty_payload_fails_alone(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2))
    await accurate.sql("UPDATE webhook_queue SET payload = '' WHERE id = (SELECT min(id) FROM webhook_queue)")
    await accurate.process()
    assert await accurate.tries() == [("pending", 2), ("done", 2)]


async def test_an_event_that_kills_its_worker_is_dead_alone(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number) for number in range(20)))
    await accurate.group()
    await accurate.expire_groups()
    poisoned = (await accurate.rows())[7].id
    for _ in range(40):
        # The next claim of a group breaks up the group of the dead worker: its events are retried one by one, and a
        # worker that dies now holds one event only.
        assert await claim_group(runtime.database, WEBHOOK_EVENTS, 20, lease_seconds=30) is None
        await accurate.sql(
            "UPDATE webhook_queue SET lease_expires_at = now() - interval '1 s' WHERE lease_token IS NOT NULL"
        )
        held = await claim_work(runtime.database, WEBHOOK_RETRIES, 1, lease_seconds=30)
        if not held:
            break
        if held[0].exhausted:
            await HANDLER_OF["webhook_retry"].fail(runtime.database, held[0], "worker lost", permanent=True)
        elif held[0].number != poisoned:
            await process_event(runtime.database, held[0], zone=zone(runtime), forward=False)
    statuses = {row.id: row.status for row in await accurate.rows()}
    assert statuses.pop(poisoned) == "dead"
    assert set(statuses.values()) == {"done"}


async def test_a_group_whose_lease_was_lost_changes_nothing(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1, salesInvoiceNo="mine"), invoice(2))
    group = await accurate.group()
    await accurate.sql("DELETE FROM leased_groups")
    assert (await execute(runtime, group)).end is End.LOST
    assert await accurate.statuses() == ["pending", "pending"]
    assert await documents(accurate) == []


async def test_an_event_that_left_its_group_changes_nothing(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2))
    group = await accurate.group()
    # A process of an earlier version claims events without groups.
    await accurate.sql("UPDATE webhook_queue SET attempts = 1 WHERE id = :id", id=group.pieces[0].id)
    await execute(runtime, group)
    assert await accurate.statuses() == ["pending", "done"]
    assert [document.entity_id for document in await documents(accurate)] == ["2"]


async def test_a_group_that_all_events_left_completes(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2))
    group = await accurate.group()
    await accurate.sql("UPDATE webhook_queue SET status = 'done', attempts = 1, finished_at = now()")
    outcome = await execute(runtime, group)
    assert (outcome.end, outcome.pieces) == (End.COMPLETED, 0)
    assert await documents(accurate) == []
    # Otherwise it would count as the group of a dead worker.
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_a_group_carries_short_payloads_only(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2, filler="x" * CARRIED_BYTES))
    short, long = (await accurate.group()).pieces
    rows = await accurate.rows()
    for piece, row in zip((short, long), rows, strict=True):
        assert (piece.id, piece.manufacturer_org_id) == (row.id, row.manufacturer_org_id)
        assert (piece.type, piece.database_id, piece.created_at) == (row.type, row.database_id, row.created_at)
    assert (short.payload, long.payload) == (rows[0].payload, None)


async def test_payloads_beyond_the_memory_of_a_group_wait_for_the_next(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number, filler="x" * CARRIED_BYTES) for number in range(10)), invoice(10))
    with patch("qrtrack.repositories.accurate.processing.LOADED_BYTES", 2.5 * CARRIED_BYTES):
        assert (await execute(runtime, await accurate.group())).pieces == 4
        assert sorted(await accurate.statuses()) == ["done"] * 4 + ["pending"] * 7
        assert {row.attempts for row in await accurate.rows() if row.status == "pending"} == {0}
        await accurate.process()
    assert set(await accurate.statuses()) == {"done"}
    assert len(await documents(accurate)) == 11


async def test_reading_a_group_yields_to_other_tasks(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number, filler="x" * 4096) for number in range(20)))
    group, steps, seen = await accurate.group(), 0, []

    async def yield_always() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    def read(*arguments: Any, **named: Any) -> Any:
        seen.append(steps)
        return read_event(*arguments, **named)

    other = asyncio.create_task(yield_always())
    with patch("qrtrack.services.accurate.processing.read_event", read):
        await execute(runtime, group)
    other.cancel()
    # A step is 16 KiB: four of them.
    assert len(set(seen)) == len(seen) / 4


async def test_the_worker_drains_the_queue(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(*(invoice(number) for number in range(700)))
    worker = Worker(
        runtime, [slots for slots in slots_of(runtime.settings) if slots.handler.queue.kind == "webhook_event"]
    )
    loop = asyncio.create_task(worker.run())
    async with asyncio.timeout(HANG_SECONDS):
        while set(await accurate.statuses()) != {"done"}:
            await asyncio.sleep(0.05)
    await worker.stop()
    await loop
    assert len(await documents(accurate)) == 700


async def test_the_last_event_is_stored_by_database_and_type(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), event("ITEM", {"itemId": 1}))
    await accurate.process()
    sources = await accurate.sql("SELECT database_id, type, last_event_at FROM accurate_sources ORDER BY type")
    assert [(row.database_id, row.type) for row in sources] == [(DATABASE, "ITEM"), (DATABASE, "SALES_INVOICE")]
    await accurate.sql("UPDATE accurate_sources SET last_event_at = now() - interval '1 day'")
    await accurate.send(invoice(2))
    await accurate.process()
    ages = await accurate.sql(
        "SELECT now() - last_event_at < interval '1 hour' AS fresh FROM accurate_sources ORDER BY type"
    )
    assert [row.fresh for row in ages] == [False, True]


async def test_a_group_stores_the_arrival_of_its_latest_event(accurate: Accurate, runtime: Runtime) -> None:
    await accurate.send(invoice(1), invoice(2), invoice(3))
    first, last, _ = await accurate.rows()
    for row, hours in ((first, 2), (last, -2)):
        await accurate.sql(
            "UPDATE webhook_queue SET created_at = now() - make_interval(hours => :hours) WHERE id = :id",
            id=row.id,
            hours=hours,
        )
    await accurate.process()
    [source] = await accurate.sql(
        "SELECT last_event_at = (SELECT max(created_at) FROM webhook_queue) AS is_last FROM accurate_sources"
    )
    assert source.is_last


def zone(runtime: Runtime) -> ZoneInfo:
    return ZoneInfo(runtime.settings.accurate_timezone)


def _named_by(member: str) -> DocumentType:
    return replace(TYPES["ITEM"], number=(member,))


async def due(accurate: Accurate) -> None:
    await accurate.sql("UPDATE webhook_queue SET run_at = now() WHERE status = 'pending'")


def poison(mark: str) -> Any:
    """A handler that fails on events with the mark."""

    def read(payload: str, *rest: Any, **named: Any) -> Any:
        if f'"salesInvoiceId": {mark}' in payload:
            raise ZeroDivisionError
        return read_event(payload, *rest, **named)

    return patch("qrtrack.services.accurate.processing.read_event", read)
