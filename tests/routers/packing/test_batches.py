from typing import Any
from uuid import uuid4

import httpx2

from plant import Plant
from qrtrack.domain.packing.imports import ROWS_LIMIT

API = "/api/manufacturer/batches"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


def order(**changed: Any) -> dict[str, Any]:
    sound = {"order_id": str(uuid4()), "product_name": "Gold 1 g", "quantity": 100, "serial_prefix": "SKA"}
    return {name: value for name, value in (sound | changed).items() if value is not ...}


async def test_a_new_batch_is_accepted_with_its_address(client: httpx2.AsyncClient) -> None:
    answer = await client.post(API, json=order())
    made = answer.json()
    assert answer.status_code == 202
    assert made == {
        "success": True,
        "batch_id": made["batch_id"],
        "status": "creating",
        "quantity": 100,
        "uniq_code": made["uniq_code"],
        "first_code": "SKA000001",
        "last_code": "SKA000100",
        "status_url": f"{API}/{made['batch_id']}",
    }
    assert answer.headers["location"] == made["status_url"]


async def test_a_case_holds_a_hundred_units_by_default(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = (await client.post(API, json=order(quantity=250, units_per_case=...))).json()
    await plant.work("creating")
    cases = (await client.get(f"{made['status_url']}/cases")).json()["cases"]
    assert [case["expected_units"] for case in cases] == [100, 100, 50]


async def test_random_serials_are_not_in_the_answer(client: httpx2.AsyncClient) -> None:
    made = (await client.post(API, json=order(serial_mode="random"))).json()
    assert (made["first_code"], made["last_code"]) == (None, None)


async def test_a_batch_of_variants_has_their_sum(client: httpx2.AsyncClient, plant: Plant) -> None:
    variants = [{"variant": " 10g ", "quantity": 6}, {"variant": "20g", "quantity": 4}]
    made = (await client.post(API, json=order(quantity=..., variants=variants, units_per_case=4))).json()
    await plant.work("creating")
    batch = (await client.get(made["status_url"])).json()["batch"]
    assert made["quantity"] == batch["total_items"] == 10
    assert batch["variants"] == [{"variant": "10g", "quantity": 6}, {"variant": "20g", "quantity": 4}]
    assert batch["cases"] == {"total": 3, "packed": 0, "open": 3}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"quantity": 0}, "/quantity"),
    ({"quantity": 1_000_001}, "/quantity"),
    ({"quantity": "100"}, "/quantity"),
    ({"quantity": True}, "/quantity"),
    ({"quantity": ...}, "/quantity"),
    ({"variants": [{"variant": "a", "quantity": 1}]}, "/quantity"),
    ({"quantity": ..., "variants": []}, "/variants"),
    ({"quantity": ..., "variants": [{"variant": "a", "quantity": 1}] * 1001}, "/variants"),
    ({"quantity": ..., "variants": [{"variant": "a", "quantity": 1}] * 2}, "/variants/1/variant"),
    ({"quantity": ..., "variants": [{"variant": v, "quantity": 600_000} for v in "ab"]}, "/variants"),
    ({"quantity": ..., "variants": [{"variant": "a", "quantity": 0}]}, "/variants/0/quantity"),
    ({"quantity": ..., "variants": [{"variant": " ", "quantity": 1}]}, "/variants/0/variant"),
    ({"serial_prefix": "ska"}, "/serial_prefix"),
    ({"serial_prefix": "SKA1"}, "/serial_prefix"),
    ({"serial_prefix": "ABCDEFGHI"}, "/serial_prefix"),
    ({"serial_prefix": "SKA\n"}, "/serial_prefix"),
    ({"serial_mode": "imported"}, "/serial_mode"),
    ({"units_per_case": 0}, "/units_per_case"),
    ({"product_name": "  "}, "/product_name"),
    ({"gtin": "4006381333932"}, "/gtin"),
    ({"gtin": "+4006381"}, "/gtin"),
    ({"lot": "a b"}, "/lot"),
    ({"lot": ".."}, "/lot"),
    ({"expires_on": "2031-02-30"}, "/expires_on"),
    ({"expires_on": 1_900_000_000}, "/expires_on"),
    ({"order_id": "7"}, "/order_id"),
]


