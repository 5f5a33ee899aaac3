"""`notify` on a submission and on a new batch: taken, or refused while the caller can still mend it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from plant import Plant
from process import settings_of
from qrtrack.settings import Settings

BATCHES = "/api/manufacturer/batches"
SUBMIT = "/api/manufacturer/reverse-job/submit"
BOTH = {"email": "shift.3+line@plant.example", "url": "https://hooks.plant.example/sms?to=1"}


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    set_up = {
        "smtp_url": "smtp://127.0.0.1:9",
        "smtp_from": "qrtrack <no-reply@plant.example>",
        "notify_allowed_hosts": "hooks.plant.example",
        "notify_secret": "bm90aWZpY2F0aW9ucy1mb3ItdGhlLXBsYW50LTEyMw==",
    }
    return settings_of(migrated_url, tmp_path, **(set_up if getattr(request, "param", True) else {}))


def batch_order(plant: Plant, notify: Any) -> Mapping[str, Any]:
    named = {"order_id": str(plant.order_id), "product_name": "Gold", "quantity": 5, "serial_prefix": "SKA"}
    return named | {"notify": notify}


async def job_order(plant: Plant, notify: Any, **more: Any) -> Mapping[str, Any]:
    batch = await plant.batch(5)
    named = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id), "exclude_codes": []}
    return named | {"notify": notify} | more


async def test_it_is_kept_with_the_job_and_with_the_batch(client: httpx2.AsyncClient, plant: Plant) -> None:
    assert (await client.post(BATCHES, json=batch_order(plant, BOTH))).status_code == 202
    assert (await client.post(SUBMIT, json=await job_order(plant, BOTH))).status_code == 200
    for table in ("qr_batches", "qr_reverse_jobs"):
        assert [row.notify for row in await plant.sql(f"SELECT notify FROM {table} WHERE notify IS NOT NULL")] == [BOTH]


@pytest.mark.parametrize("settings", [False], indirect=True)
@pytest.mark.parametrize("channel", ["email", "url"])
async def test_a_channel_that_is_not_set_up_is_refused_and_nothing_is_stored(
    client: httpx2.AsyncClient, plant: Plant, channel: str
) -> None:
    notify = {channel: BOTH[channel]}
    for path, order in (
        (BATCHES, batch_order(plant, notify)),
        (SUBMIT, await job_order(plant, notify)),
        (SUBMIT, await job_order(plant, notify, dry_run=True)),
    ):
        answer = await client.post(path, json=order)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/notify/{channel}"]
    assert await plant.sql("SELECT 1 FROM qr_reverse_jobs") == []
    assert len(await plant.sql("SELECT 1 FROM qr_batches")) == 2


@pytest.mark.parametrize(
    ("notify", "pointer"),
    [
        ({}, "/notify"),
        ({"email": None, "url": None}, "/notify"),
        ({"phone": "+62"}, "/notify/phone"),
        ({"email": "nobody"}, "/notify/email"),
        ({"email": "a@b.example, c@d.example"}, "/notify/email"),
        ({"email": "a@b.example\r\nBcc: all@plant.example"}, "/notify/email"),
        ({"email": "a@b.example\n"}, "/notify/email"),
        ({"email": "<a@b.example>"}, "/notify/email"),
        ({"email": "a@b"}, "/notify/email"),
        ({"url": "http://hooks.plant.example/"}, "/notify/url"),
        ({"url": "https://169.254.169.254/latest"}, "/notify/url"),
        ({"url": "https://hooks.plant.example@10.0.0.1/"}, "/notify/url"),
        ("shift@plant.example", "/notify"),
    ],
)
async def test_a_bad_one_is_pointed_at(client: httpx2.AsyncClient, plant: Plant, notify: object, pointer: str) -> None:
    answer = await client.post(BATCHES, json=batch_order(plant, notify))
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert "pattern" not in answer.text, "people read it"
