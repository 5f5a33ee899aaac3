import httpx2

from plant import Plant

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


async def test_what_is_neither_is_not_found(client: httpx2.AsyncClient) -> None:
    assert (await client.get(f"{API}/SKA000001")).status_code == 404
