from typing import Any

import httpx2
import pytest

from plant import Plant
from qrtrack.schemas.cursors import encode_cursor

API = "/api/manufacturer/trace"


async def test_a_unit_leads_to_its_case_batch_and_order(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made, station="line-1")
    found = (await operator.get(f"{API}/ska000002")).json()
    assert (found["code"]["code"], found["code"]["status"]) == ("SKA000002", "packed")
    assert (found["case"]["master_code"], found["case"]["station"]) == (made.master_codes[0], "line-1")
    assert found["batch"]["batch_id"] == str(made.batch_id)
    assert found["batch"]["order_id"] == str(made.order_id)
    assert found["codes"] == []
    actions = [event["action"] for event in found["events"]]
    assert actions[0] == "batch.created"
    assert actions[-1] == "case.packed"


async def test_a_unit_in_no_case_has_none(client: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.batch(2)
    assert (await client.get(f"{API}/SKA000001")).json()["case"] is None


async def test_a_case_leads_to_its_units(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made)
    found = (await client.get(f"{API}/{made.master_codes[0]}")).json()
    assert found["code"] is None
    assert [code["code"] for code in found["codes"]] == ["SKA000001", "SKA000002"]
    assert [event["action"] for event in found["events"]] == ["case.packed"]


async def pages_of(client: httpx2.AsyncClient, code: str, limit: int) -> list[dict[str, Any]]:
    """Every page of a trace, one after the other."""
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["truncated"]:
        cursor = {"cursor": pages[-1]["next_cursor"]} if pages else {}
        pages.append((await client.get(f"{API}/{code}", params={"limit": limit, **cursor})).json())
    assert pages[-1]["next_cursor"] is None
    return pages


async def test_the_events_of_a_unit_come_page_by_page_oldest_first(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    for _ in range(3):
        await plant.pack(made)
        await plant.unlink(master_code=made.master_codes[0])
        await plant.submit(made)
        await plant.work("reverse_job")
    whole = (await client.get(f"{API}/SKA000001")).json()["events"]
    assert len(whole) == 7
    for limit in (1, 2, 3, 7):
        pages = await pages_of(client, "SKA000001", limit)
        assert [event for page in pages for event in page["events"]] == whole
        assert {len(page["events"]) for page in pages[:-1]} <= {limit}
        assert {page["code"]["code"] for page in pages} == {"SKA000001"}


async def test_the_units_of_a_case_and_its_events_come_page_by_page_each_once(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(10, units_per_case=5)
    await plant.pack(made, target_units=3)
    await plant.link(made, ["SKA000007"])
    await plant.unlink(["SKA000002"])
    for limit in (1, 2, 3):
        pages = await pages_of(client, made.master_codes[0], limit)
        codes = [code["code"] for page in pages for code in page["codes"]]
        actions = [event["action"] for page in pages for event in page["events"]]
        assert codes == ["SKA000001", "SKA000003", "SKA000007"]
        assert actions == ["case.packed", "case.linked", "codes.unlinked"]


@pytest.mark.parametrize("cursor", ["x", encode_cursor(1), encode_cursor(1, "a"), encode_cursor(1, 2, 3)])
async def test_a_cursor_of_another_list_is_refused(client: httpx2.AsyncClient, plant: Plant, cursor: str) -> None:
    await plant.batch(2)
    answer = await client.get(f"{API}/SKA000001", params={"cursor": cursor})
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, ["/query/cursor"])


async def test_a_cursor_beyond_the_end_is_an_empty_page(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(2)
    await plant.pack(made)
    cursor = encode_cursor(2**63 - 1, 2**63 - 1)
    for code in ("SKA000001", made.master_codes[0]):
        page = (await client.get(f"{API}/{code}", params={"cursor": cursor})).json()
        assert (page["codes"], page["events"], page["next_cursor"], page["truncated"]) == ([], [], None, False)


async def test_an_unknown_code_is_not_found(client: httpx2.AsyncClient) -> None:
    assert (await client.get(f"{API}/SKA000001")).status_code == 404


async def test_the_trace_of_an_excluded_unit_says_so(client: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.prepared(4, ["SKA000002"])
    good, damaged = [(await client.get(f"{API}/SKA00000{number}")).json()["code"] for number in (1, 2)]
    assert (good["is_excluded"], good["exclusions"]) == (False, [])
    assert damaged["is_excluded"]
    [job] = await plant.sql("SELECT id FROM qr_reverse_jobs")
    [exclusion] = damaged["exclusions"]
    assert (exclusion["job_id"], exclusion["excluded_by"]) == (str(job.id), plant.caller.user_id)
    assert exclusion["excluded_at"]
