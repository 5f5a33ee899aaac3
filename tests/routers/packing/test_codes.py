from typing import Any

import httpx2
import pytest

from plant import Plant

API = "/api/manufacturer/codes"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def test_damaged_units_become_void_also_out_of_their_case(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(5, units_per_case=2)
    await plant.pack(made)
    body = {"batch_id": str(made.batch_id), "codes": ["ska000001, SKA000004-SKA000005"], "reason": "torn"}
    assert (await client.post(f"{API}/void", json=body)).json() == {
        "success": True,
        "batch_id": str(made.batch_id),
        "changed": 3,
    }
    again = await client.post(f"{API}/void", json=body)
    assert (again.status_code, slug(again)) == (409, "illegal-transition")
    assert again.json()["codes"][0] == {"code": "SKA000001", "state": "void"}


async def test_a_scanned_unit_url_names_its_code(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    scanned = f"https://verify.example.com/q/{made.uniq_code}/SKA000002"
    body = {"batch_id": str(made.batch_id), "codes": [scanned], "reason": "torn"}
    assert (await operator.post(f"{API}/void", json=body)).json()["changed"] == 1


async def test_the_qr_of_the_batch_is_refused_as_a_unit(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    body = {"batch_id": str(made.batch_id), "codes": ["SKA000001", f"https://x/q/{made.uniq_code}"], "reason": "torn"}
    answer = await client.post(f"{API}/void", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/codes/1"]


async def test_codes_that_are_not_of_the_batch_are_all_listed(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    body = {"batch_id": str(made.batch_id), "codes": ["SKA000001", "SKB000001 SKB000002"], "reason": "torn"}
    answer = await client.post(f"{API}/void", json=body)
    assert (answer.status_code, slug(answer)) == (422, "unknown-codes")
    assert answer.json()["codes"] == ["SKB000001", "SKB000002"]


async def test_labels_are_marked_printed_by_list_and_then_the_rest(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    some = {"batch_id": str(made.batch_id), "codes": ["SKA000001-SKA000002"]}
    rest = {"batch_id": str(made.batch_id), "all": True}
    changed = [(await client.post(f"{API}/printed", json=body)).json()["changed"] for body in (some, some, rest, rest)]
    assert changed == [2, 0, 3, 0]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("printed", {}),
        ("printed", {"codes": ["SKA000001"], "all": True}),
        ("printed", {"codes": []}),
        ("void", {"codes": [" , ;"], "reason": "torn"}),
        ("readmit", {"codes": []}),
    ],
)
async def test_a_request_that_names_no_code_is_refused(
    client: httpx2.AsyncClient, plant: Plant, path: str, more: dict[str, Any]
) -> None:
    made = await plant.batch(5)
    answer = await client.post(f"{API}/{path}", json={"batch_id": str(made.batch_id), **more})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/codes"]


async def test_a_unit_that_is_good_after_all_is_readmitted(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(5, ["SKA000002"])
    body = {"batch_id": str(made.batch_id), "codes": ["SKA000001", "SKA000002"]}
    assert (await client.post(f"{API}/readmit", json=body)).json() == {
        "success": True,
        "batch_id": str(made.batch_id),
        "readmitted": 1,
        "not_excluded": ["SKA000001"],
    }


async def test_codes_still_being_created_cannot_be_marked(client: httpx2.AsyncClient, plant: Plant) -> None:
    created = await plant.order(5)
    answer = await client.post(f"{API}/printed", json={"batch_id": str(created.batch_id), "all": True})
    assert (answer.status_code, slug(answer)) == (409, "batch-not-ready")
