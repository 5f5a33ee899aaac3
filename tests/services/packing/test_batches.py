"""Batches looked at, closed, counted to the last code, and their keys revealed and forgotten."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from plant import BY_KIND, MadeBatch, Plant, ska
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.packing.codes import ListedCode
from qrtrack.services.packing.batches import (
    ClosedBatch,
    batch_progress,
    close_batch,
    describe_batch,
    forget_keys,
    retry_batch,
)
from qrtrack.services.packing.codes import (
    list_codes,
    mark_printed,
    readmit_codes,
    reveal_codes,
    void_codes,
)
from qrtrack.services.packing.reconciliation import reconcile_batch
from qrtrack.services.packing.reverse_jobs import retry_reverse_job
from qrtrack.services.retention import prune
from qrtrack.worker.execution import run_next
from ticking import HANG_SECONDS


async def close(plant: Plant, batch: MadeBatch, reason: str = "Run short") -> ClosedBatch:
    return await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason=reason)


async def listed(
    plant: Plant, batch: MadeBatch, status: str, after: int = 0, limit: int = 1000
) -> Sequence[ListedCode]:
    database, caller = plant.runtime.database, plant.caller
    return await list_codes(database, caller=caller, batch_id=batch.batch_id, status=status, after=after, limit=limit)


class TestReconciliation:
    async def test_every_code_is_counted_once_where_it_is(self, plant: Plant) -> None:
        batch = await plant.prepared(30, exclude=ska(1, 2, 20), units_per_case=5)
        await plant.pack(batch)
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (3, 2, 25)")
        await plant.sql("UPDATE qr_codes SET status = 'void', voided_at = now() WHERE sequence_number IN (20, 26)")
        await plant.sql("DELETE FROM qr_prepared_codes WHERE sequence_number IN (29, 30)")
        found = await plant.reconcile(batch)
        assert (found.void, found.in_case, found.scanned_without_case) == (2, 5, 2)
        assert (found.prepared, found.excluded, found.remaining) == (18, 1, 2)
        assert found.generated == 30
        assert found.differences == []

    async def test_a_code_that_was_deleted_by_hand_is_a_difference(self, plant: Plant) -> None:
        batch = await plant.batch(30)
        await plant.sql("DELETE FROM qr_codes WHERE sequence_number IN (7, 21)")
        found = await plant.reconcile(batch)
        assert found.differences == ["SKA000007", "SKA000021"]

    async def test_a_code_that_was_added_by_hand_is_a_difference(self, plant: Plant) -> None:
        batch = await plant.batch(30)
        await plant.sql(
            "INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code)"
            " SELECT batch_id, manufacturer_org_id, 31, 'SKA000031' FROM qr_codes WHERE sequence_number = 30"
        )
        found = await plant.reconcile(batch)
        assert found.differences == ["SKA000031"]
        assert found.remaining == found.generated == 30

    async def test_another_batchs_queue_and_exclusions_do_not_count(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        await plant.prepared(10, exclude=["SKA000011"])
        assert (await plant.reconcile(batch)).remaining == 10

    async def test_a_batch_without_codes_cannot_be_reconciled(self, plant: Plant) -> None:
        created = await plant.order(10)
        with pytest.raises(BatchNotReady):
            await reconcile_batch(plant.runtime.database, caller=plant.caller, batch_id=created.batch_id)


class TestClose:
    async def test_units_that_are_neither_packed_nor_with_a_consumer_become_void(self, plant: Plant) -> None:
        batch = await plant.prepared(30, exclude=ska(20), units_per_case=10)
        await plant.pack(batch)
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (1, 15)")
        closed = await close(plant, batch)
        assert closed.voided == 19
        states = await plant.states(batch)
        assert {number for number, state in states.items() if state != "void"} == {*range(1, 11), 15}
        assert await plant.queue(batch) == []
        reasons = await plant.sql("SELECT DISTINCT void_reason FROM qr_codes WHERE status = 'void'")
        assert [row.void_reason for row in reasons] == ["Run short"]
        assert await plant.events(batch, "batch.closed") == [("batch.closed", "{[11,15),[16,31)}")]
        assert (await plant.reconcile(batch)).differences == []

    async def test_its_jobs_are_cancelled_and_a_failed_job_cannot_be_retried(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        waiting, failed = await plant.submit(batch), await plant.submit(batch)
        await plant.sql(
            "UPDATE qr_reverse_jobs SET status = 'failed', finished_at = now(), error_message = 'x' WHERE id = :id",
            id=failed,
        )
        assert (await close(plant, batch)).cancelled_jobs == [waiting]
        assert await plant.work("reverse_job") == []
        with pytest.raises(BatchClosed):
            await retry_reverse_job(plant.runtime.database, caller=plant.caller, job_id=failed)

    async def test_the_reconciliation_tells_voided_by_a_person_voided_by_closing_and_excluded_apart(
        self, plant: Plant
    ) -> None:
        database, caller = plant.runtime.database, plant.caller
        batch = await plant.prepared(40, exclude=ska(1, 2, 3), units_per_case=10)
        await plant.pack(batch)
        await void_codes(database, caller=caller, batch_id=batch.batch_id, codes=ska(1, 20, 21), reason="Wet")
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (4, 25)")
        before = await plant.reconcile(batch)
        assert (before.void, before.in_case, before.scanned_without_case, before.prepared) == (3, 10, 1, 24)
        assert (before.excluded, before.voided_by_closing, before.remaining) == (2, 0, 0)
        await close(plant, batch)
        found = await plant.reconcile(batch)
        assert (found.void, found.in_case, found.scanned_without_case, found.prepared) == (3, 10, 1, 0)
        assert (found.excluded, found.voided_by_closing, found.remaining) == (2, 24, 0)
        assert found.differences == []
        await void_codes(database, caller=caller, batch_id=batch.batch_id, codes=ska(5), reason="Recalled")
        after = await plant.reconcile(batch)
        assert (after.void, after.in_case, after.voided_by_closing) == (4, 9, 24)

    async def test_the_reconciliation_of_a_closed_batch_counts_exclusions_whose_job_was_pruned(
        self, plant: Plant
    ) -> None:
        batch = await plant.prepared(10, exclude=ska(7), units_per_case=10)
        await plant.pack(batch, allow_partial=True)
        await close(plant, batch)
        await plant.sql("UPDATE qr_reverse_jobs SET finished_at = now() - interval '100 days'")
        await plant.sql(
            "UPDATE qr_prepared_codes SET consumed_at = now() - interval '100 days' WHERE status = 'consumed'"
        )
        assert (await prune(plant.runtime.database, days=90))["reverse_jobs"] == 1
        found = await plant.reconcile(batch)
        assert (found.in_case, found.excluded, found.voided_by_closing) == (9, 1, 0)
        assert [row.code for row in await listed(plant, batch, "excluded")] == ska(7)

    async def test_a_closed_batch_refuses_every_change(self, plant: Plant) -> None:
        database, caller = plant.runtime.database, plant.caller
        batch = await plant.prepared(20, exclude=ska(7), units_per_case=10)
        await plant.pack(batch)
        await close(plant, batch)
        before = await plant.events(batch)
        batch_id = batch.batch_id
        for change in (
            plant.pack(batch, 1),
            plant.link(batch, ska(12), case=1),
            plant.unlink(ska(1)),
            plant.move(batch, 0, 1),
            plant.submit(batch),
            mark_printed(database, caller=caller, batch_id=batch_id, codes=ska(1)),
            mark_printed(database, caller=caller, batch_id=batch_id, codes=None),
            readmit_codes(database, caller=caller, batch_id=batch_id, codes=ska(7)),
            close(plant, batch),
        ):
            with pytest.raises(BatchClosed):
                await change
        assert await plant.events(batch) == before

    async def test_a_batch_is_closed_once(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        ends = await asyncio.gather(*(close(plant, batch) for _ in range(3)), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["BatchClosed", "BatchClosed", "ClosedBatch"]

    async def test_a_batch_whose_codes_do_not_exist_cannot_be_closed(self, plant: Plant) -> None:
        created = await plant.order(10)
        with pytest.raises(BatchNotReady):
            await close_batch(plant.runtime.database, caller=plant.caller, batch_id=created.batch_id, reason="No")

    async def test_closing_while_stations_pack_and_a_job_runs_leaves_every_code_in_one_place(
        self, plant: Plant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qrtrack.services.packing.preparation.CHUNK", 20)
        batch = await plant.prepared(400, units_per_case=10)
        await plant.submit(batch)

        async def station(cases: range) -> None:
            for case in cases:
                await plant.pack(batch, case)

        async with asyncio.timeout(HANG_SECONDS):
            ends = await asyncio.gather(
                plant.work("reverse_job"),
                *(station(range(first, first + 10)) for first in range(0, 40, 10)),
                close(plant, batch),
                return_exceptions=True,
            )
        assert isinstance(ends[-1], ClosedBatch)
        assert all(isinstance(end, BatchClosed | None) for end in ends[1:-1])
        found = await plant.reconcile(batch)
        assert found.differences == []
        assert found.in_case + found.voided_by_closing == 400
        assert (found.prepared, found.remaining) == (0, 0)


class TestPlaces:
    """The units behind two of the sheet's counts can be listed."""

    async def test_listed_excluded_and_prepared_units_are_those_of_the_reconciliation(self, plant: Plant) -> None:
        batch = await plant.prepared(30, exclude=ska(2, 4, 29), units_per_case=10)
        await plant.submit(batch, ska(4, 30))
        await plant.pack(batch)
        await plant.submit(batch, ska(1))
        await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number IN (29, 20)")
        found = await plant.reconcile(batch)
        for place, count in (("excluded", found.excluded), ("prepared", found.prepared)):
            rows = await listed(plant, batch, place)
            assert len(rows) == count > 0
            pages = [await listed(plant, batch, place, after=row.sequence_number, limit=1) for row in rows]
            assert [row for page in pages for row in page] == rows[1:]
        assert [row.code for row in await listed(plant, batch, "excluded")] == ska(2, 4, 30)
        assert {row.status for row in await listed(plant, batch, "prepared")} == {"generated"}

    async def test_excluded_units_can_be_listed_after_closing(self, plant: Plant) -> None:
        batch = await plant.prepared(30, exclude=ska(2, 29), units_per_case=10)
        await close(plant, batch)
        assert [(row.code, row.status) for row in await listed(plant, batch, "excluded")] == [
            ("SKA000002", "void"), ("SKA000029", "void"),
        ]  # fmt: skip
        assert await listed(plant, batch, "prepared") == []


