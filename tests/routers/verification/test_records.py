"""What checks leave for the manufacturer: lists, alerts, notifications, figures."""

import asyncio
from typing import Any

import httpx2
import pytest

from consumer import Consumer, root_key, wrong
from plant import MadeBatch, Plant, ska
from qrtrack.domain.notifications import Notify
from qrtrack.repositories.verification.alerts import AlertRepository
from qrtrack.services.gauges import read_gauges
from routers.verification.conftest import NewConsumer

API = "/api/manufacturer/batches"
NOTIFY = Notify(email="quality@plant.example", url="https://hooks.plant.example/x")


async def records(client: httpx2.AsyncClient, batch: MadeBatch, **query: Any) -> Any:
    answer = await client.get(f"{API}/{batch.batch_id}/verifications", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def told(plant: Plant) -> list[tuple[str, str, str, str | None]]:
    """The queued notifications: subject, channel, kind and code."""
    rows = await plant.sql("SELECT subject, channel, content FROM notifications ORDER BY id")
    return [(row.subject, row.channel, row.content["kind"], row.content["code"]) for row in rows]


async def void(plant: Plant, batch: MadeBatch) -> None:
    await plant.sql("UPDATE qr_codes SET status = 'void', voided_at = now() WHERE batch_id = :id", id=batch.batch_id)


async def test_checks_are_listed_newest_first_without_any_address(
    client: httpx2.AsyncClient, plant: Plant, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(3)
    for number in (1, 2, 3):
        await new_consumer().result(batch, await root_key(plant, batch, number), number)
    await new_consumer().result(batch, wrong(await root_key(plant, batch, 1)), 1)
    await client.post("/api/verify", json={"uniq_code": batch.uniq_code, "root_key": await root_key(plant, batch, 1),
                                           "purpose": "qc"})  # fmt: skip
    first = await records(client, batch, limit=2)
    assert [(row["code"], row["purpose"], row["result"]) for row in first["checks"]] == [
        ("SKA000001", "qc", "genuine_seen_before"), ("SKA000003", "consumer", "genuine"),
    ]  # fmt: skip
    assert first["checks"][0]["actor"] == plant.caller.user_id
    rest = await records(client, batch, limit=2, cursor=first["next_cursor"])
    assert [row["code"] for row in rest["checks"]] == ["SKA000002", "SKA000001"]
    assert rest["next_cursor"] is None
    assert set(first["checks"][0]) == {
        "check_id", "code", "sequence_number", "purpose", "result", "checked_at", "actor",
    }  # fmt: skip


async def test_reports_and_alerts_are_lists_of_their_own(
    client: httpx2.AsyncClient, plant: Plant, consumer: Consumer
) -> None:
    batch = await plant.batch(3)
    await consumer.post("/api/report", uniq_code=batch.uniq_code, code="SKA000002", reason="not_me", text="In Solo")
    await void(plant, batch)
    await consumer.result(batch, await root_key(plant, batch, 1), 1)
    [report] = (await records(client, batch, show="reports"))["reports"]
    assert (report["code"], report["reason"], report["message"]) == ("SKA000002", "not_me", "In Solo")
    [alert] = (await records(client, batch, show="alerts"))["alerts"]
    assert (alert["kind"], alert["code"], alert["sequence_number"]) == ("void", "SKA000001", 1)


async def test_a_batch_of_another_organisation_shows_nothing(
    stranger: httpx2.AsyncClient, operator: httpx2.AsyncClient, client: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(1)
    path = f"{API}/{batch.batch_id}/verifications"
    assert [(await one.get(path)).status_code for one in (stranger, operator)] == [404, 200]
    assert (await client.get(f"{path}?show=addresses")).status_code == 422
    assert (await client.get(f"{path}?cursor=nonsense")).status_code == 422


async def test_an_alert_of_a_kind_is_sent_once_a_day(
    client: httpx2.AsyncClient, plant: Plant, new_consumer: NewConsumer
) -> None:
    """However many units, and however many at once."""
    batch = await plant.batch(6, notify=NOTIFY)
    await void(plant, batch)
    keys = [await root_key(plant, batch, number) for number in range(1, 7)]
    checks = [new_consumer().result(batch, key, number) for number, key in enumerate(keys, 1)]
    assert await asyncio.gather(*checks) == ["void"] * 6
    assert len((await records(client, batch, show="alerts"))["alerts"]) == 6
    assert [each[:3] for each in await told(plant)] == [
        ("verification_alert", "email", "void"), ("verification_alert", "url", "void"),
    ]  # fmt: skip
    await plant.sql("UPDATE verification_alerts SET raised_on = raised_on - 1")
    await plant.sql("UPDATE notifications SET repeat_key = repeat_key || ' yesterday'")
    await plant.sql("UPDATE verifications SET checked_at = checked_at - interval '1 day'")
    await new_consumer().result(batch, keys[0], 1)
    assert len(await told(plant)) == 4


async def test_each_kind_of_alert_and_report_sends_a_notification(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(3, notify=Notify(email="quality@plant.example"), requires_release=True)
    key = await root_key(plant, batch, 1)
    await new_consumer().result(batch, key)
    await plant.sql("UPDATE qr_batches SET requires_release = false, expires_on = '2020-01-01'")
    await new_consumer().result(batch, key)
    await new_consumer().post("/api/report", uniq_code=batch.uniq_code, code="no <b>code</b>", reason="key_opened")
    assert await told(plant) == [
        ("verification_alert", "email", "not_released", "SKA000001"),
        ("verification_alert", "email", "expired", None),
        ("verification_report", "email", "key_opened", None),
    ]


async def test_a_batch_without_notify_sends_no_notification(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(1)
    await void(plant, batch)
    await consumer.result(batch, await root_key(plant, batch, 1), 1)
    assert await plant.sql("SELECT 1 FROM notifications") == []


async def test_reports_of_one_reason_are_told_once_a_day(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(1, notify=Notify(email="quality@plant.example"))
    for reason in ("not_me", "not_me", "other"):
        await new_consumer().post("/api/report", uniq_code=batch.uniq_code, code=ska(1)[0], reason=reason)
    assert [each[2:] for each in await told(plant)] == [("not_me", "SKA000001"), ("other", "SKA000001")]


async def test_a_check_that_is_rolled_back_sends_no_notification(
    plant: Plant, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notification commits with the alert, which commits with the check."""
    batch = await plant.batch(1, notify=NOTIFY)
    await void(plant, batch)
    raise_alerts = AlertRepository.raise_alerts

    async def raise_and_die(self: AlertRepository, *arguments: Any) -> int:
        assert await raise_alerts(self, *arguments) == 1
        raise RuntimeError("killed")

    monkeypatch.setattr(AlertRepository, "raise_alerts", raise_and_die)
    assert (await consumer.verify(batch, await root_key(plant, batch, 1))).status_code == 500
    for table in ("verifications", "verification_alerts", "notifications"):
        assert await plant.sql(f"SELECT 1 FROM {table}") == [], table


async def test_the_figures_of_the_day_count_alerts_and_reports(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(2)
    await void(plant, batch)
    for number in (1, 2):
        await new_consumer().result(batch, await root_key(plant, batch, number), number)
    await new_consumer().post("/api/report", uniq_code=batch.uniq_code, reason="other")
    gauges = await read_gauges(plant.runtime.database, zone=plant.runtime.verifier.zone)
    assert (gauges.verification_alerts["void"], gauges.verification_alerts["guessing"]) == (2, 0)
    assert gauges.verification_reports == 1
    await plant.sql("UPDATE verification_alerts SET raised_at = raised_at - interval '25 hours'")
    gauges = await read_gauges(plant.runtime.database, zone=plant.runtime.verifier.zone)
    assert gauges.verification_alerts["void"] == 0
