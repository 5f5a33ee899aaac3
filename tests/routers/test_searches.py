from datetime import date
from typing import Any

import httpx2
import pytest

from plant import MadeBatch, Plant, ska
from qrtrack.domain.qr import printed, unit_payload

API = "/api/manufacturer"
BASE = "https://verify.example.com"
GTIN = "04006381333931"
SSCC = "095212340000000013"


async def found(client: httpx2.AsyncClient, text: str) -> Any:
    answer = await client.get(f"{API}/search", params={"q": text})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def kinds(client: httpx2.AsyncClient, text: str) -> list[str]:
    return [result["kind"] for result in (await found(client, text))["results"]]


async def follow(client: httpx2.AsyncClient, result: Any) -> None:
    """Every link of a result leads somewhere."""
    assert len(result["links"]) >= 2
    for link in result["links"].values():
        assert (await client.get(link)).status_code == 200, link


async def test_a_unit_is_found_with_where_it_is(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, ska(6), units_per_case=2)
    await plant.pack(made)
    answer = await found(operator, "ska000002\r\n")
    batch = f"{API}/batches/{made.batch_id}"
    assert answer == {
        "success": True,
        "read_as": "code",
        "hint": None,
        "results": [
            {
                "kind": "unit",
                "code": "SKA000002",
                "batch_id": str(made.batch_id),
                "order_id": str(made.order_id),
                "product_name": "Gold 1 g",
                "variant": None,
                "status": "packed",
                "is_excluded": False,
                "is_prepared": False,
                "master_code": made.master_codes[0],
                "case_number": 1,
                "names_other_batch": False,
                "links": {
                    "trace": f"{API}/trace/SKA000002",
                    "symbol": f"{batch}/codes/SKA000002/qr.svg",
                    "batch": batch,
                },
            }
        ],
    }
    [waiting], [damaged] = [(await found(operator, code))["results"] for code in ska(3, 6)]
    assert [unit["is_prepared"] for unit in (waiting, damaged)] == [True, False]
    assert [unit["is_excluded"] for unit in (waiting, damaged)] == [False, True]
    await follow(operator, answer["results"][0])