class TestKeys:
    async def test_keys_are_forgotten_only_when_their_hashes_exist(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        database, caller = plant.runtime.database, plant.caller
        with pytest.raises(InvalidState, match="hashing"):
            await forget_keys(database, caller=caller, batch_id=batch.batch_id)
        await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'a test'")
        with pytest.raises(InvalidState, match=r"the batch is failed\. Retry the batch first\.$"):
            await forget_keys(database, caller=caller, batch_id=batch.batch_id)
        await plant.sql("UPDATE qr_batches SET status = 'hashing', error_message = NULL")
        await plant.work("hashing")
        assert (await forget_keys(database, caller=caller, batch_id=batch.batch_id)).forgotten == 10
        rows = await plant.sql("SELECT count(root_key_sealed) AS sealed, count(root_key_hash) AS hashed FROM qr_codes")
        assert tuple(rows[0]) == (0, 10)
        assert len(await plant.events(batch, "keys.forgotten")) == 1

    async def test_forgetting_keys_waits_for_the_station_that_packs(self, plant: Plant) -> None:
        """Both write the same codes, each in its own order: without the lock they could wait for each other."""
        batch = await plant.prepared(10)
        await plant.work("hashing")
        database, caller = plant.runtime.database, plant.caller
        async with database.write(tenant=caller.organisation_id, batch_lock=batch.batch_id):
            forgetting = asyncio.create_task(forget_keys(database, caller=caller, batch_id=batch.batch_id))
            await asyncio.sleep(0.2)
            assert not forgetting.done()
        assert (await forgetting).forgotten == 10

    async def test_hashing_waits_for_the_station_that_packs(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        async with plant.runtime.database.write(batch_lock=batch.batch_id):
            hashing = asyncio.create_task(plant.work("hashing"))
            await asyncio.sleep(0.4)
            hashed = await plant.sql("SELECT id FROM qr_codes WHERE root_key_hash IS NOT NULL")
            assert (hashing.done(), hashed) == (False, [])
        await hashing
        assert len(await plant.sql("SELECT id FROM qr_codes WHERE root_key_hash IS NOT NULL")) == 10

    async def test_revealed_keys_are_those_of_the_labels_and_leave_an_event(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        database, caller, keys = plant.runtime.database, plant.caller, plant.runtime.keys
        shown = await reveal_codes(
            database, caller=caller, keys=keys, batch_id=batch.batch_id, status=None, after=2, limit=3
        )
        digests = await plant.sql(
            "SELECT sequence_number, root_key_digest FROM qr_codes WHERE sequence_number BETWEEN 3 AND 5 ORDER BY 1"
        )
        assert [(code.sequence_number, keys.digest(batch.batch_id, str(code.root_key))) for code in shown] == [
            (row.sequence_number, bytes(row.root_key_digest)) for row in digests
        ]
        assert await plant.events(batch, "keys.revealed") == [("keys.revealed", "{[3,6)}")]
        nothing = await reveal_codes(
            database, caller=caller, keys=keys, batch_id=batch.batch_id, status="void", after=0, limit=10
        )
        assert list(nothing) == []
        assert len(await plant.events(batch, "keys.revealed")) == 1

    async def test_forgotten_keys_are_revealed_as_none(self, plant: Plant) -> None:
        batch = await plant.batch(5)
        await plant.work("hashing")
        database, caller, keys = plant.runtime.database, plant.caller, plant.runtime.keys
        await forget_keys(database, caller=caller, batch_id=batch.batch_id)
        shown = await reveal_codes(
            database, caller=caller, keys=keys, batch_id=batch.batch_id, status=None, after=0, limit=9
        )
        assert [code.root_key for code in shown] == [None] * 5

    async def test_listing_codes_shows_no_key(self, plant: Plant) -> None:
        batch = await plant.prepared(10, units_per_case=5)
        await plant.pack(batch)
        listed = await list_codes(
            plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, status="packed", after=1, limit=2
        )
        assert [(code.code, code.master_code, code.case_number, code.root_key_sealed) for code in listed] == [
            (code, batch.master_codes[0], 1, None) for code in ska(2, 3)
        ]


async def test_a_batch_is_described_with_its_counts(plant: Plant) -> None:
    batch = await plant.prepared(variants=[("5g", 15), ("10g", 5)], units_per_case=5)
    await plant.pack(batch)
    await plant.work("hashing")
    found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id)
    assert (found.batch.status, batch_progress(found.batch), found.eta_seconds) == ("ready", 100, 0)
    assert (found.counts.total_items, found.counts.unique_root_keys) == (20, 20)
    assert (found.counts.cases_total, found.counts.cases_packed) == (4, 1)
    assert {state: count for state, count in found.counts.by_status.items() if count} == {"generated": 15, "packed": 5}
    assert [(part.variant, part.quantity) for part in found.variants] == [("5g", 15), ("10g", 5)]


async def test_the_remaining_time_of_hashing_follows_the_rate_of_the_last_chunks(plant: Plant) -> None:
    batch = await plant.batch(1000)

    async def eta() -> int | None:
        found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id)
        return found.eta_seconds

    assert await eta() is None
    await run_next(plant.runtime, BY_KIND["hashing"], StopSignal())
    # 100 keys in 100 seconds, and 900 are left.
    await plant.sql(
        "UPDATE qr_batch_stages SET started_at = clock_timestamp() - interval '100 seconds' WHERE status = 'completed'"
        " AND stage = 'hashing'"
    )
    seconds = await eta()
    assert seconds is not None
    assert 900 <= seconds < 1000
    await plant.sql("UPDATE qr_batch_stages SET finished_at = finished_at - interval '5 minutes'")
    assert await eta() is None


async def test_distinct_keys_and_uniq_codes_are_what_the_tables_say(plant: Plant) -> None:
    for batch_id in (
        (await plant.batch(20)).batch_id,
        (await plant.batch(3)).batch_id,
        (await plant.order(5)).batch_id,
    ):
        (counted,) = await plant.sql(
            "SELECT count(code.id) AS codes, count(DISTINCT code.root_key_digest) AS keys,"
            " count(DISTINCT batch.uniq_code) AS uniq_codes FROM qr_codes AS code"
            " JOIN qr_batches AS batch ON batch.id = code.batch_id WHERE batch.id = :id",
            id=batch_id,
        )
        found = await describe_batch(plant.runtime.database, caller=plant.caller, batch_id=batch_id)
        assert (found.counts.total_items, found.counts.unique_root_keys, found.counts.unique_uniq_codes) == tuple(
            counted
        )


async def test_batches_are_listed_newest_first_by_order_and_status_and_page_by_page(plant: Plant) -> None:
    first, second, third = await plant.batch(1), await plant.batch(1), await plant.order(1)
    elsewhere = Plant(plant.runtime, plant.caller)
    fourth = await elsewhere.order(1)

    async def listed(**asked: Any) -> list[object]:
        page = {"before": None, "limit": 10} | {name: asked.pop(name) for name in ("before", "limit") if name in asked}
        selection = BatchSelection(**asked)
        async with plant.read() as repositories:
            rows = await repositories.batch_lists.list(selection, **page)
        return [row.batch.id for row in rows]

    everything = [fourth.batch_id, third.batch_id, second.batch_id, first.batch_id]
    assert await listed() == everything
    assert await listed(order_id=plant.order_id) == everything[1:]
    assert await listed(status="creating") == everything[:2]
    assert await listed(limit=2) == everything[:2]
    assert await listed(before=third.batch_id) == everything[2:]


async def test_cases_are_listed_in_their_order(plant: Plant) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    await plant.pack(batch, 1)

    async def numbers(status: str | None, after: int = 0) -> list[int]:
        async with plant.read() as repositories:
            rows = await repositories.cases.list_of_batch(batch.batch_id, status=status, after=after, limit=9)
        return [row.case_number for row in rows]

    assert await numbers(None) == [1, 2, 3]
    assert await numbers("packed") == [2]
    assert await numbers("open", after=1) == [3]


async def test_a_master_code_is_the_uniq_code_and_the_case_number(plant: Plant) -> None:
    batch = await plant.batch(10_000, units_per_case=1)
    rows = await plant.sql("SELECT master_code FROM qr_master_codes WHERE case_number IN (1, 10000) ORDER BY id")
    assert [row.master_code for row in rows] == [f"{batch.uniq_code}-C0001", f"{batch.uniq_code}-C10000"]


async def test_only_a_failed_batch_is_retried(plant: Plant) -> None:
    batch = await plant.batch(5)
    with pytest.raises(InvalidState, match="hashing"):
        await retry_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id)


async def test_no_batch_of_another_organisation_is_found(plant: Plant) -> None:
    batch = await plant.batch(5)
    database, stranger = plant.runtime.database, Caller("stranger", uuid4(), plant.caller.roles)
    for use in (describe_batch, reconcile_batch, forget_keys, retry_batch):
        with pytest.raises(NotFound):
            await use(database, caller=stranger, batch_id=batch.batch_id)
    with pytest.raises(NotFound):
        await close_batch(database, caller=stranger, batch_id=batch.batch_id, reason="Mine")
    async with database.read(tenant=stranger.organisation_id) as repositories:
        listed = await repositories.batch_lists.list(BatchSelection(), before=None, limit=9)
    assert list(listed) == []
