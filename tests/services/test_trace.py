"""Looking back from a unit to its case and order, from a case to its units; one event for every change, for ever."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from plant import MadeBatch, Plant, ska
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.selections import PackSelection
from qrtrack.services.packing.batches import close_batch
from qrtrack.services.packing.codes import mark_printed, readmit_codes, void_codes
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job
from qrtrack.services.trace import Trace, trace_code


async def trace(plant: Plant, code: str) -> Trace:
    return await trace_code(plant.runtime.database, caller=plant.caller, code=code, limit=1000)


def actions(found: Trace) -> list[str]:
    return [event.action for event in found.events]


async def test_a_unit_leads_to_its_case_batch_and_order(plant: Plant) -> None:
    batch = await plant.prepared(20, exclude=ska(3), units_per_case=10)
    await plant.pack(batch, station="Line 1")
    found = await trace(plant, "SKA000002")
    assert found.code is not None
    assert found.case is not None
    assert (found.code.code, found.code.status) == ("SKA000002", "packed")
    assert found.case.master_code == batch.master_codes[0]
    assert (found.batch.id, found.batch.order_id) == (batch.batch_id, plant.order_id)
    assert actions(found) == ["batch.created", "case.packed"]
    assert actions(await trace(plant, "SKA000003")) == ["batch.created", "reverse_job.submitted"]


async def test_a_unit_in_no_case_has_none(plant: Plant) -> None:
    await plant.batch(5)
    found = await trace(plant, "SKA000002")
    assert (found.case, list(found.codes)) == (None, [])


async def test_a_case_leads_to_its_units_and_events(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch, target_units=3)
    await plant.link(batch, ska(9))
    await plant.unlink(ska(1))
    found = await trace(plant, batch.master_codes[0])
    assert found.code is None
    assert [row.code for row in found.codes] == ska(2, 3, 9)
    assert actions(found) == ["case.packed", "case.linked", "codes.unlinked"]
    assert (await trace(plant, batch.master_codes[1])).events == []


async def test_the_trace_of_a_case_includes_events_of_several_cases(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.pack(batch)
    await plant.pack(batch, 1)
    await plant.unlink(ska(1, 11))
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(2, 12), reason="Wet"
    )
    for master_code in batch.master_codes:
        assert actions(await trace(plant, master_code)) == ["case.packed", "codes.unlinked", "codes.voided"]


async def test_codes_that_are_unknown_or_of_another_organisation_are_not_found(plant: Plant) -> None:
    batch = await plant.batch(5)
    stranger = Plant(plant.runtime, Caller("stranger", uuid4(), plant.caller.roles))
    for where, code in ((plant, "SKA000099"), (stranger, "SKA000001"), (stranger, batch.master_codes[0])):
        with pytest.raises(NotFound):
            await trace(where, code)


async def test_the_latest_packs_come_first_by_station_and_by_user(plant: Plant) -> None:
    batch = await plant.prepared(40, units_per_case=10)
    await plant.pack(batch, station="A")
    await plant.pack(batch, 1, station="B")
    colleague = Plant(plant.runtime, Caller("colleague", plant.caller.organisation_id, plant.caller.roles))
    await colleague.link(batch, ska(31), case=2, station="A")

    async def packs(station: str | None = None, user: str | None = None, **page: Any) -> list[tuple[Any, ...]]:
        page = {"before": None, "limit": 10} | page
        selection = PackSelection(station=station, actor=user)
        async with plant.read() as repositories:
            rows = await repositories.trace.list_packs(selection, **page)
        return [(row.case_number, row.linked_count) for row in rows]

    assert await packs() == [(3, 1), (2, 10), (1, 10)]
    assert await packs(station="A") == [(3, 1), (1, 10)]
    assert await packs(user=plant.caller.user_id) == [(2, 10), (1, 10)]
    assert await packs(limit=1) == [(3, 1)]
    newest = await plant.sql("SELECT max(id) AS id FROM trace_events")
    assert await packs(before=newest[0].id) == [(2, 10), (1, 10)]


async def every_change(plant: Plant) -> MadeBatch:
    database, caller = plant.runtime.database, plant.caller
    batch = await plant.prepared(40, exclude=ska(1, 2), units_per_case=10)
    await mark_printed(database, caller=caller, batch_id=batch.batch_id, codes=ska(3, 4, 5))
    await plant.pack(batch)
    await plant.link(batch, ska(20, 22), case=1)
    await plant.unlink(ska(3, 20))
    await void_codes(database, caller=caller, batch_id=batch.batch_id, codes=ska(4), reason="Wet")
    await readmit_codes(database, caller=caller, batch_id=batch.batch_id, codes=ska(2))
    await plant.pack(batch, 2, missing_codes=ska(14))
    job_id = await plant.submit(batch, ska(40))
    await cancel_reverse_job(database, caller=caller, job_id=job_id)
    await close_batch(database, caller=caller, batch_id=batch.batch_id, reason="Run short")
    return batch


async def test_every_change_leaves_one_event_with_its_units(plant: Plant) -> None:
    batch = await every_change(plant)
    assert await plant.events(batch) == [
        ("batch.created", "{[1,41)}"),
        ("reverse_job.submitted", "{[1,3)}"),
        ("reverse_job.completed", "{}"),
        ("codes.printed", "{[3,6)}"),
        ("case.packed", "{[3,13)}"),
        ("case.linked", "{[20,21),[22,23)}"),
        ("codes.unlinked", "{[3,4),[20,21)}"),
        ("codes.voided", "{[4,5)}"),
        ("codes.readmitted", "{[2,3)}"),
        ("codes.missing", "{[14,15)}"),
        ("case.packed", "{[3,4),[13,14),[15,22),[23,24)}"),
        ("reverse_job.submitted", "{[40,41)}"),
        ("reverse_job.cancelled", "{}"),
        ("batch.closed", "{[1,3),[14,15),[24,41)}"),
    ]
    actors = await plant.sql("SELECT DISTINCT actor, manufacturer_org_id FROM trace_events")
    assert [tuple(row) for row in actors] == [(plant.caller.user_id, plant.caller.organisation_id)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trace_events SET actor = 'somebody else'",
        "UPDATE trace_events SET actor = 'somebody else' WHERE false",
        "DELETE FROM trace_events",
        "TRUNCATE trace_events",
        "INSERT INTO trace_events OVERRIDING SYSTEM VALUE TABLE trace_events ON CONFLICT (id) DO UPDATE SET actor = ''",
    ],
)
async def test_the_owner_of_the_tables_cannot_change_a_trace_event(plant: Plant, statement: str) -> None:
    await plant.batch(5)
    with pytest.raises(DBAPIError, match="append-only"):
        await plant.sql(statement)


@pytest.mark.parametrize("statement", ["UPDATE trace_events SET actor = 'x'", "DELETE FROM trace_events"])
async def test_a_request_has_no_right_to_change_a_trace_event(plant: Plant, statement: str) -> None:
    await plant.batch(5)
    with pytest.raises(DBAPIError, match="permission denied"):
        async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
            await repositories.trace._execute(statement)


async def test_the_trace_of_an_excluded_unit_names_job_time_and_user(plant: Plant) -> None:
    batch = await plant.prepared(30, exclude=ska(7), units_per_case=10)
    [job] = await plant.sql("SELECT id, created_at FROM qr_reverse_jobs")
    await plant.pack(batch, missing_codes=ska(3))
    [listed] = (await plant.trace("SKA000007")).exclusions
    assert (listed.job_id, listed.excluded_by) == (job.id, plant.caller.user_id)
    assert listed.excluded_at >= job.created_at
    [missing] = (await plant.trace("SKA000003")).exclusions
    assert (missing.job_id, missing.excluded_by) == (None, plant.caller.user_id)
    assert (await plant.trace("SKA000008")).exclusions == []
    await readmit_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(3, 7))
    assert (await plant.trace("SKA000007")).exclusions == []


async def test_the_trace_names_each_excluding_job_until_it_is_cancelled(plant: Plant) -> None:
    batch = await plant.prepared(10, exclude=ska(7))
    second = await plant.submit(batch, ska(7))
    assert [row.job_id for row in (await plant.trace("SKA000007")).exclusions][1:] == [second]
    await cancel_reverse_job(plant.runtime.database, caller=plant.caller, job_id=second)
    assert len((await plant.trace("SKA000007")).exclusions) == 1
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="Run short")
    assert len((await plant.trace("SKA000007")).exclusions) == 1
