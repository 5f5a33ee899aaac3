"""Lists as people search in them: what each row tells, and what the list is narrowed by."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import event

from plant import Plant, ska
from qrtrack.services.packing.codes import void_codes

API = "/api/manufacturer"


async def rows(client: httpx2.AsyncClient, path: str, name: str, **query: Any) -> list[Any]:
    """Every page of a list, one after the other."""
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    if found["next_cursor"] is None:
        return list(found[name])
    return [*found[name], *await rows(client, path, name, **query | {"cursor": found["next_cursor"]})]


async def batches(client: httpx2.AsyncClient, **query: Any) -> list[Any]:
    return await rows(client, f"{API}/batches", "batches", **query)


async def packs(client: httpx2.AsyncClient, **query: Any) -> list[Any]:
    return await rows(client, f"{API}/packs", "packs", **query)


async def test_a_batch_in_the_list_says_how_far_it_is_packed(client: httpx2.AsyncClient, plant: Plant) -> None:
    waiting, packed = await plant.prepared(6), await plant.prepared(6, ["SKA000007"], units_per_case=2)
    await plant.pack(packed)
    await plant.link(packed, ska(12), case=1)
    await plant.order(4)
    counts = [(row["batch_id"], row["packed_count"], row["prepared_count"]) for row in await batches(client, limit=1)]
    assert counts[1:] == [(str(packed.batch_id), 3, 2), (str(waiting.batch_id), 0, 6)]
    assert counts[0][1:] == (0, 0)


async def test_a_page_of_batches_is_one_statement_however_long_it_is(client: httpx2.AsyncClient, plant: Plant) -> None:
    statements: list[str] = []
    engine = plant.runtime.database.engine.sync_engine

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "qr_batches" in statement:
            statements.append(statement)

    for _ in range(5):
        await plant.batch(2)
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert len((await client.get(f"{API}/batches")).json()["batches"]) == 5
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(statements) == 1


async def test_batches_are_found_by_product_uniq_code_and_whether_they_are_closed(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = []
    for name in ("Gold 1 g", "Silver 10 g", "100% Gold_bar"):
        order = {"order_id": str(uuid4()), "product_name": name, "quantity": 2, "serial_prefix": "SKA"}
        made.append((await client.post(f"{API}/batches", json=order)).json())
    await plant.work("creating")
    await client.post(f"{API}/batches/{made[0]['batch_id']}/close", json={"reason": "Run short"})

    async def found(**query: Any) -> list[int]:
        return [[one["batch_id"] for one in made].index(row["batch_id"]) for row in await batches(client, **query)]

    assert await found(product_name="gold") == [2, 0]
    assert await found(product_name="  SILVER 10 G ") == [1]
    assert [await found(product_name=sign) for sign in ("%", "_", "\\", "/")] == [[2], [2], [], []]
    assert await found(uniq_code=made[1]["uniq_code"].lower()) == [1]
    assert await found(uniq_code=made[1]["uniq_code"][:-1]) == []
    assert (await found(closed="true"), await found(closed="false")) == ([0], [2, 1])
    assert await found(product_name="gold", closed=False, limit=1) == [2]
    assert await found(product_name="gold", closed=True, uniq_code=made[2]["uniq_code"]) == []


@pytest.mark.parametrize("query", [{"closed": "perhaps"}, {"product_name": " "}, {"uniq_code": ""}, {"product": "x"}])
async def test_a_filter_that_says_nothing_is_refused(client: httpx2.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get(f"{API}/batches", params=query)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/query/{name}" for name in query]


async def test_a_stranger_does_not_find_the_batch(stranger: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(2)
    await plant.pack(made)
    assert await batches(stranger, uniq_code=made.uniq_code) == []
    assert await packs(stranger, batch_id=str(made.batch_id)) == []
    assert await rows(stranger, f"{API}/reverse-job/jobs", "jobs", order_id=str(made.order_id)) == []


async def test_jobs_and_cases_are_narrowed_too(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(variants=[("1g", 4), ("5g", 2)], units_per_case=2)
    jobs = [str(await plant.submit(made, variant=variant)) for variant in ("1g", "5g")]
    other = Plant(plant.runtime, plant.caller)
    others = str(await other.submit(await other.batch(2)))

    async def found(**query: str) -> list[str]:
        return [job["job_id"] for job in await rows(client, f"{API}/reverse-job/jobs", "jobs", **query)]

    assert await found(order_id=str(other.order_id)) == [others]
    assert await found(variant="5g") == [jobs[1]]
    assert await found(order_id=str(plant.order_id), variant="1g", status="queued") == [jobs[0]]
    path = f"{API}/batches/{made.batch_id}/cases"
    assert [box["case_number"] for box in await rows(client, path, "cases", variant="1g")] == [1, 2]
    assert [box["case_number"] for box in await rows(client, path, "cases", variant="5g", status="open")] == [3]


async def test_packs_of_one_batch_are_listed(client: httpx2.AsyncClient, plant: Plant) -> None:
    one, other = await plant.prepared(4, units_per_case=2), await plant.prepared(2)
    for batch, case in ((one, 0), (other, 0), (one, 1)):
        await plant.pack(batch, case)
    assert [pack["case_number"] for pack in await packs(client, batch_id=str(one.batch_id), limit=1)] == [2, 1]
    assert await packs(client, batch_id=str(uuid4())) == []


class TestUndonePacks:
    async def test_a_pack_of_which_nothing_was_taken_out_is_not_marked(
        self, client: httpx2.AsyncClient, plant: Plant
    ) -> None:
        made = await plant.prepared(6, units_per_case=2)
        await plant.pack(made)
        await plant.pack(made, 1)
        await plant.unlink(master_code=made.master_codes[0])
        await void_codes(
            plant.runtime.database, caller=plant.caller, batch_id=made.batch_id, codes=ska(6), reason="Wet"
        )
        second, first = await packs(client)
        assert (second["undone_at"], second["undone_count"]) == (None, 0)
        assert first["undone_count"] == first["linked_count"] == 2

    async def test_units_taken_out_one_after_another_are_summed_since_the_first_of_them(
        self, client: httpx2.AsyncClient, plant: Plant
    ) -> None:
        made = await plant.prepared(10, units_per_case=5)
        await plant.pack(made)
        await plant.unlink(ska(2))
        [partly] = await packs(client)
        assert partly["undone_count"] == 1
        await plant.pack(made, 1)
        await plant.unlink(ska(4, 7))
        await void_codes(
            plant.runtime.database, caller=plant.caller, batch_id=made.batch_id, codes=ska(5, 10), reason="Wet"
        )
        _, first = await packs(client)
        assert (first["undone_count"], first["undone_at"]) == (3, partly["undone_at"])

    async def test_units_that_were_packed_again_do_not_undo_the_new_pack(
        self, client: httpx2.AsyncClient, plant: Plant
    ) -> None:
        made = await plant.prepared(2)
        await plant.pack(made)
        await plant.unlink(master_code=made.master_codes[0])
        await plant.link(made, ska(1, 2))
        again, first = await packs(client)
        assert (again["undone_count"], first["undone_count"]) == (0, 2)
        await plant.unlink(ska(1))
        again, first = await packs(client)
        assert (again["undone_count"], first["undone_count"]) == (1, 2)
        assert first["undone_at"] < again["undone_at"]


async def test_a_box_that_was_moved_shows_its_case_of_now(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, units_per_case=2)
    await plant.pack(made)
    await plant.move(made, 0, 1)
    await plant.move(made, 1, 2)
    await plant.pack(made)
    again, first = await packs(client)
    box, _, target = made.master_codes
    assert (first["master_code"], first["moved_to"], first["undone_count"]) == (box, target, 0)
    assert (again["master_code"], again["moved_to"]) == (box, None)


async def test_codes_of_a_batch_are_found_by_how_they_begin(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(12, exclude=["SKA000003"])
    path = f"{API}/batches/{made.batch_id}/codes"
    found = await rows(client, path, "codes", code="ska00001")
    assert [row["code"] for row in found] == ska(10, 11, 12)
    assert [row["code"] for row in await rows(client, path, "codes", code="SKA000003", status="excluded")] == ska(3)
    assert await rows(client, path, "codes", code="SKB") == []
    assert await rows(client, path, "codes", code="SKA%") == []
