"""Recalls of batches, cases and codes: rows, trace and counts. What a consumer reads is tested with verification."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from plant import MadeBatch, Plant, killed_at, ska
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import UnitOfOtherBatch, UnknownCodes, parse_codes
from qrtrack.repositories.trace import TraceRepository
from qrtrack.repositories.verification.recalls import RecallRepository, RecallRow
from qrtrack.services.recalls import (
    AlreadyRecalled,
    RecallTexts,
    describe_recall,
    lift_recall,
    recall_batch,
    recall_case,
    recall_codes,
)

TEXTS = RecallTexts("Glass in lot 7", "Do not use it. Bring it back.", "Jangan digunakan. Kembalikan.")


async def of_batch(plant: Plant, batch_id: UUID, texts: RecallTexts = TEXTS) -> RecallRow:
    return await recall_batch(plant.runtime.database, caller=plant.caller, batch_id=batch_id, texts=texts)


async def of_case(plant: Plant, master_code: str, texts: RecallTexts = TEXTS) -> RecallRow:
    return await recall_case(plant.runtime.database, caller=plant.caller, master_code=master_code, texts=texts)


async def of_codes(plant: Plant, *elements: str) -> RecallRow:
    pasted = parse_codes(elements, field="codes")
    return await recall_codes(plant.runtime.database, caller=plant.caller, pasted=pasted, texts=TEXTS)


async def lift(plant: Plant, recall_id: UUID) -> RecallRow:
    return await lift_recall(plant.runtime.database, caller=plant.caller, recall_id=recall_id, reason="No glass")


async def details(plant: Plant, recall: RecallRow) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    found = await describe_recall(plant.runtime.database, caller=plant.caller, recall_id=recall.recall_id)
    counts = {status.value: units for status, units in found.by_status.items() if units}
    return counts, [(each.first_code, each.last_code, each.units) for each in found.ranges]


async def recalled_sequences(plant: Plant) -> list[int]:
    rows = await plant.sql("SELECT sequence_number FROM recalled_codes ORDER BY sequence_number")
    return [row.sequence_number for row in rows]


def stranger(plant: Plant) -> Plant:
    return Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))


async def test_a_batch_is_recalled_by_one_row(plant: Plant) -> None:
    batch = await plant.batch(5)
    recall = await of_batch(plant, batch.batch_id)
    assert (recall.scope, recall.unit_count, recall.recalled_by) == ("batch", 5, plant.caller.user_id)
    assert await recalled_sequences(plant) == []
    assert await plant.events(batch, "recall.made") == [("recall.made", "{[1,6)}")]
    assert await details(plant, recall) == ({"generated": 5}, [("SKA000001", "SKA000005", 5)])


async def test_a_recalled_case_keeps_its_units_wherever_they_go(plant: Plant) -> None:
    batch = await plant.prepared(6, exclude=ska(2), units_per_case=3)
    await plant.pack(batch, 0)
    recall = await of_case(plant, batch.master_codes[0])
    assert (recall.scope, recall.unit_count, recall.master_code) == ("case", 3, batch.master_codes[0])
    assert await plant.events(batch, "recall.made") == [("recall.made", "{[1,2),[3,5)}")]
    await plant.unlink(ska(3))
    await plant.move(batch, 0, 1)
    assert await recalled_sequences(plant) == [1, 3, 4]
    assert await details(plant, recall) == (
        {"generated": 1, "packed": 2},
        [("SKA000001", "SKA000001", 1), ("SKA000003", "SKA000004", 2)],
    )


async def test_a_list_of_codes_may_be_of_several_batches(plant: Plant) -> None:
    one, other = await plant.batch(5), await plant.batch(5, serial_prefix="SKB")
    recall = await of_codes(plant, "SKA000002-SKA000004", "skb000001", "SKA000002")
    assert (recall.scope, recall.batch_id, recall.unit_count) == ("codes", None, 4)
    assert await plant.events(one, "recall.made") == [("recall.made", "{[2,5)}")]
    assert await plant.events(other, "recall.made") == [("recall.made", "{[1,2)}")]
    assert (await details(plant, recall))[1] == [("SKA000002", "SKA000004", 3), ("SKB000001", "SKB000001", 1)]


async def test_one_unknown_code_recalls_nothing(plant: Plant) -> None:
    await plant.batch(5)
    with pytest.raises(UnknownCodes) as refused:
        await of_codes(plant, "SKA000004-SKA000007", "NOPE")
    assert refused.value.members["codes"] == ["SKA000006", "SKA000007", "NOPE"]
    assert "not in your organisation" in str(refused.value), "a list of codes names no batch"
    assert await plant.sql("SELECT 1 FROM recalls") == []
    with pytest.raises(UnknownCodes):
        await of_codes(stranger(plant), "SKA000001")


async def test_a_scanned_unit_of_another_batch_recalls_nothing(plant: Plant) -> None:
    batch = await plant.batch(2)
    await of_codes(plant, f"https://verify.example.com/q/{batch.uniq_code}/SKA000001")
    with pytest.raises(UnitOfOtherBatch):
        await of_codes(plant, "SKA000002", "https://verify.example.com/q/ABCDEFGHJKMN/SKA000001")
    assert len(await plant.sql("SELECT 1 FROM recalls")) == 1


async def test_an_empty_case_and_one_that_is_not_there_are_refused(plant: Plant) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    with pytest.raises(InvalidState, match="is empty"):
        await of_case(plant, batch.master_codes[1])
    with pytest.raises(NotFound, match="There is no case NOPE"):
        await of_case(plant, "NOPE")


async def test_things_of_another_organisation_are_not_there(plant: Plant) -> None:
    batch, other = await plant.prepared(2, units_per_case=2), stranger(plant)
    await plant.pack(batch)
    recall = await of_batch(plant, batch.batch_id)
    for asked in (
        of_batch(other, batch.batch_id), of_case(other, batch.master_codes[0]), lift(other, recall.recall_id),
        details(other, recall),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await asked
    assert await listed(other) == []
    assert (await plant.row("recalls", recall.recall_id)).lifted_at is None


async def listed(plant: Plant, **asked: Any) -> list[UUID]:
    selection: dict[str, Any] = {"batch_id": None, "is_in_force": None, "before": None, "limit": 100} | asked
    async with plant.read() as repositories:
        rows = await repositories.recalls.list(**selection)
    return [row.recall_id for row in rows]


async def test_recalls_are_listed_newest_first_and_by_batch_and_state(plant: Plant) -> None:
    one, other = await plant.batch(2), await plant.batch(2, serial_prefix="SKB")
    first = (await of_batch(plant, one.batch_id)).recall_id
    second = (await of_codes(plant, "SKB000001")).recall_id
    third = (await of_codes(plant, "SKA000001", "SKB000002")).recall_id
    await lift(plant, first)
    assert await listed(plant) == [third, second, first]
    assert await listed(plant, batch_id=one.batch_id) == [third, first]
    assert await listed(plant, batch_id=other.batch_id, limit=1) == [third]
    assert await listed(plant, is_in_force=True) == [third, second]
    assert await listed(plant, is_in_force=False, before=third) == [first]


async def test_the_same_recall_twice_at_once_is_one(plant: Plant) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    asked = (
        [of_batch(plant, batch.batch_id) for _ in range(6)],
        [of_case(plant, batch.master_codes[0]) for _ in range(6)],
    )
    for requests in asked:
        made: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
        [first] = [each for each in made if isinstance(each, RecallRow)]
        refused = [each for each in made if isinstance(each, AlreadyRecalled)]
        assert [each.members["recall_id"] for each in refused] == [first.recall_id] * 5
    other_reason = TEXTS._replace(reason="Wrong label")
    assert (await of_batch(plant, batch.batch_id, other_reason)).unit_count == 4
    assert len(await plant.events(batch, "recall.made")) == 3


async def test_a_recall_is_lifted_once_and_can_be_made_again(plant: Plant) -> None:
    batch = await plant.batch(3)
    recall = await of_batch(plant, batch.batch_id)
    done: list[Any] = await asyncio.gather(*(lift(plant, recall.recall_id) for _ in range(4)), return_exceptions=True)
    [lifted] = [each for each in done if isinstance(each, RecallRow)]
    assert lifted.lifted_by == plant.caller.user_id
    refused = [str(each) for each in done if isinstance(each, InvalidState)]
    assert len(refused) == 3
    assert refused[0].startswith(f"This recall was lifted already, on {lifted.lifted_at:%Y-%m-%d %H:%M} UTC.")
    assert await plant.events(batch, "recall.lifted") == [("recall.lifted", "{[1,4)}")]
    assert (await of_batch(plant, batch.batch_id)).recall_id != recall.recall_id


async def test_a_recall_waits_for_a_lift_that_is_on_its_way(plant: Plant) -> None:
    """Refused while the other is in force, made when it is lifted: never neither."""
    batch = await plant.batch(3)
    recall = await of_batch(plant, batch.batch_id)
    async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
        await repositories.recalls.lift(recall.recall_id, actor="manager")
        again = asyncio.create_task(of_batch(plant, batch.batch_id))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not (await plant.sql(waiting) or again.done()):
            await asyncio.sleep(0.01)
    if isinstance(error := again.exception() if again.done() else None, AlreadyRecalled):
        assert error.members["recall_id"] == recall.recall_id
    else:
        assert (await again).recall_id != recall.recall_id


KILLS = [
    (RecallRepository, "add_of_batch", "before"), (RecallRepository, "add_of_batch", "after"),
    (TraceRepository, "add_of_recall", "before"), (TraceRepository, "add_of_recall", "after"),
]  # fmt: skip


async def counts(plant: Plant, batch: MadeBatch) -> tuple[int, int]:
    in_force = await plant.sql("SELECT 1 FROM recalls WHERE lifted_at IS NULL")
    return len(in_force), len(await plant.events(batch, "recall.made", "recall.lifted"))


@pytest.mark.parametrize(("owner", "step", "moment"), KILLS)
async def test_a_kill_recalls_and_traces_or_does_neither(plant: Plant, owner: type, step: str, moment: str) -> None:
    batch = await plant.batch(2)
    with killed_at(owner, step, call=1, moment=moment) as kill, pytest.raises(Exception, match=r".+"):
        await of_batch(plant, batch.batch_id)
    assert kill.done
    assert await counts(plant, batch) == (0, 0)
    await of_batch(plant, batch.batch_id)
    assert await counts(plant, batch) == (1, 1)


async def test_a_kill_lifts_and_traces_or_does_neither(plant: Plant) -> None:
    batch = await plant.batch(2)
    recall = await of_batch(plant, batch.batch_id)
    for owner, step in ((RecallRepository, "lift"), (TraceRepository, "add_of_recall")):
        with killed_at(owner, step, call=1, moment="after") as kill, pytest.raises(Exception, match=r".+"):
            await lift(plant, recall.recall_id)
        assert kill.done
        assert await counts(plant, batch) == (1, 1)
    await lift(plant, recall.recall_id)
    assert await counts(plant, batch) == (0, 2)
