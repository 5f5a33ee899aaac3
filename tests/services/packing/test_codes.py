"""Codes printed, void and readmitted by whole lists; and the table of transitions, held against the database."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from plant import MadeBatch, Plant, ska
from qrtrack.domain.batches import BatchNotReady
from qrtrack.domain.errors import InvalidInput, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import UnknownCodes
from qrtrack.domain.packing.states import AVAILABLE, TRANSITIONS, CodeStatus
from qrtrack.services.packing.codes import (
    ChangedCodes,
    IllegalTransition,
    ReadmittedCodes,
    mark_printed,
    readmit_codes,
    void_codes,
)
from qrtrack.services.packing.links import CodesNotLinkable, CodesNotPacked


async def void(plant: Plant, batch: MadeBatch, codes: list[str], reason: str = "Damaged") -> ChangedCodes:
    return await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=codes, reason=reason
    )


async def print_(plant: Plant, batch: MadeBatch, codes: list[str] | None) -> ChangedCodes:
    return await mark_printed(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=codes)


async def readmit(plant: Plant, batch: MadeBatch, codes: list[str]) -> ReadmittedCodes:
    return await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=codes)


async def put(plant: Plant, batch: MadeBatch, number: int, status: str) -> None:
    """The code is in that state, packed ones in the first case."""
    if status == "packed":
        await plant.link(batch, ska(number))
        return
    await plant.sql(
        "UPDATE qr_codes SET status = :status, voided_at = CASE WHEN :status = 'void' THEN now() END,"
        " printed_at = CASE WHEN :status = 'printed' THEN now() END WHERE batch_id = :id AND sequence_number = :number",
        status=status,
        id=batch.batch_id,
        number=number,
    )


class TestVoid:
    async def test_units_are_void_with_a_reason_and_leave_the_queue(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        assert (await void(plant, batch, ska(2, 4), "Wet")).changed == 2
        rows = await plant.sql("SELECT sequence_number, void_reason FROM qr_codes WHERE status = 'void' ORDER BY 1")
        assert [tuple(row) for row in rows] == [(2, "Wet"), (4, "Wet")]
        assert await plant.queue(batch, "invalid") == [2, 4]
        assert await plant.events(batch, "codes.voided") == [("codes.voided", "{[2,3),[4,5)}")]

    async def test_a_packed_unit_is_taken_out_of_its_case_first(self, plant: Plant) -> None:
        batch = await plant.prepared(20, units_per_case=10)
        await plant.pack(batch)
        await plant.pack(batch, 1)
        await void(plant, batch, ska(1, 10, *range(11, 21)))
        rows = await plant.sql(
            "SELECT status, actual_units, first_code, last_code, completeness FROM qr_master_codes ORDER BY case_number"
        )
        assert [tuple(row) for row in rows] == [("packed", 8, *ska(2, 9), "inferred"), ("open", 0, None, None, None)]
        found = await plant.reconcile(batch)
        assert (found.void, found.in_case) == (12, 8)

    async def test_one_code_that_may_not_become_void_stops_the_whole_list(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        await put(plant, batch, 3, "redeemed")
        await put(plant, batch, 4, "void")
        with pytest.raises(IllegalTransition) as refused:
            await void(plant, batch, ska(1, 3, 4))
        assert refused.value.members["codes"] == [
            {"code": "SKA000003", "state": "redeemed"},
            {"code": "SKA000004", "state": "void"},
        ]
        assert (await plant.states(batch))[1] == "generated"
        assert await plant.events(batch, "codes.voided") == []

    async def test_codes_that_are_not_in_the_batch_are_all_named(self, plant: Plant) -> None:
        batch, other = await plant.batch(10), await plant.batch(10)
        with pytest.raises(UnknownCodes) as refused:
            await void(plant, batch, [*ska(1), "SKA000099", str(other.first_code)])
        assert refused.value.members["codes"] == ["SKA000099", str(other.first_code)]
        assert set((await plant.states(batch)).values()) == {"generated"}

    async def test_a_unit_voided_by_two_at_once_is_voided_once(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        ends = await asyncio.gather(*(void(plant, batch, ska(1, number)) for number in (2, 3)), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["ChangedCodes", "IllegalTransition"]
        assert len(await plant.events(batch, "codes.voided")) == 1


class TestPrinted:
    async def test_listed_units_are_printed_and_those_printed_before_not_counted(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        assert (await print_(plant, batch, ska(1, 2))).changed == 2
        assert (await print_(plant, batch, ska(2, 3, 4))).changed == 2
        assert await plant.events(batch, "codes.printed") == [
            ("codes.printed", "{[1,3)}"),
            ("codes.printed", "{[3,5)}"),
        ]

    async def test_all_units_not_printed_yet_are_printed_at_once(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        await void(plant, batch, ska(5))
        assert (await print_(plant, batch, None)).changed == 9
        assert await plant.events(batch, "codes.printed") == [("codes.printed", "{[1,5),[6,11)}")]
        assert (await print_(plant, batch, None)).changed == 0
        assert len(await plant.events(batch, "codes.printed")) == 1

    async def test_printed_units_are_packed_like_others(self, plant: Plant) -> None:
        batch = await plant.prepared(10)
        await print_(plant, batch, None)
        assert (await plant.pack(batch, allow_partial=True)).linked_count == 10

    async def test_printing_one_batch_leaves_the_others_alone(self, plant: Plant) -> None:
        batch, other = await plant.batch(5), await plant.batch(5)
        await print_(plant, batch, None)
        assert set((await plant.states(other)).values()) == {"generated"}


class TestReadmit:
    async def test_readmitted_units_are_prepared_by_the_next_job(self, plant: Plant) -> None:
        batch = await plant.prepared(10, exclude=ska(2, 3))
        ended = await readmit(plant, batch, ska(1, 2))
        assert (ended.readmitted, ended.not_excluded) == (1, ska(1))
        await plant.submit(batch)
        await plant.work("reverse_job")
        assert await plant.queue(batch) == [1, 2, *range(4, 11)]
        assert await plant.events(batch, "codes.readmitted") == [("codes.readmitted", "{[2,3)}")]

    async def test_readmitting_ends_the_exclusions_of_all_jobs(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        await plant.submit(batch, ska(2))
        await plant.submit(batch, ska(2))
        assert (await readmit(plant, batch, ska(2))).readmitted == 1
        await plant.work("reverse_job")
        assert await plant.queue(batch) == list(range(1, 11))

    async def test_readmitting_what_is_not_excluded_leaves_no_event(self, plant: Plant) -> None:
        batch = await plant.batch(10)
        assert (await readmit(plant, batch, ska(2))).readmitted == 0
        assert await plant.events(batch, "codes.readmitted") == []

    async def test_unknown_codes_end_no_exclusion(self, plant: Plant) -> None:
        batch = await plant.prepared(10, exclude=ska(2))
        with pytest.raises(UnknownCodes):
            await readmit(plant, batch, [*ska(2), "SKA000099"])
        assert (await readmit(plant, batch, ska(2))).readmitted == 1


@pytest.mark.parametrize("step", [void, print_, readmit], ids=["void", "printed", "readmit"])
async def test_no_step_is_possible_without_codes(plant: Plant, step: object) -> None:
    assert callable(step)
    batch = await plant.batch(5)
    with pytest.raises(InvalidInput):
        await step(plant, batch, [])
    created = await plant.order(5)
    unmade = MadeBatch(created.batch_id, plant.order_id, "", None, None, [])
    with pytest.raises(BatchNotReady):
        await step(plant, unmade, ska(1))
    stranger = Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))
    with pytest.raises(NotFound):
        await step(stranger, batch, ska(1))


@pytest.mark.parametrize("status", list(CodeStatus))
async def test_the_table_of_transitions_and_the_database_agree(plant: Plant, status: CodeStatus) -> None:
    batch = await plant.batch(50, units_per_case=10)
    for number in range(1, 5):
        await put(plant, batch, number, status)

    async def possible(attempt: object, *refusals: type[Exception]) -> bool:
        try:
            await attempt  # type: ignore[misc]
        except refusals:
            return False
        return True

    reachable = {
        CodeStatus.PRINTED: await possible(print_(plant, batch, ska(1)), IllegalTransition),
        CodeStatus.PACKED: await possible(plant.link(batch, ska(2), case=1), CodesNotLinkable),
        CodeStatus.VOID: await possible(void(plant, batch, ska(3)), IllegalTransition),
    }
    stays = {CodeStatus.PRINTED} if status == CodeStatus.PRINTED else set()
    assert {target for target, reached in reachable.items() if reached} == (
        (TRANSITIONS[status] & set(reachable)) | stays
    )
    assert reachable[CodeStatus.PACKED] == (status in AVAILABLE)
    assert await possible(plant.unlink(ska(4)), CodesNotPacked) == (status == CodeStatus.PACKED)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'lost'",
        "status = 'packed'",
        "status = 'void'",
        "voided_at = now()",
        "master_code_id = (SELECT min(id) FROM qr_master_codes)",
        "status = 'packed', master_code_id = (SELECT max(id) FROM qr_master_codes)",
    ],
    ids=["unknown", "packed nowhere", "void without time", "time without void", "in a case unpacked", "other's case"],
)
async def test_the_database_refuses_impossible_codes(plant: Plant, change: str) -> None:
    batch = await plant.batch(5)
    await plant.batch(5)
    with pytest.raises(IntegrityError):
        await plant.sql(f"UPDATE qr_codes SET {change} WHERE batch_id = :id AND sequence_number = 1", id=batch.batch_id)
