"""Label jobs over HTTP: from the request to the file, and one case's label at once."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from plant import Plant
from printed_labels import payloads_of, read_zpl

BATCHES = "/api/manufacturer/batches"
LABELS = "/api/manufacturer/labels"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def submitted(client: httpx2.AsyncClient, batch_id: Any, **asked: Any) -> str:
    answer = await client.post(f"{BATCHES}/{batch_id}/labels", json={"what": "units"} | asked)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["status_url"]
    return str(answer.json()["status_url"])


async def test_from_the_request_to_the_file(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5)
    status_url = await submitted(client, batch.batch_id, last_code="ska000003")
    job = (await client.get(status_url)).json()
    assert (job["status"], job["progress"], job["label_count"], job["file_url"]) == ("queued", 0, 3, None)
    assert (job["void_count"], job["preset"], job["format"]) == (None, "a4-65", "pdf")
    assert slug(await client.get(f"{status_url}/file")) == "label-file-not-ready"
    await plant.work("label_job")
    job = (await client.get(status_url)).json()
    assert (job["status"], job["progress"], job["drawn_count"], job["void_count"]) == ("completed", 100, 3, 0)
    file = await client.get(job["file_url"])
    assert (file.status_code, file.headers["content-type"]) == (200, "application/pdf")
    assert file.headers["content-length"] == str(job["file_bytes"]) == str(len(file.content))
    assert file.headers["content-disposition"] == f'attachment; filename="units-{batch.uniq_code}-1-3.pdf"'
    assert len(payloads_of(file.content)) == 3


async def test_a_poll_of_an_unchanged_job_is_304(client: httpx2.AsyncClient, plant: Plant) -> None:
    status_url = await submitted(client, (await plant.batch(5)).batch_id)
    first = await client.get(status_url)
    again = await client.get(status_url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await plant.work("label_job")
    ended = await client.get(status_url, headers={"If-None-Match": first.headers["etag"]})
    assert ended.json()["status"] == "completed"


async def test_a_long_poll_answers_when_the_job_moves(client: httpx2.AsyncClient, plant: Plant) -> None:
    status_url = await submitted(client, (await plant.batch(5)).batch_id)
    waiting = asyncio.create_task(client.get(status_url, params={"wait": 30}))
    await plant.work("label_job")
    # On a busy machine the poll sees that the job runs before it is completed.
    assert (await waiting).json()["status"] in {"running", "completed"}
    assert (await client.get(status_url, params={"wait": 30})).json()["status"] == "completed"


async def test_the_same_request_sent_again_is_one_job(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5)
    answers = [
        await client.post(
            f"{BATCHES}/{batch.batch_id}/labels", json={"what": "units"}, headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert answers[1].headers["location"] == answers[0].headers["location"]
    assert len(await plant.sql("SELECT 1 FROM label_jobs")) == 1


async def test_a_dry_run_says_what_would_be_printed_and_changes_nothing(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(70, units_per_case=10)
    voided = {"batch_id": str(batch.batch_id), "codes": ["SKA000002"], "reason": "Torn"}
    assert (await client.post("/api/manufacturer/codes/void", json=voided)).status_code == 200
    path, body = f"{BATCHES}/{batch.batch_id}/labels", {"what": "units", "dry_run": True}
    counted = await client.post(path, json=body)
    assert (counted.status_code, counted.json()) == (
        200, {"success": True, "dry_run": True, "label_count": 69, "void_count": 1, "page_count": 2},
    )  # fmt: skip
    one_page = (await client.post(path, json=body | {"start_at": 64, "last_code": "SKA000003"})).json()
    assert (one_page["label_count"], one_page["page_count"]) == (2, 1)
    cases = (await client.post(path, json={"what": "cases", "dry_run": True, "first_case": 2})).json()
    assert (cases["label_count"], cases["void_count"], cases["page_count"]) == (6, 0, 1)
    assert await plant.sql("SELECT 1 FROM label_jobs") == []
    tiny = {"kind": "roll", "width": 25, "height": 10}
    assert (await client.put("/api/manufacturer/label-formats/tiny", json=tiny)).status_code == 200
    too_small = (await client.post(path, json=body | {"preset": "tiny"})).json()
    assert "a4-24" in too_small["errors"][0]["params"]["presets"]
    await submitted(client, batch.batch_id)
    assert slug(await client.post(path, json=body)) == "labels-reserved"
    await plant.work("label_job")
    assert slug(await client.post(path, json=body)) == "already-printed"


async def test_jobs_are_listed_newest_first_and_filtered(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch, other = await plant.batch(5), await plant.batch(5)
    urls = [await submitted(client, made.batch_id, last_code=made.first_code) for made in (batch, other)]
    urls.append(await submitted(client, batch.batch_id, first_code="SKA000003"))
    await client.post(f"{urls[2]}/cancel")

    async def listed(**query: Any) -> list[str]:
        answer = await client.get(LABELS, params=query)
        return [f"{LABELS}/{job['label_job_id']}" for job in answer.json()["label_jobs"]]

    assert await listed() == urls[::-1]
    assert await listed(batch_id=batch.batch_id) == [urls[2], urls[0]]
    assert await listed(status="cancelled") == [urls[2]]
    first = (await client.get(LABELS, params={"limit": 2})).json()
    assert await listed(cursor=first["next_cursor"]) == [urls[0]]


async def test_cancelling_and_retrying_change_the_state(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5)
    status_url = await submitted(client, batch.batch_id)
    assert slug(await client.post(f"{status_url}/retry")) == "invalid-state"
    await plant.sql("UPDATE label_jobs SET status = 'failed', finished_at = now(), error_message = 'x'")
    assert (await client.post(f"{status_url}/retry")).json()["status"] == "queued"
    assert (await client.post(f"{status_url}/cancel")).json()["status"] == "cancelled"
    assert slug(await client.post(f"{status_url}/cancel")) == "invalid-state"
    actions = [action for action, _ in await plant.events(batch)]
    assert actions[-3:] == ["label_job.submitted", "label_job.retried", "label_job.cancelled"]


async def test_a_double_print_is_refused_with_its_ranges(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5)
    await submitted(client, batch.batch_id, first_code="SKA000002", last_code="SKA000003")
    refused = await client.post(f"{BATCHES}/{batch.batch_id}/labels", json={"what": "units"})
    assert (refused.status_code, slug(refused)) == (409, "labels-reserved")
    await plant.work("label_job")
    refused = await client.post(f"{BATCHES}/{batch.batch_id}/labels", json={"what": "units"})
    assert (refused.status_code, slug(refused)) == (409, "already-printed")
    assert refused.json()["printed"] == [{"first_code": "SKA000002", "last_code": "SKA000003", "units": 2}]
    await submitted(client, batch.batch_id, reason="Roll torn")


async def test_a_manager_alone_prints_units_and_fetches_files(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(5)
    status_url = await submitted(client, batch.batch_id)
    await plant.work("label_job")
    assert (await operator.get(status_url)).status_code == 200
    assert (await operator.get(f"{BATCHES}/{batch.batch_id}/cases/1/label.pdf")).status_code == 200
    for answer in (
        await operator.post(f"{BATCHES}/{batch.batch_id}/labels", json={"what": "units"}),
        await operator.get(f"{status_url}/file"),
        await operator.post(f"{status_url}/cancel"),
    ):
        assert (answer.status_code, slug(answer)) == (403, "missing-role")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/what"),
        ({"what": "unit"}, "/what"),
        ({"what": "units", "format": "png"}, "/format"),
        ({"what": "units", "dpi": 204}, "/dpi"),
        ({"what": "units", "dpi": True}, "/dpi"),
        ({"what": "units", "start_at": 0}, "/start_at"),
        ({"what": "units", "start_at": 66}, "/start_at"),
        ({"what": "units", "preset": "no such"}, "/preset"),
        ({"what": "units", "preset": "roll-20x10"}, "/preset"),
        ({"what": "units", "calibration": {"dx": 21}}, "/calibration/dx"),
        ({"what": "units", "calibration": {"scale_x": 0.5}}, "/calibration/scale_x"),
        ({"what": "units", "calibration": {"dz": 1}}, "/calibration/dz"),
        ({"what": "units", "reason": " "}, "/reason"),
        ({"what": "cases", "first_case": 0}, "/first_case"),
        ({"what": "cases", "with_root_key": True}, "/with_root_key"),
        ({"what": "cases", "first_code": "SKA000001"}, "/first_code"),
        ({"what": "units", "last_case": 2}, "/last_case"),
    ],
)
async def test_a_bad_order_is_pointed_at(
    client: httpx2.AsyncClient, plant: Plant, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(f"{BATCHES}/{(await plant.batch(5)).batch_id}/labels", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_each_field_of_the_other_kind_is_named_in_its_own_text(client: httpx2.AsyncClient, plant: Plant) -> None:
    body = {"what": "units", "first_case": 1, "last_case": 2}
    answer = await client.post(f"{BATCHES}/{(await plant.batch(1)).batch_id}/labels", json=body)
    assert [error["detail"] for error in answer.json()["errors"]] == [
        f"{name} is for labels of cases. Leave it out, or send `what` as `cases`."
        for name in ("first_case", "last_case")
    ]


async def test_a_resolution_that_no_printer_has_is_told_with_those_that_printers_have(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    body = {"what": "units", "dpi": 204}
    answer = await client.post(f"{BATCHES}/{(await plant.batch(1)).batch_id}/labels", json=body)
    [error] = answer.json()["errors"]
    assert error["params"] == {"allowed": ["203", "300", "600"]}


async def test_one_cases_label_comes_at_once(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    address = f"{BATCHES}/{batch.batch_id}/cases/1/label"
    pdf = await client.get(f"{address}.pdf", params={"preset": "a4-8", "start_at": 8})
    assert (pdf.status_code, pdf.headers["content-type"]) == (200, "application/pdf")
    assert payloads_of(pdf.content) == [batch.master_codes[0]]
    zpl = await client.get(f"{address}.zpl", params={"dpi": 300, "dx": "1.5", "scale_y": "0.99", "pos": "true"})
    assert zpl.status_code == 200, zpl.text
    fields = [field[3] for field in read_zpl(zpl.text)]
    assert fields == [
        f"MA,{batch.master_codes[0]}", batch.master_codes[0], "CASE 1", "Gold 1 g", "SKA000001", "SKA000002",
        "2 PCS INFERRED",
    ]  # fmt: skip
    assert await plant.sql("SELECT 1 FROM label_jobs") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"preset": "nosuch"}, "/query/preset"),
        ({"preset": "a4-8"}, "/query/preset"),
        ({"start_at": 2}, "/query/start_at"),
        ({"dpi": 204}, "/query/dpi"),
        ({"dx": "21"}, "/query/dx"),
        ({"scale_x": "1e0"}, "/query/scale_x"),
    ],
)
async def test_a_bad_query_of_a_cases_label_is_pointed_at(
    client: httpx2.AsyncClient, plant: Plant, query: dict[str, Any], pointer: str
) -> None:
    batch = await plant.batch(4, units_per_case=2)
    answer = await client.get(f"{BATCHES}/{batch.batch_id}/cases/1/label.zpl", params=query)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_an_unknown_label_job_is_not_found(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(4)
    for answer in (
        await client.get(f"{LABELS}/{uuid4()}"),
        await client.get(f"{LABELS}/{uuid4()}/file"),
        await client.post(f"{LABELS}/{uuid4()}/cancel"),
        await client.get(f"{BATCHES}/{batch.batch_id}/cases/9/label.pdf"),
        await client.get(f"{BATCHES}/{uuid4()}/cases/1/label.pdf"),
    ):
        assert (answer.status_code, slug(answer)) == (404, "not-found")


async def test_a_file_with_root_keys_is_traced_when_it_is_fetched(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(4)
    status_url = await submitted(client, batch.batch_id, with_root_key=True, last_code="SKA000002")
    await plant.work("label_job")
    file = await client.get(f"{status_url}/file")
    assert file.headers["cache-control"] == "private, no-store"
    assert await plant.events(batch, "keys.revealed") == [("keys.revealed", "{[1,3)}")]
