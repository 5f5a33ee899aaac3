"""The Idempotency-Key on every route that creates or moves something."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from plant import MadeBatch, Plant
from printer import added, ordered, own_host
from qrtrack.routers import idempotency
from qrtrack.services.recalls import RecallTexts, recall_batch

API = "/api/manufacturer"
KEY = {"Idempotency-Key": "shift-7/42"}


@dataclass(frozen=True)
class Sent:
    """One request that takes effect once."""

    path: str
    json: dict[str, Any] | None = None
    form: dict[str, Any] | None = None
    files: dict[str, Any] = field(default_factory=dict)

    async def to(self, client: httpx2.AsyncClient, **more: str) -> httpx2.Response:
        """With `more` members in its body it is another request."""
        if self.form is not None:
            return await client.post(self.path, data=self.form | more, files=self.files, headers=KEY)
        return await client.post(self.path, json=(self.json or {}) | more if self.json or more else None, headers=KEY)


def named(batch: MadeBatch, **more: Any) -> dict[str, Any]:
    return {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id), **more}


async def create(plant: Plant) -> Sent:
    body = {"order_id": str(plant.order_id), "product_name": "Gold", "serial_prefix": "SKA", "quantity": 5}
    return Sent(f"{API}/batches", body)


async def bring_in(plant: Plant) -> Sent:
    form = {"order_id": str(plant.order_id), "product_name": "Old gold"}
    return Sent(f"{API}/batches/import", form=form, files={"file": ("codes.csv", b"code\nOLD-1\nOLD-2\n")})


async def close(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/batches/{batch.batch_id}/close", {"reason": "run short"})


async def retry_batch(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'tried in vain'")
    return Sent(f"{API}/batches/{batch.batch_id}/retry")


async def forget(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    await plant.work("hashing")
    return Sent(f"{API}/batches/{batch.batch_id}/forget-keys")


async def void(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/codes/void", {"batch_id": str(batch.batch_id), "codes": ["SKA000001"], "reason": "torn"})


async def printed(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/codes/printed", {"batch_id": str(batch.batch_id), "all": True})


async def readmit(plant: Plant) -> Sent:
    batch = await plant.prepared(5, ["SKA000002"])
    return Sent(f"{API}/codes/readmit", {"batch_id": str(batch.batch_id), "codes": ["SKA000002"]})


async def submit(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/reverse-job/submit", named(batch, exclude_codes=["SKA000001"]))


async def cancel(plant: Plant) -> Sent:
    job_id = await plant.submit(await plant.batch(5))
    return Sent(f"{API}/reverse-job/cancel", {"job_id": str(job_id)})


async def retry_job(plant: Plant) -> Sent:
    job_id = await plant.submit(await plant.batch(5))
    await plant.sql("UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'in vain', finished_at = now()")
    return Sent(f"{API}/reverse-job/retry", {"job_id": str(job_id)})


async def cancel_matching(plant: Plant) -> Sent:
    await plant.submit(await plant.batch(5))
    return Sent(f"{API}/reverse-job/cancel-matching", {"status": "queued"})


async def retry_matching(plant: Plant) -> Sent:
    await retry_job(plant)
    return Sent(f"{API}/reverse-job/retry-matching", {"dry_run": False})


async def pack(plant: Plant) -> Sent:
    batch = await plant.prepared(5, units_per_case=2)
    return Sent(f"{API}/link-to-master-from-queue", named(batch, master_code=batch.master_codes[0]))


async def link(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/link-to-master", named(batch, master_code=batch.master_codes[0], codes=["SKA000001"]))


async def unlink(plant: Plant) -> Sent:
    batch = await plant.prepared(5)
    await plant.pack(batch)
    return Sent(f"{API}/unlink-from-master", {"master_code": batch.master_codes[0], "reason": "dropped"})


async def move(plant: Plant) -> Sent:
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    first, second = batch.master_codes
    return Sent(f"{API}/move-case", {"from_master_code": first, "to_master_code": second, "reason": "wrong case"})


async def label(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/batches/{batch.batch_id}/labels", {"what": "units"})


async def cancel_labels(plant: Plant) -> Sent:
    return Sent(f"{API}/labels/{await plant.label(await plant.batch(5))}/cancel")


async def retry_labels(plant: Plant) -> Sent:
    job_id = await plant.label(await plant.batch(5))
    await plant.sql("UPDATE label_jobs SET status = 'failed', error_message = 'in vain', finished_at = now()")
    return Sent(f"{API}/labels/{job_id}/retry")


async def release(plant: Plant) -> Sent:
    batch = await plant.batch(5, requires_release=True)
    return Sent(f"{API}/batches/{batch.batch_id}/release")


TEXTS = RecallTexts("glass", "Return it.", "Kembalikan.")


async def recall(plant: Plant) -> Sent:
    batch = await plant.batch(5)
    return Sent(f"{API}/recall", {"batch_id": str(batch.batch_id), **TEXTS._asdict()})


async def lift(plant: Plant) -> Sent:
    batch, database = await plant.batch(5), plant.runtime.database
    made = await recall_batch(database, caller=plant.caller, batch_id=batch.batch_id, texts=TEXTS)
    return Sent(f"{API}/recall/lift", {"recall_id": str(made.recall_id), "reason": "no glass"})


async def add_printer(_plant: Plant) -> Sent:
    return Sent(f"{API}/printers", {"name": "Line 1", "address": f"{own_host()}:9100"})


async def print_case(plant: Plant) -> Sent:
    batch, printer_id = await plant.batch(5), await added(plant, f"{own_host()}:9100")
    return Sent(f"{API}/printers/{printer_id}/print", {"batch_id": str(batch.batch_id), "case_number": 1})


async def cancel_print(plant: Plant) -> Sent:
    batch, printer_id = await plant.batch(5), await added(plant, f"{own_host()}:9100")
    return Sent(f"{API}/print-jobs/{await ordered(plant, printer_id, batch)}/cancel")


async def confirm_print(plant: Plant) -> Sent:
    batch, printer_id = await plant.batch(5), await added(plant, f"{own_host()}:9100")
    job_id = await ordered(plant, printer_id, batch)
    await plant.sql("UPDATE print_jobs SET status = 'unknown', sending_at = now(), finished_at = now()")
    return Sent(f"{API}/print-jobs/{job_id}/confirm")


Prepare = Callable[[Plant], Awaitable[Sent]]
EVERY: list[Prepare] = [
    create, bring_in, close, retry_batch, forget, void, printed, readmit, submit, cancel, retry_job, cancel_matching,
    retry_matching, pack, link, unlink,
    move, label, cancel_labels, retry_labels, add_printer, print_case, cancel_print, confirm_print,
    release, recall, lift,
]  # fmt: skip
each = pytest.mark.parametrize("prepare", EVERY, ids=lambda prepare: prepare.__name__)


async def effects(plant: Plant) -> int:
    """Every change leaves one trace event."""
    return int((await plant.sql("SELECT count(*) FROM trace_events"))[0][0])


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def test_every_route_that_changes_something_takes_a_key(app: FastAPI, plant: Plant) -> None:
    posts = {
        path: [parameter["name"] for parameter in operations["post"].get("parameters", [])]
        for path, operations in app.openapi()["paths"].items()
        if path.startswith(API) and "post" in operations
    }
    taking = {path for path, parameters in posts.items() if "Idempotency-Key" in parameters}
    assert posts.keys() - taking == {f"{API}/reverse-job/worker"}
    assert len(taking) == len(EVERY)


@each
async def test_the_same_request_again_is_answered_alike_and_takes_effect_once(
    prepare: Prepare, plant: Plant, client: httpx2.AsyncClient
) -> None:
    sent = await prepare(plant)
    before = await effects(plant)
    first = await sent.to(client)
    second = await sent.to(client)
    assert first.status_code in (200, 201, 202), first.text
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers.get("location") == first.headers.get("location")
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert await effects(plant) == before + 1


@each
async def test_the_key_with_another_body_is_refused(prepare: Prepare, plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await prepare(plant)
    await sent.to(client)
    before = await effects(plant)
    answer = await sent.to(client, user_id=plant.caller.user_id)
    assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")
    assert await effects(plant) == before


@each
async def test_twenty_at_once_take_effect_once(prepare: Prepare, plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await prepare(plant)
    before = await effects(plant)
    answers = await asyncio.gather(*(sent.to(client) for _ in range(20)))
    good = [answer for answer in answers if answer.status_code in (200, 201, 202)]
    assert good
    assert len({answer.content for answer in good}) == 1
    assert {slug(answer) for answer in answers if answer not in good} <= {"idempotency-key-in-use"}
    assert await effects(plant) == before + 1


async def test_a_refused_request_leaves_no_key(plant: Plant, client: httpx2.AsyncClient) -> None:
    batch = await plant.batch(5)
    sent = Sent(f"{API}/link-to-master-from-queue", named(batch, master_code=batch.master_codes[0]))
    refused = await sent.to(client)
    assert (refused.status_code, slug(refused)) == (409, "not-enough-prepared")
    assert await plant.sql("SELECT key FROM idempotency_keys") == []
    await plant.submit(batch)
    await plant.work("reverse_job")
    corrected = await sent.to(client, station="line-2")
    assert (corrected.status_code, corrected.headers.get("idempotency-replayed")) == (200, None)


async def test_a_dry_run_leaves_no_key(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = Sent(f"{API}/reverse-job/submit", named(await plant.batch(5), exclude_codes=[], dry_run=True))
    assert (await sent.to(client)).status_code == 200
    assert await plant.sql("SELECT key FROM idempotency_keys") == []


async def test_keys_of_two_organisations_do_not_meet(
    plant: Plant, client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    sent = await create(plant)
    ours, theirs = await sent.to(client), await sent.to(stranger)
    assert (ours.status_code, theirs.status_code) == (202, 202)
    assert ours.json()["batch_id"] != theirs.json()["batch_id"]


async def test_one_key_closes_two_batches_since_their_addresses_differ(
    plant: Plant, client: httpx2.AsyncClient
) -> None:
    for _ in range(2):
        closed = await (await close(plant)).to(client)
        assert (closed.status_code, closed.json()["voided"]) == (200, 5)
        assert "idempotency-replayed" not in closed.headers


async def test_another_query_is_another_request(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await create(plant)
    await sent.to(client)
    answer = await Sent(f"{sent.path}?x=1", sent.json).to(client)
    assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")


async def test_a_file_with_other_lines_is_another_request(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await bring_in(plant)
    await sent.to(client)
    answer = await Sent(sent.path, form=sent.form, files={"file": ("codes.csv", b"code\nOLD-3\n")}).to(client)
    assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")


async def test_an_answer_is_replayed_also_when_things_have_moved_on(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await submit(plant)
    first = await sent.to(client)
    await plant.work("reverse_job")
    await client.post(f"{API}/batches/{(sent.json or {})['batch_id']}/close", json={"reason": "over"})
    assert (await sent.to(client)).content == first.content


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", b"\xe9", b"\xc3\xa9"])
async def test_a_key_that_is_none_is_pointed_out(plant: Plant, client: httpx2.AsyncClient, key: bytes) -> None:
    sent = await create(plant)
    answer = await client.post(sent.path, json=sent.json, headers=[(b"Idempotency-Key", key)])
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/header/Idempotency-Key"]
    assert await effects(plant) == 0


async def test_a_key_may_have_255_characters(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await create(plant)
    answer = await client.post(sent.path, json=sent.json, headers={"Idempotency-Key": "k" * 255})
    assert answer.status_code == 202


async def test_without_a_key_a_request_takes_effect_each_time(plant: Plant, client: httpx2.AsyncClient) -> None:
    sent = await create(plant)
    answers = [await client.post(sent.path, json=sent.json) for _ in range(2)]
    assert len({answer.json()["batch_id"] for answer in answers}) == 2
    assert await plant.sql("SELECT key FROM idempotency_keys") == []


def test_parts_of_a_form_cannot_run_together() -> None:
    def digest(*parts: bytes) -> bytes:
        whole = hashlib.sha256()
        for part in parts:
            idempotency._add(whole, part)
        return whole.digest()

    assert digest(b"ab", b"c") != digest(b"a", b"bc")
