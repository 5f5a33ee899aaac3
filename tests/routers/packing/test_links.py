from typing import Any

import httpx2
import pytest

from plant import MadeBatch, Plant
from qrtrack.metrics import CHECKED_BEFORE_PACKED

API = "/api/manufacturer"
PACK = f"{API}/link-to-master-from-queue"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def body(batch: MadeBatch, case: int = 0, **more: Any) -> dict[str, Any]:
    named = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id)}
    return {**named, "master_code": batch.master_codes[case], **more}


async def test_an_operator_packs_the_next_units_of_the_queue(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, ["SKA000002"], units_per_case=3)
    assert (await operator.post(PACK, json=body(made))).json() == {
        "success": True,
        "master_code_info": {
            "master_code": made.master_codes[0],
            "case_number": 1,
            "expected_units": 3,
            "actual_units": 3,
            "completeness": "inferred",
            "first_code": "SKA000001",
            "last_code": "SKA000004",
        },
        "linked_codes": ["SKA000001", "SKA000003", "SKA000004"],
        "linked_count": 3,
        "consumed_count": 3,
        "from_queue": True,
        "skipped": None,
        "left_queue": [],
    }


async def test_blanks_around_a_scanned_master_code_do_not_matter(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    scanned = body(made) | {"master_code": f"  {made.master_codes[0]}\r\n"}
    assert (await client.post(PACK, json=scanned)).status_code == 200


async def test_check_scans_may_be_the_qr_of_the_units(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    url = f"https://verify.example.com/q/{made.uniq_code}/"
    answer = await client.post(PACK, json=body(made, first_code=f"{url}SKA000001", last_code="ska000002 "))
    assert answer.json()["master_code_info"]["completeness"] == "verified"


@pytest.mark.parametrize("field", ["first_code", "last_code"])
async def test_a_check_scan_is_one_code(client: httpx2.AsyncClient, plant: Plant, field: str) -> None:
    made = await plant.prepared(4, units_per_case=2)
    for scanned in ("SKA000001 SKA000002", "SKA000001-SKA000003", " ,", "!", "https://x/y"):
        answer = await client.post(PACK, json=body(made) | {field: scanned})
        assert answer.status_code == 422, scanned
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]


async def test_a_double_scan_is_refused_with_the_case_as_it_is(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await client.post(PACK, json=body(made, station="line-2"))
    answer = await client.post(PACK, json=body(made))
    assert (answer.status_code, slug(answer)) == (409, "case-already-packed")
    info = answer.json()["master_code_info"]
    assert (info["case_number"], info["actual_units"], info["station"]) == (1, 2, "line-2")


@pytest.mark.parametrize(("code", "state"), [("SKA000001", "packed"), ("SKA000004", "excluded"), ("SKA000007", "void")])
async def test_a_first_unit_that_is_not_prepared_is_refused_with_what_it_is(
    client: httpx2.AsyncClient, plant: Plant, code: str, state: str
) -> None:
    made = await plant.prepared(8, ["SKA000004"], units_per_case=2)
    await plant.pack(made)
    await client.post(
        f"{API}/codes/void", json={"batch_id": str(made.batch_id), "codes": ["SKA000007"], "reason": "torn"}
    )
    answer = await client.post(PACK, json=body(made, 1, first_code=code))
    assert (answer.status_code, slug(answer)) == (409, "first-code-not-prepared")
    assert answer.json()["state"] == state
    assert code in answer.json()["detail"]


@pytest.mark.parametrize("path", [PACK, f"{API}/link-to-master"])
async def test_a_case_of_another_batch_is_refused(client: httpx2.AsyncClient, plant: Plant, path: str) -> None:
    made, other = await plant.prepared(2), await plant.prepared(2)
    sent = body(made) | {"master_code": other.master_codes[0]}
    answer = await client.post(path, json=sent if path == PACK else sent | {"codes": ["SKA000001"]})
    assert (answer.status_code, slug(answer)) == (409, "case-of-other-batch")
    assert set((await plant.states(made)).values()) == {"generated"}


async def test_a_drift_is_refused_and_the_missing_unit_is_excluded_in_one_step(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(6, units_per_case=3)
    scans: dict[str, Any] = {"first_code": "SKA000001", "last_code": "SKA000004"}
    drift = await client.post(PACK, json=body(made, **scans))
    assert (drift.status_code, slug(drift)) == (409, "count-drift")
    problem = drift.json()
    assert (problem["expected_code"], problem["scanned_code"], problem["drift"]) == ("SKA000003", "SKA000004", 1)
    assert problem["cause"] == "unit_missing"
    url = f"https://verify.example.com/q/{made.uniq_code}/SKA000002"
    packed = await client.post(PACK, json=body(made, **scans, missing_codes=[url]))
    assert packed.json()["linked_codes"] == ["SKA000001", "SKA000003", "SKA000004"]


async def test_too_few_prepared_units_are_counted(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(3, ["SKA000003"])
    short = await client.post(PACK, json=body(made))
    assert (short.status_code, slug(short), short.json()["available"]) == (409, "not-enough-prepared", 2)
    assert (await client.post(PACK, json=body(made, allow_partial=True))).json()["linked_count"] == 2


async def test_more_units_than_the_case_holds_are_refused_at_their_field(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(4, units_per_case=2)
    answer = await client.post(PACK, json=body(made, target_units=3))
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/target_units"]


async def test_the_order_must_be_that_of_the_batch(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    answer = await client.post(PACK, json=body(made) | {"order_id": str(made.batch_id)})
    assert (answer.status_code, slug(answer)) == (422, "order-mismatch")


async def test_each_unit_that_is_scanned_one_by_one_has_a_result(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(6, units_per_case=3)
    await plant.pack(made)
    scanned = ["SKA000001", "SKA000004", "SKA999999"]
    none = await client.post(f"{API}/link-to-master", json=body(made, 1, codes=scanned))
    assert (none.status_code, slug(none)) == (409, "codes-not-linkable")
    assert [result["reason"] for result in none.json()["results"]] == ["already-in-case", None, "unknown-code"]
    some = (await client.post(f"{API}/link-to-master", json=body(made, 1, codes=scanned, accept_valid=True))).json()
    assert (some["linked_codes"], some["from_queue"]) == (["SKA000004"], False)
    assert some["results"][0] == none.json()["results"][0]
    assert some["results"][0] == {
        "code": "SKA000001",
        "accepted": False,
        "reason": "already-in-case",
        "detail": some["results"][0]["detail"],
        "master_code": made.master_codes[0],
    }


async def test_unlinked_units_may_be_packed_again(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made)
    url = f"https://verify.example.com/q/{made.uniq_code}/SKA000002"
    one = await client.post(f"{API}/unlink-from-master", json={"codes": [url], "reason": "wrong box"})
    assert one.json() == {
        "success": True,
        "unlinked_codes": ["SKA000002"],
        "unlinked_count": 1,
        "requeued": 1,
        "left_out": 0,
    }
    rest = {"master_code": f"{made.master_codes[0]} ", "reason": "wrong box"}
    assert (await client.post(f"{API}/unlink-from-master", json=rest)).json()["unlinked_codes"] == ["SKA000001"]
    again = await client.post(f"{API}/unlink-from-master", json={"codes": ["SKA000001"], "reason": "wrong box"})
    assert (again.status_code, slug(again)) == (409, "codes-not-packed")


async def test_a_unit_whose_qr_names_another_batch_is_refused_everywhere(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made)
    before = await plant.states(made)
    foreign = f"https://verify.example.com/q/{made.uniq_code[::-1]}/SKA000003"
    listed = {"batch_id": str(made.batch_id), "codes": ["SKA000004", foreign]}
    of_batch = {"batch_id": str(made.batch_id), "order_id": str(made.order_id)}
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("link-to-master-from-queue", body(made, 1, first_code=foreign), "/first_code"),
        ("link-to-master-from-queue", body(made, 1, last_code=foreign), "/last_code"),
        ("link-to-master-from-queue", body(made, 1, missing_codes=["SKA000004", foreign]), "/missing_codes/1"),
        ("unlink-from-master", {"codes": ["SKA000001", foreign], "reason": "x"}, "/codes/1"),
        ("codes/void", {**listed, "reason": "x"}, "/codes/1"),
        ("codes/printed", listed, "/codes/1"),
        ("codes/readmit", listed, "/codes/1"),
        ("reverse-job/submit", {**of_batch, "exclude_codes": [foreign]}, "/exclude_codes/0"),
        ("reverse-job/submit", {**of_batch, "exclude_codes": [foreign], "dry_run": True}, "/exclude_codes/0"),
    ]
    for path, sent, pointer in asked:
        answer = await client.post(f"{API}/{path}", json=sent)
        assert (answer.status_code, slug(answer)) == (422, "unit-of-other-batch"), path
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    linked = await client.post(f"{API}/link-to-master", json=body(made, 1, codes=["SKA000004", foreign]))
    assert (linked.status_code, slug(linked)) == (409, "codes-not-linkable")
    assert [result["reason"] for result in linked.json()["results"]] == [None, "other-batch"]
    assert await plant.states(made) == before


async def test_unlinking_compares_each_scan_with_the_batch_of_its_code(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    batches = [await plant.prepared(2), await plant.prepared(2)]
    for made in batches:
        await plant.pack(made)
    urls = [f"https://x/q/{made.uniq_code}/{made.first_code}" for made in batches]
    answer = await client.post(f"{API}/unlink-from-master", json={"codes": urls, "reason": "x"})
    assert answer.json()["unlinked_codes"] == ["SKA000001", "SKA000003"]


@pytest.mark.parametrize("named", [{}, {"codes": ["SKA000001"], "master_code": "M"}, {"codes": []}])
async def test_unlinking_needs_codes_or_a_case(client: httpx2.AsyncClient, named: dict[str, Any]) -> None:
    answer = await client.post(f"{API}/unlink-from-master", json={"reason": "x", **named})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/codes"]


async def test_the_latest_packs_are_listed_by_station_and_user(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, plant: Plant
) -> None:
    made = await plant.prepared(6, units_per_case=2)
    await operator.post(PACK, json=body(made, 0, station="line-1"))
    await client.post(PACK, json=body(made, 1, station="line-2"))
    await client.post(f"{API}/link-to-master", json=body(made, 2, codes=["SKA000005"], station="line-2"))

    async def packs(**query: Any) -> list[int]:
        answer = await client.get(f"{API}/packs", params=query)
        return [pack["case_number"] for pack in answer.json()["packs"]]

    assert await packs() == [3, 2, 1]
    assert await packs(station="line-2") == [3, 2]
    assert await packs(user=plant.caller.user_id, limit=1) == [3]
    first = (await client.get(f"{API}/packs", params={"limit": 2})).json()
    assert await packs(limit=2, cursor=first["next_cursor"]) == [1]
    latest = first["packs"][0]
    assert (latest["linked_count"], latest["from_queue"], latest["station"]) == (1, False, "line-2")
    assert (latest["master_code"], latest["first_code"]) == (made.master_codes[2], "SKA000005")


async def test_undoing_without_requeue_leaves_the_units_to_a_new_job(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made)
    sent = {"master_code": made.master_codes[0], "reason": "wrong box", "requeue": False}
    answer = (await client.post(f"{API}/unlink-from-master", json=sent)).json()
    assert (answer["unlinked_count"], answer["requeued"], answer["left_out"]) == (2, 0, 2)
    assert await plant.queue(made) == [3, 4]


async def test_a_box_is_moved_to_the_right_case(operator: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(4, units_per_case=2)
    await plant.pack(made, 1)
    sent = {"from_master_code": made.master_codes[1].lower(), "to_master_code": made.master_codes[0], "reason": "wrong"}
    assert (await operator.post(f"{API}/move-case", json=sent)).json() == {
        "success": True,
        "master_code_info": {
            "master_code": made.master_codes[0],
            "case_number": 1,
            "expected_units": 2,
            "actual_units": 2,
            "completeness": "inferred",
            "first_code": "SKA000001",
            "last_code": "SKA000002",
        },
        "moved_count": 2,
    }


async def test_each_reason_not_to_move_a_box_has_its_own_type(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(5, units_per_case=2)
    other = await plant.prepared(2, units_per_case=2)
    mixed = await plant.prepared(variants=[("5g", 2), ("10g", 2)], units_per_case=2)
    await plant.pack(made)
    await plant.pack(made, 1, target_units=1)
    await plant.pack(mixed)

    async def refused(source: str, target: str) -> tuple[int, str]:
        sent = {"from_master_code": source, "to_master_code": target, "reason": "wrong"}
        answer = await client.post(f"{API}/move-case", json=sent)
        return answer.status_code, slug(answer)

    first, second, small = made.master_codes
    assert await refused(first, second) == (409, "case-already-packed")
    assert await refused(first, small) == (409, "case-too-small")
    assert await refused(first, other.master_codes[0]) == (409, "case-of-other-batch")
    assert await refused(mixed.master_codes[0], mixed.master_codes[1]) == (409, "variant-mismatch")
    assert await refused(small, first) == (409, "invalid-state")
    assert await refused(first, first) == (422, "invalid-input")
    assert await refused("NONE", small) == await refused(first, "NONE") == (404, "not-found")
    await client.post(f"{API}/batches/{made.batch_id}/close", json={"reason": "short"})
    assert await refused(first, small) == (409, "batch-closed")
    undo = await client.post(f"{API}/unlink-from-master", json={"master_code": first, "reason": "x"})
    assert (undo.status_code, slug(undo)) == (409, "batch-closed")


async def test_the_answer_names_skipped_and_checked_units(client: httpx2.AsyncClient, plant: Plant) -> None:
    made = await plant.prepared(8, units_per_case=2)
    await plant.sql("UPDATE qr_codes SET status = 'scanned' WHERE sequence_number = 5")
    counted = CHECKED_BEFORE_PACKED._value.get()
    packed = (await client.post(PACK, json=body(made, first_code="SKA000004", last_code="SKA000006"))).json()
    assert packed["skipped"] == {"count": 3, "first_code": "SKA000001", "last_code": "SKA000003", "more": False}
    assert packed["left_queue"] == ["SKA000005"]
    assert packed["master_code_info"]["completeness"] == "verified"
    assert CHECKED_BEFORE_PACKED._value.get() == counted + 1
