"""Mode A: units scanned one by one into a case, each answered with accepted or why not."""

import asyncio
from uuid import uuid4

import pytest

from plant import MadeBatch, Plant, ska
from qrtrack.domain.errors import InvalidInput, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchClosed
from qrtrack.domain.packing.case_packing import CaseOfOtherBatch, OrderMismatch
from qrtrack.repositories.packing import codes as code_repository
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.links import CodesNotLinkable, LinkCodes, LinkedCodes, link_codes


async def case_row(plant: Plant, batch: MadeBatch, case: int = 0) -> tuple[str, int, str | None, str | None]:
    rows = await plant.sql(
        "SELECT status, actual_units, first_code, last_code FROM qr_master_codes WHERE master_code = :code",
        code=batch.master_codes[case],
    )
    return rows[0].status, rows[0].actual_units, rows[0].first_code, rows[0].last_code


async def test_scanned_units_go_into_the_case(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    linked = await plant.link(batch, ska(7, 3, 5), station="Line 1")
    assert [(result.code, result.accepted) for result in linked.results] == [(code, True) for code in ska(7, 3, 5)]
    assert (linked.linked_count, linked.consumed_count, linked.from_queue) == (3, 0, False)
    assert linked.master_code_info.completeness == "verified"
    assert await case_row(plant, batch) == ("packed", 3, *ska(3, 7))
    assert await plant.events(batch, "case.linked") == [("case.linked", "{[3,4),[5,6),[7,8)}")]


async def test_prepared_rows_of_linked_units_are_consumed(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    linked = await plant.link(batch, ska(2, 4))
    assert linked.consumed_count == 2
    assert await plant.queue(batch, "consumed") == [2, 4]
    assert [int(code[3:]) for code in (await plant.pack(batch, 1)).linked_codes] == [1, 3, *range(5, 13)]


async def test_units_are_added_to_a_packed_case_up_to_its_expected_units(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, target_units=8)
    linked = await plant.link(batch, ska(15, 16))
    assert linked.master_code_info.actual_units == 10
    assert linked.master_code_info.completeness == "inferred"
    assert await case_row(plant, batch) == ("packed", 10, *ska(1, 16))
    with pytest.raises(CodesNotLinkable) as refused:
        await plant.link(batch, ska(17))
    assert [result["reason"] for result in refused.value.members["results"]] == ["case-full"]


async def test_a_list_that_is_looked_up_in_parts_is_judged_as_one(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_repository, "CODES_AT_ONCE", 3)
    batch = await plant.batch(20, units_per_case=5)
    with pytest.raises(CodesNotLinkable) as refused:
        await plant.link(batch, [*ska(1, 2), "ZZ999999", *ska(3, 4, 5, 6)])
    reasons = [result["reason"] for result in refused.value.members["results"]]
    assert reasons == [None, None, "unknown-code", None, None, None, "case-full"]
    assert [result.code for result in (await plant.link(batch, ska(9, 7, 8, 1))).results] == ska(9, 7, 8, 1)


async def test_each_unit_that_cannot_be_linked_says_why(plant: Plant) -> None:
    batch = await plant.batch(variants=[("5g", 20), ("10g", 10)], units_per_case=4)
    await plant.submit(batch, ska(3))
    other = await plant.batch(5)
    await plant.sql("UPDATE qr_codes SET status = 'void', voided_at = now() WHERE code = 'SKA000004'")
    await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE code = 'SKA000005'")
    await plant.sql("UPDATE qr_codes SET status = 'redeemed' WHERE code = 'SKA000006'")
    await plant.link(batch, ska(1), case=1)
    codes = ["SKA999999", str(other.first_code), *ska(1, 4, 5, 6, 25, 3, 7, 8, 9, 10, 11)]
    with pytest.raises(CodesNotLinkable, match="or send accept_valid to link the others") as refused:
        await plant.link(batch, codes)
    results = {result["code"]: result for result in refused.value.members["results"]}
    assert {code: result.get("reason") for code, result in results.items()} == dict(
        zip(
            codes,
            [
                "unknown-code",
                "other-batch",
                "already-in-case",
                "code-void",
                "code-scanned",
                "code-redeemed",
                "variant-mismatch",
                "excluded",
                None,
                None,
                None,
                None,
                "case-full",
            ],
            strict=True,
        )
    )
    assert results["SKA000001"]["master_code"] == batch.master_codes[1]
    assert await case_row(plant, batch) == ("open", 0, None, None)


async def test_accept_valid_links_the_good_units(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.link(batch, ska(1), case=1)
    linked = await plant.link(batch, ska(1, 2, 3), accept_valid=True)
    assert [result.accepted for result in linked.results] == [False, True, True]
    assert list(linked.linked_codes) == ska(2, 3)
    assert await plant.events(batch, "case.linked") == [("case.linked", "{[1,2)}"), ("case.linked", "{[2,4)}")]


async def test_accept_valid_links_nothing_without_a_good_unit(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.link(batch, ska(1), case=1)
    with pytest.raises(CodesNotLinkable):
        await plant.link(batch, ska(1), accept_valid=True)


async def test_an_empty_list_is_bad_input(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    with pytest.raises(InvalidInput) as refused:
        await plant.link(batch, [])
    assert [error.pointer for error in refused.value.errors] == ["/codes"]


async def test_a_unit_that_is_listed_twice_is_linked_once(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    linked = await plant.link(batch, ska(1, 2, 1))
    assert list(linked.linked_codes) == ska(1, 2)


async def test_units_of_another_organisation_are_unknown(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    stranger = Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))
    theirs = await stranger.batch(20, units_per_case=10, serial_prefix="ABC")
    with pytest.raises(CodesNotLinkable, match=r"Take them out of the box and the list\.$") as refused:
        await plant.link(batch, [str(theirs.first_code)])
    assert [result["reason"] for result in refused.value.members["results"]] == ["unknown-code"]


async def test_linking_refuses_what_packing_from_the_queue_refuses(plant: Plant) -> None:
    batch, other = await plant.batch(10), await plant.batch(10)
    database, caller = plant.runtime.database, plant.caller
    with pytest.raises(OrderMismatch):
        await link_codes(
            database, caller=caller, request=LinkCodes(batch.batch_id, uuid4(), batch.master_codes[0], ska(1))
        )
    with pytest.raises(CaseOfOtherBatch):
        await link_codes(
            database, caller=caller, request=LinkCodes(batch.batch_id, batch.order_id, other.master_codes[0], ska(1))
        )
    with pytest.raises(NotFound):
        await link_codes(database, caller=caller, request=LinkCodes(batch.batch_id, batch.order_id, "NONE", ska(1)))
    await close_batch(database, caller=caller, batch_id=batch.batch_id, reason="Run short")
    with pytest.raises(BatchClosed):
        await plant.link(batch, ska(1))


async def test_a_unit_scanned_into_two_cases_at_once_ends_in_one(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    ends = await asyncio.gather(
        *(plant.link(batch, ska(*range(5)[1:], 10 + case), case=case) for case in range(2)), return_exceptions=True
    )
    assert [type(end) for end in ends if not isinstance(end, LinkedCodes)] == [CodesNotLinkable]
    assert list((await plant.states(batch)).values()).count("packed") == 5


async def test_the_last_place_of_a_case_is_filled_once(plant: Plant) -> None:
    batch = await plant.batch(20, units_per_case=10)
    await plant.link(batch, ska(*range(1, 10)))
    ends = await asyncio.gather(*(plant.link(batch, ska(number)) for number in range(11, 16)), return_exceptions=True)
    assert sum(isinstance(end, LinkedCodes) for end in ends) == 1
    assert (await case_row(plant, batch))[1] == 10