async def test_every_symbol_of_a_unit_finds_it(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(2, gtin=GTIN, lot="L/7", expires_on=date(2031, 1, 31))
    of_batch = unit_payload(BASE, made.uniq_code, "SKA000002")
    expires_on = date(2031, 1, 31)
    of_product = unit_payload(BASE, made.uniq_code, "SKA000002", gtin=GTIN, lot="L/7", expires_on=expires_on)
    element_strings = f"01{GTIN}10L/7\x1d21SKA000002"
    for text in (
        of_batch, printed(of_batch), of_product, of_batch.swapcase(), of_product * 2, f"]Q1{of_product}\r\n",
        f"]C1{element_strings}", f"]d2{element_strings}".replace("\x1d", "<GS>"), f"(01){GTIN}(10)L/7(21)ska000002",
        "SKA000002SKA000002",
    ):  # fmt: skip
        answer = await found(client, text)
        assert [(result["kind"], result["code"]) for result in answer["results"]] == [("unit", "SKA000002")], text
        assert not answer["results"][0]["names_other_batch"]


async def test_a_symbol_that_names_another_batch_says_so(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(2, gtin=GTIN)
    other = await plant.batch(2, serial_prefix="PCK")
    answer = await found(client, f"{BASE}/q/{other.uniq_code}/SKA000001")
    batch, unit = answer["results"]
    assert (batch["kind"], batch["batch_id"]) == ("batch", str(other.batch_id)), "what the symbol names comes first"
    assert (unit["code"], unit["batch_id"], unit["names_other_batch"]) == ("SKA000001", str(made.batch_id), True)
    assert [unit["names_other_batch"] for unit in (await found(client, "SKA000001"))["results"]] == [False]


async def test_a_case_is_found_with_what_it_holds(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made, station="line-2")
    for text in (made.master_codes[0], f"]Q1{made.master_codes[0].lower()}\t", made.master_codes[0] * 2):
        [box] = (await found(operator, text))["results"]
        assert (box["kind"], box["status"], box["actual_units"], box["station"]) == ("case", "packed", 2, "line-2")
        assert (box["master_code"], box["case_number"]) == (made.master_codes[0], 1)
        await follow(operator, box)


async def test_a_batch_is_found_by_all_that_names_it(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(2, gtin=GTIN, lot="L7")
    await plant.batch(2, serial_prefix="PCK")
    for text in (
        made.uniq_code.lower(), f"{BASE}/q/{made.uniq_code}", str(made.batch_id), f"{{{made.batch_id}}}",
        f"(01){GTIN}", f"(01){GTIN}(10)l7", f"{BASE}/01/{GTIN}/10/L7",
    ):  # fmt: skip
        [batch] = (await found(operator, text))["results"]
        assert (batch["kind"], batch["batch_id"], batch["gtin"]) == ("batch", str(made.batch_id), GTIN), text
        await follow(operator, batch)
    assert await kinds(operator, f"(01){GTIN}(10)L8") == []
    assert await kinds(operator, str(made.order_id)) == ["batch", "batch"]


async def test_jobs_are_found_by_their_ids(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(2)
    job_id, label_job_id = await plant.submit(made), await plant.label(made)
    [job] = (await found(operator, f" {job_id} "))["results"]
    [label_job] = (await found(operator, str(label_job_id)))["results"]
    assert (job["kind"], job["job_id"], job["status"], job["progress"]) == ("reverse_job", str(job_id), "queued", 0)
    assert (label_job["kind"], label_job["label_job_id"]) == ("label_job", str(label_job_id))
    for result in (job, label_job):
        await follow(operator, result)


async def test_the_better_match_of_a_product_name_comes_first(client: httpx2.AsyncClient, plant: Plant) -> None:
    names = ["White gold", "Gold 1 g", "gold", "Gold 5 g", "Silver 100%_"]
    for name in names:
        made = await plant.batch(2)
        await plant.sql("UPDATE qr_batches SET product_name = :name WHERE id = :id", name=name, id=made.batch_id)
    answer = await found(client, "GOLD")
    assert [batch["product_name"] for batch in answer["results"]] == ["gold", "Gold 5 g", "Gold 1 g", "White gold"]
    assert [batch["product_name"] for batch in (await found(client, "0%_"))["results"]] == ["Silver 100%_"]
    assert await kinds(client, "%") == await kinds(client, "_") == ["batch"]


async def test_results_are_bounded(client: httpx2.AsyncClient, plant: Plant) -> None:
    for _ in range(22):
        await plant.order(1)
    assert (
        len((await found(client, "gold"))["results"])
        == len((await found(client, str(plant.order_id)))["results"])
        == 20
    )


@pytest.mark.parametrize(
    ("text", "read_as", "hint"),
    [
        ("NOSUCH000001", "code", "Nothing of your organisation matches. Search for"),
        (SSCC, "code", "This is an SSCC, and cases are not stored with SSCCs"),
        (f"(00){SSCC}", "logistic-unit", "This is an SSCC, and cases are not stored with SSCCs"),
        ("https://example.com/", "address", "No QR symbol of this service contains this address"),
        (f"{BASE}/q/ABCDEFGHJKLM/SKA000001", "unit", "Your organisation has no such unit"),
        (f"{BASE}/q/ABCDEFGHJKLM", "batch", "Nothing of your organisation matches"),
        ("no such thing", "text", "Nothing of your organisation matches"),
        ("a\0b", "text", "Nothing of your organisation matches"),
        ("\u202e\ufffd" * 20, "text", "Nothing of your organisation matches"),
        ("x" * 1000, "text", "Nothing of your organisation matches"),
        ("]C1" + "21" * 100, "text", "Nothing of your organisation matches"),
    ],
)
async def test_an_empty_result_says_what_can_be_searched(
    operator: httpx2.AsyncClient, text: str, read_as: str, hint: str
) -> None:
    answer = await found(operator, text)
    assert (answer["results"], answer["read_as"]) == ([], read_as)
    assert answer["hint"].startswith(hint)
    assert "Search for the code of a unit, a master code, a uniq code" in answer["hint"]


@pytest.mark.parametrize("text", ["", " ", "\r\n", "]Q1", "]C1\x1d"])
async def test_an_empty_scan_is_refused(operator: httpx2.AsyncClient, text: str) -> None:
    answer = await operator.get(f"{API}/search", params={"q": text})
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, ["/query/q"])


async def test_nothing_of_another_organisation_is_found(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(2, gtin=GTIN)
    job_id, label_job_id = await plant.submit(made), await plant.label(made)
    texts = [
        "SKA000001", made.master_codes[0], made.uniq_code, str(made.batch_id), str(made.order_id), str(job_id),
        str(label_job_id), "gold", f"(01){GTIN}", f"(01){GTIN}(21)SKA000001", f"{BASE}/q/{made.uniq_code}/SKA000001",
    ]  # fmt: skip
    for text in texts:
        assert len(await kinds(client, text)) == 1, text
        assert await kinds(stranger, text) == [], text


async def test_scans_are_read_alike_wherever_they_are_sent(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(8, units_per_case=2)
    url = f"HTTPS://VERIFY.EXAMPLE.COM/Q/{made.uniq_code}/"
    scanned = {number: f"]Q1{url}SKA00000{number}\r\n" for number in range(1, 9)}
    of_batch = {"batch_id": str(made.batch_id)}
    named = {**of_batch, "order_id": str(made.order_id)}
    cases = [f"]Q1{code.lower()}]Q1{code.lower()}\r\n" for code in made.master_codes]

    async def post(path: str, body: Any) -> Any:
        answer = await client.post(f"{API}/{path}", json=body)
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()

    excluded = await post("reverse-job/submit", {**named, "exclude_codes": [scanned[8] + scanned[7]], "dry_run": True})
    assert excluded["exclude_count"] == 2
    scans = {"first_code": scanned[1] * 2, "last_code": f"*{url}SKA000003*", "missing_codes": [scanned[2]]}
    packed = await post("link-to-master-from-queue", {**named, "master_code": cases[0], **scans})
    assert packed["linked_codes"] == ska(1, 3)
    assert packed["master_code_info"]["completeness"] == "verified"
    moved = await post("move-case", {"from_master_code": cases[0], "to_master_code": cases[1], "reason": "wrong"})
    assert moved["master_code_info"]["master_code"] == made.master_codes[1]
    linked = await post("link-to-master", {**named, "master_code": cases[2], "codes": [scanned[4], scanned[5]]})
    assert linked["linked_codes"] == ska(4, 5)
    assert (await post("unlink-from-master", {"codes": [scanned[4]], "reason": "x"}))["unlinked_codes"] == ska(4)
    assert (await post("unlink-from-master", {"master_code": cases[1], "reason": "x"}))["unlinked_count"] == 2
    assert (await post("codes/readmit", {**of_batch, "codes": [scanned[2]]}))["readmitted"] == 1
    assert (await post("codes/printed", {**of_batch, "codes": [scanned[6]]}))["changed"] == 1
    assert (await post("codes/void", {**of_batch, "codes": [scanned[7]], "reason": "torn"}))["changed"] == 1
    printing = {"what": "units", "first_code": scanned[1], "last_code": scanned[2]}
    assert (await post(f"batches/{made.batch_id}/labels", printing))["label_count"] == 2


async def test_scans_in_addresses_and_filters_are_read_alike(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(2)
    for code in ("]Q1ska000001%0D%0A", "SKA000001SKA000001", "*SKA000001*"):
        assert (await client.get(f"{API}/trace/{code}")).json()["code"]["code"] == "SKA000001"
        assert (await client.get(f"{API}/batches/{made.batch_id}/codes/{code}/qr.svg")).status_code == 200
    url = f"{BASE}/q/{made.uniq_code}"
    codes = await client.get(f"{API}/batches/{made.batch_id}/codes", params={"code": f"{url}/SKA000002"})
    assert [code["code"] for code in codes.json()["codes"]] == ["SKA000002"]
    for text in (url, f"{url}/SKA000002", made.uniq_code.lower()):
        batches = await client.get(f"{API}/batches", params={"uniq_code": text})
        assert [batch["batch_id"] for batch in batches.json()["batches"]] == [str(made.batch_id)]


async def test_a_master_code_field_that_gets_a_unit_asks_for_the_case(client: httpx2.AsyncClient, plant: Plant) -> None:
    made: MadeBatch = await plant.prepared(2)
    body = {"batch_id": str(made.batch_id), "order_id": str(made.order_id)}
    unit = f"{BASE}/q/{made.uniq_code}/SKA000001"
    answer = await client.post(f"{API}/link-to-master-from-queue", json={**body, "master_code": unit})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("There is no master case SKA000001 in your organisation. Scan the QR")