async def test_a_contradictory_request_is_refused_at_its_field(client: httpx2.AsyncClient) -> None:
    for changed, pointer in MISTAKES:
        answer = await client.post(API, json=order(**changed))
        assert (answer.status_code, pointers(answer)) == (422, [pointer]), changed


async def test_a_gtin_is_kept_with_14_digits(client: httpx2.AsyncClient) -> None:
    made = (await client.post(API, json=order(gtin="4006381333931", lot="L-1", expires_on="2031-01-31"))).json()
    batch = (await client.get(made["status_url"])).json()["batch"]
    assert (batch["gtin"], batch["lot"], batch["expires_on"]) == ("04006381333931", "L-1", "2031-01-31")


async def test_the_batch_of_the_history_is_exactly_a_hundred(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(100)
    await plant.work("hashing")
    answer = (await client.get(f"{API}/{made.batch_id}")).json()
    batch = answer["batch"]
    assert answer["success"] is True
    assert batch["by_status"] == {
        "generated": 100,
        "printed": 0,
        "packed": 0,
        "scanned": 0,
        "redeemed": 0,
        "void": 0,
    }
    counted = ("total_items", "unique_root_keys", "unique_uniq_codes", "keys_hashed", "progress", "eta_seconds")
    assert [batch[name] for name in counted] == [100, 100, 1, 100, 100, 0]
    assert (batch["status"], batch["cases"]) == ("ready", {"total": 1, "packed": 0, "open": 1})


async def test_a_batch_without_codes_yet_has_no_uniq_code_in_use(client: httpx2.AsyncClient, plant: Plant) -> None:
    created = await plant.order(10)
    batch = (await client.get(f"{API}/{created.batch_id}")).json()["batch"]
    assert (batch["status"], batch["progress"], batch["total_items"], batch["unique_uniq_codes"]) == (
        "creating",
        0,
        0,
        0,
    )


async def test_batches_are_listed_newest_first_page_by_page(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = [str((await plant.order(5)).batch_id) for _ in range(3)]
    first = (await client.get(API, params={"limit": 2})).json()
    second = (await client.get(API, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    listed = [batch["batch_id"] for page in (first, second) for batch in page["batches"]]
    assert listed == made[::-1]
    assert second["next_cursor"] is None


async def test_the_list_is_filtered_by_order_and_status(client: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.order(5)
    other = (await client.post(API, json=order())).json()

    async def listed(**query: str) -> list[str]:
        return [batch["batch_id"] for batch in (await client.get(API, params=query)).json()["batches"]]

    other_order = (await client.get(other["status_url"])).json()["batch"]["order_id"]
    assert await listed(order_id=other_order) == [other["batch_id"]]
    assert len(await listed(status="creating")) == 2
    assert await listed(status="ready") == []


async def test_codes_are_listed_in_serial_order_page_by_page(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(5, units_per_case=2)
    await plant.pack(made)
    first = (await client.get(f"{API}/{made.batch_id}/codes", params={"limit": 3})).json()
    rest = (
        await client.get(f"{API}/{made.batch_id}/codes", params={"limit": 3, "cursor": first["next_cursor"]})
    ).json()
    assert first["codes"][0] == {
        "code": "SKA000001",
        "sequence_number": 1,
        "uniq_code": made.uniq_code,
        "variant": None,
        "status": "packed",
        "is_excluded": False,
        "is_prepared": False,
        "master_code": made.master_codes[0],
        "case_number": 1,
    }
    assert [code["is_prepared"] for code in rest["codes"]] == [True, True]
    assert [code["sequence_number"] for page in (first, rest) for code in page["codes"]] == [1, 2, 3, 4, 5]
    assert rest["next_cursor"] is None
    packed = (await client.get(f"{API}/{made.batch_id}/codes", params={"status": "packed"})).json()
    assert [code["code"] for code in packed["codes"]] == ["SKA000001", "SKA000002"]


async def test_a_manager_sees_the_root_keys_and_a_trace_event_names_them(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.batch(5)
    seen: list[str] = []
    query: dict[str, Any] = {"reveal": "root_key", "limit": 2}
    while True:
        answer = await client.get(f"{API}/{made.batch_id}/codes", params=query)
        assert answer.headers["cache-control"] == "no-store"
        seen += [code["root_key"] for code in answer.json()["codes"]]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            break
    assert len(set(seen)) == 5
    events = await plant.sql("SELECT unit_count FROM trace_events WHERE action = 'keys.revealed' ORDER BY id")
    assert [event.unit_count for event in events] == [2, 2, 1]


async def test_an_operator_sees_no_root_keys(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    refused = await operator.get(f"{API}/{made.batch_id}/codes", params={"reveal": "root_key"})
    assert (refused.status_code, slug(refused)) == (403, "missing-role")
    allowed = await operator.get(f"{API}/{made.batch_id}/codes")
    assert all("root_key" not in code for code in allowed.json()["codes"])


async def test_cases_are_listed_by_number(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(5, units_per_case=2)
    await plant.pack(made)
    first = (await client.get(f"{API}/{made.batch_id}/cases", params={"limit": 2})).json()
    rest = (
        await client.get(f"{API}/{made.batch_id}/cases", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    assert [case["case_number"] for page in (first, rest) for case in page["cases"]] == [1, 2, 3]
    packed = first["cases"][0]
    assert (packed["status"], packed["actual_units"], packed["packed_by"]) == ("packed", 2, plant.caller.user_id)
    still_open = (await client.get(f"{API}/{made.batch_id}/cases", params={"status": "open"})).json()["cases"]
    assert [case["expected_units"] for case in still_open] == [2, 1]


async def test_every_code_is_accounted_for(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, ["SKA000003"], units_per_case=2)
    await plant.pack(made)
    await client.post(
        "/api/manufacturer/codes/void",
        json={"batch_id": str(made.batch_id), "codes": ["SKA000006"], "reason": "torn"},
    )
    assert (await client.get(f"{API}/{made.batch_id}/reconciliation")).json() == {
        "success": True,
        "batch_id": str(made.batch_id),
        "generated": 6,
        "void": 1,
        "in_case": 2,
        "scanned_without_case": 0,
        "prepared": 2,
        "excluded": 1,
        "voided_by_closing": 0,
        "remaining": 0,
        "differences": [],
    }


async def test_closing_voids_what_is_not_packed_and_ends_the_jobs(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, units_per_case=2)
    await plant.pack(made)
    job_id = await plant.submit(made)
    closed = await client.post(f"{API}/{made.batch_id}/close", json={"reason": " run short "})
    assert closed.json() == {
        "success": True,
        "batch_id": str(made.batch_id),
        "voided": 4,
        "cancelled_job_ids": [str(job_id)],
    }
    again = await client.post(f"{API}/{made.batch_id}/close", json={"reason": "run short"})
    assert (again.status_code, slug(again)) == (409, "batch-closed")
    assert (await client.get(f"{API}/{made.batch_id}")).json()["batch"]["close_reason"] == "run short"


async def test_keys_are_forgotten_only_when_the_batch_is_ready(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    early = await client.post(f"{API}/{made.batch_id}/forget-keys")
    await plant.work("hashing")
    in_time = await client.post(f"{API}/{made.batch_id}/forget-keys", json={"user_id": plant.caller.user_id})
    assert (early.status_code, slug(early)) == (409, "invalid-state")
    assert in_time.json() == {"success": True, "batch_id": str(made.batch_id), "forgotten": 5}


async def test_a_failed_batch_continues_where_it_stopped(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.batch(5)
    sound = await client.post(f"{API}/{made.batch_id}/retry")
    await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'in vain'")
    failed = await client.post(f"{API}/{made.batch_id}/retry")
    assert (sound.status_code, slug(sound)) == (409, "invalid-state")
    assert failed.json() == {"success": True, "batch_id": str(made.batch_id), "status": "hashing"}


def form(**changed: Any) -> dict[str, Any]:
    return {"order_id": str(uuid4()), "product_name": "Old gold", "units_per_case": "2"} | changed


def csv(*lines: str) -> dict[str, Any]:
    return {"file": ("codes.csv", "\n".join(lines).encode())}


async def test_codes_printed_elsewhere_are_imported_as_a_batch(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        f"{API}/import", data=form(gtin="", lot="L1"), files=csv("code,root_key", "OLD-1,ABCD", "OLD-2,ABCE", "OLD-3,")
    )
    made = answer.json()
    assert (answer.status_code, made["status"], made["quantity"]) == (202, "hashing", 3)
    assert (made["first_code"], made["last_code"]) == ("OLD-1", "OLD-3")
    batch = (await client.get(answer.headers["location"])).json()["batch"]
    assert (batch["total_items"], batch["keys_to_hash"], batch["cases"]["total"]) == (3, 2, 2)
    assert (batch["serial_mode"], batch["gtin"], batch["lot"]) == ("imported", None, "L1")


BAD_IMPORTS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, csv("code", "OLD 1", "OK", "OK"), ["/file/2/code", "/file/4/code"]),
    ({}, csv("serial", "A1"), ["/file/1"]),
    ({}, csv(""), ["/file/1"]),
    ({}, {"file": ("a.csv", b"\xff\xfe")}, ["/file"]),
    ({}, {}, ["/file"]),
    ({"serial_prefix": "SKA"}, csv("code", "A1"), ["/serial_prefix"]),
    ({"units_per_case": "0"}, csv("code", "A1"), ["/units_per_case"]),
    ({"product_name": "a\0b"}, csv("code", "A1"), ["/product_name"]),
    ({"order_id": "x"}, csv("code", "A1"), ["/order_id"]),
    ({"gtin": "4006381333932"}, csv("code", "A1"), ["/gtin"]),
]


async def test_an_import_with_mistakes_imports_nothing(client: httpx2.AsyncClient) -> None:
    for fields, files, expected in BAD_IMPORTS:
        answer = await client.post(f"{API}/import", data=form(**fields), files=files)
        assert (answer.status_code, pointers(answer)) == (422, expected), fields
    assert (await client.get(API)).json()["batches"] == []


async def test_codes_that_are_taken_are_named_by_their_lines_with_all_other_mistakes(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    await plant.batch(5)
    answer = await client.post(f"{API}/import", data=form(), files=csv("code", "OLD-1", "SKA000002", "OLD 2"))
    assert (answer.status_code, pointers(answer)) == (422, ["/file/3/code", "/file/4/code"])


async def test_a_file_of_a_million_of_the_longest_rows_is_imported(client: httpx2.AsyncClient) -> None:
    row = f'"{"A" * 20}","{"K" * 32}","{"v" * 64}"\r\n'.encode()
    # It is refused for its header alone, so that the test need not wait for a million codes.
    file = b"serial,root_key,variant\r\n" + row * ROWS_LIMIT
    answer = await client.post(f"{API}/import", data=form(), files={"file": ("codes.csv", file)})
    assert (answer.status_code, pointers(answer)) == (422, ["/file/1"])


async def test_an_import_that_is_not_a_form_is_refused(client: httpx2.AsyncClient) -> None:
    for content, kind in (
        (b"code\nA1", "text/csv"),
        (b"--x", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
    ):
        answer = await client.post(f"{API}/import", content=content, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), kind


async def test_excluded_units_are_listed_also_after_closing(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, ["SKA000003"], units_per_case=2)
    for expected in ("generated", "void"):
        found = (await client.get(f"{API}/{made.batch_id}/codes", params={"status": "excluded"})).json()
        assert [(row["code"], row["status"]) for row in found["codes"]] == [("SKA000003", expected)]
        await client.post(f"{API}/{made.batch_id}/close", json={"reason": "short"})
    waiting = await client.get(f"{API}/{made.batch_id}/codes", params={"status": "prepared"})
    assert waiting.json()["codes"] == []
    assert (await client.get(f"{API}/{made.batch_id}/codes", params={"status": "damaged"})).status_code == 422


async def test_a_workbook_is_named_as_such(client: httpx2.AsyncClient) -> None:
    workbook = ("codes.csv", b"PK\x03\x04" + bytes(200))
    answer = await client.post(f"{API}/import", data=form(), files={"file": workbook})
    assert answer.status_code == 422
    assert "Excel workbook" in answer.json()["detail"]
    assert "save it as CSV" in answer.json()["detail"]
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/file"]
