"""Checks over the API: every result, one look, the plant's own checks, redeeming and reporting."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from structlog.testing import capture_logs

from consumer import Consumer, root_key, wrong
from plant import Plant, ska
from qrtrack.services.packing.codes import void_codes
from routers.verification.conftest import MAKER, NewConsumer

NOW = "UPDATE verifications SET checked_at = checked_at - interval '31 minutes'"
RECALL = (
    "INSERT INTO recalls (id, manufacturer_org_id, scope, batch_id, master_code_id, reason, text_en, text_id,"
    " unit_count, recalled_by) SELECT :id, manufacturer_org_id, :scope, CASE WHEN :scope <> 'codes' THEN id END,"
    " CAST(:case_id AS bigint), 'glass', 'Do not eat it.', 'Jangan dimakan.', 1, 'manager' FROM qr_batches"
    " WHERE id = :batch_id"
)
WHOLE_BATCH = RECALL.replace(":id,", "gen_random_uuid(),").replace(":scope", "'batch'").replace(":case_id", "NULL")
RECALLED_CODE = (
    "INSERT INTO recalled_codes (recall_id, batch_id, sequence_number, manufacturer_org_id)"
    " SELECT :recall, batch_id, sequence_number, manufacturer_org_id FROM qr_codes"
    " WHERE batch_id = :batch_id AND sequence_number = :number"
)


async def kinds(plant: Plant) -> list[str]:
    rows = await plant.sql("SELECT kind FROM verification_alerts ORDER BY kind, sequence_number")
    return [row.kind for row in rows]


async def recorded(plant: Plant) -> list[tuple[str, str]]:
    return [
        (row.purpose, row.result) for row in await plant.sql("SELECT purpose, result FROM verifications ORDER BY id")
    ]


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


async def test_the_first_check_is_genuine_and_another_persons_was_seen_before(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(3, lot="L1")
    key = await root_key(plant, batch, 1)
    answer = await consumer.verify(batch, key)
    assert answer.headers["Cache-Control"] == "no-store"
    first = answer.json()
    today = datetime.now(UTC).astimezone(plant.runtime.verifier.zone).date().isoformat()
    assert first["result"] == "genuine"
    assert (first["product_name"], first["made_by"], first["lot"]) == ("Gold 1 g", MAKER, "L1")
    assert (first["code"], first["check_count"], first["first_checked_on"], first["unit"]) == (*ska(1), 1, today, None)
    assert await plant.states(batch) == {1: "scanned", 2: "generated", 3: "generated"}
    second = (await new_consumer().verify(batch, key)).json()
    assert (second["result"], second["check_count"], second["first_checked_on"]) == ("genuine_seen_before", 2, today)
    assert "fake" not in second["message"]
    assert "tell us" in second["message"]
    assert await plant.events(batch, "codes.scanned") == [("codes.scanned", "{[1,2)}")]


@pytest.mark.parametrize(
    ("uniq_code", "code"),
    [
        ("{uniq}", "https://verify.example.com/q/{uniq}/SKA000001"),
        ("HTTPS://VERIFY.EXAMPLE.COM/Q/{uniq}/SKA000001", "]Q1ska000001 "),
        ("https://verify.example.com/q/{uniq}", "https://id.gs1.org/01/09521234543213/10/L1/21/SKA000001?17=310131"),
    ],
)
async def test_apps_may_send_what_their_camera_read(
    plant: Plant, consumer: Consumer, uniq_code: str, code: str
) -> None:
    """Read as anywhere else: it would be a failure and the answer `unknown` for a genuine unit."""
    batch = await plant.batch(1)
    key = await root_key(plant, batch, 1)
    named = {"uniq_code": uniq_code.format(uniq=batch.uniq_code), "code": code.format(uniq=batch.uniq_code)}
    assert (await consumer.post("/api/verify", root_key=key, **named)).json()["result"] == "genuine"


async def test_one_of_several_concurrent_first_checks_is_genuine(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    results = await asyncio.gather(*(new_consumer().result(batch, key) for _ in range(8)))
    assert sorted(results) == ["genuine"] + 7 * ["genuine_seen_before"]
    assert len(await recorded(plant)) == 8


async def test_a_double_press_of_one_browser_is_one_check(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    await consumer.open(f"/q/{batch.uniq_code}")
    assert await asyncio.gather(*(consumer.result(batch, key) for _ in range(6))) == 6 * ["genuine"]
    assert await recorded(plant) == [("consumer", "genuine")]


async def test_a_look_ends_after_half_an_hour(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    assert [await consumer.result(batch, key) for _ in range(3)] == 3 * ["genuine"]
    await plant.sql(NOW)
    assert [await consumer.result(batch, key) for _ in range(3)] == 3 * ["genuine_seen_before"]
    assert await recorded(plant) == [("consumer", "genuine"), ("consumer", "genuine_seen_before")]


async def test_without_the_code_the_key_finds_the_unit(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(3)
    answer = await consumer.verify(batch, await root_key(plant, batch, 2), None)
    assert (answer.json()["result"], answer.json()["code"]) == ("genuine", *ska(2))


async def test_a_key_is_taken_however_it_is_typed(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    typed = f" {key[:2].lower()} -{key[2:].lower()} "
    answer = await consumer.post(
        "/api/verify", uniq_code=batch.uniq_code.lower(), root_key=typed, code=ska(1)[0].lower()
    )
    assert answer.json()["result"] == "genuine"


async def test_zero_and_o_one_and_i_are_read_as_what_imported_keys_have(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    digests, _ = plant.runtime.keys.prepare(batch.batch_id, [1, 2], ["A0I7", "BO1X"])
    for number, digest in enumerate(digests, 1):
        await plant.sql(
            "UPDATE qr_codes SET root_key_digest = :digest, root_key_hash = NULL WHERE batch_id = :id"
            " AND sequence_number = :number",
            digest=digest,
            id=batch.batch_id,
            number=number,
        )
    assert [await consumer.result(batch, key, 1) for key in ("aoi7", "A01 7")] == 2 * ["genuine"]
    assert [await consumer.result(batch, key, 2) for key in ("b01x", "BOIX")] == 2 * ["genuine"]


async def test_a_wrong_key_another_units_key_and_an_unknown_code_are_answered_alike(
    plant: Plant, consumer: Consumer
) -> None:
    batch = await plant.batch(3)
    key = await root_key(plant, batch, 1)
    tried: list[dict[str, Any]] = [
        {"uniq_code": batch.uniq_code, "root_key": wrong(key), "code": ska(1)[0]},
        {"uniq_code": batch.uniq_code, "root_key": key, "code": ska(2)[0]},
        {"uniq_code": batch.uniq_code, "root_key": key, "code": "SKA999999"},
        {"uniq_code": "ABCDEFGHJKLM", "root_key": key, "code": ska(1)[0]},
        {"uniq_code": batch.uniq_code, "root_key": "…é", "code": None},
    ]
    answers = [await consumer.post("/api/verify", **body) for body in tried]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json()["result"] == "unknown"
    assert len({answer.text for answer in answers}) == 1
    found = await consumer.verify(batch, key)
    assert found.json().keys() == answers[0].json().keys()


@pytest.mark.parametrize("is_hashed", [False, True])
async def test_keys_are_checked_before_and_after_they_are_hashed(
    plant: Plant, consumer: Consumer, *, is_hashed: bool
) -> None:
    batch = await plant.batch(2)
    if is_hashed:
        await plant.work("hashing")
    rows = await plant.sql(
        "SELECT root_key_hash IS NOT NULL AS hashed FROM qr_codes WHERE batch_id = :id", id=batch.batch_id
    )
    assert {row.hashed for row in rows} == {is_hashed}
    key = await root_key(plant, batch, 1)
    assert [await consumer.result(batch, tried) for tried in (wrong(key), key)] == ["unknown", "genuine"]


async def test_a_hash_that_disagrees_with_its_digest_proves_nothing(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    await plant.work("hashing")
    await plant.sql(
        "UPDATE qr_codes SET root_key_hash = (SELECT root_key_hash FROM qr_codes AS other"
        " WHERE other.batch_id = qr_codes.batch_id AND other.sequence_number = 2) WHERE sequence_number = 1"
    )
    with capture_logs() as logs:
        assert await consumer.result(batch, await root_key(plant, batch, 1)) == "unknown"
    assert [line["log_level"] for line in logs if "disagree" in line["event"]] == ["error"]


async def test_a_unit_that_is_not_released_is_not_counted_and_alerts_once(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    await plant.sql("UPDATE qr_batches SET requires_release = true")
    assert [await person.result(batch, key) for person in (consumer, new_consumer())] == 2 * ["not_released"]
    assert await plant.states(batch) == {1: "generated", 2: "generated"}
    assert await kinds(plant) == ["not_released"]
    await plant.sql("UPDATE qr_batches SET released_at = now() + interval '1 hour', released_by = 'manager'")
    assert await consumer.result(batch, key) == "not_released"
    await plant.sql("UPDATE qr_batches SET released_at = now() - interval '1 second'")
    answer = (await consumer.verify(batch, key)).json()
    assert (answer["result"], answer["check_count"]) == ("genuine", 1)


async def test_a_void_unit_is_void_and_alerts(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    await void_codes(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(1), reason="torn")
    assert await consumer.result(batch, await root_key(plant, batch, 1)) == "void"
    assert await kinds(plant) == ["void"]


@pytest.mark.parametrize("scope", ["batch", "case", "codes"])
async def test_a_recall_outranks_every_other_result(plant: Plant, consumer: Consumer, scope: str) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    [case] = await plant.sql("SELECT id FROM qr_master_codes WHERE case_number = 1")
    key, recall = await root_key(plant, batch, 1), uuid4()
    assert await consumer.result(batch, key) == "genuine"
    case_id = case.id if scope == "case" else None
    await plant.sql(RECALL, id=recall, scope=scope, batch_id=batch.batch_id, case_id=case_id)
    if scope == "codes":
        await plant.sql(RECALLED_CODE, recall=recall, batch_id=batch.batch_id, number=1)
    answer = (await consumer.verify(batch, key)).json()
    assert (answer["result"], answer["recall"]) == (
        "recalled",
        {"text_en": "Do not eat it.", "text_id": "Jangan dimakan."},
    )
    assert await kinds(plant) == ["recalled"]
    others = await consumer.result(batch, await root_key(plant, batch, 3), 3)
    assert others == ("recalled" if scope == "batch" else "genuine")
    await plant.sql("UPDATE recalls SET lifted_at = now(), lifted_by = 'manager'")
    assert await consumer.result(batch, key) in {"genuine", "genuine_seen_before"}


async def test_checks_after_expiry_and_from_many_networks_alert(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(2)
    await plant.sql("UPDATE qr_batches SET expires_on = '2020-01-01'")
    key = await root_key(plant, batch, 1)
    for place in range(4):
        await new_consumer(f"198.51.100.{place}").result(batch, key)
    assert await kinds(plant) == ["expired"]
    await new_consumer("198.51.100.200").result(batch, key)
    assert await kinds(plant) == ["expired", "many_networks"]


async def test_checks_of_one_unit_are_recorded_a_thousand_times_at_most(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    await consumer.result(batch, key)
    await plant.sql(
        "INSERT INTO verifications (manufacturer_org_id, batch_id, sequence_number, purpose, result)"
        " SELECT manufacturer_org_id, batch_id, sequence_number, purpose, 'genuine_seen_before'"
        " FROM verifications, generate_series(1, 999)"
    )
    assert await new_consumer().result(batch, key) == "genuine_seen_before"
    assert len(await recorded(plant)) == 1000


async def test_a_check_of_the_plant_answers_in_full_and_counts_nowhere(
    plant: Plant, consumer: Consumer, operator: httpx2.AsyncClient
) -> None:
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch)
    key = await root_key(plant, batch, 1)
    staff = Consumer(operator)
    answers = [(await staff.verify(batch, key, purpose="qc")).json() for _ in range(2)]
    assert [answer["result"] for answer in answers] == 2 * ["genuine"]
    assert (answers[0]["unit"]["status"], answers[0]["unit"]["master_code"]) == ("packed", batch.master_codes[0])
    assert await plant.states(batch) == {1: "packed", 2: "packed"}
    assert await plant.events(batch, "codes.quality_checked") == 2 * [("codes.quality_checked", "{[1,2)}")]
    assert await consumer.result(batch, key) == "genuine"
    assert await recorded(plant) == [("qc", "genuine"), ("qc", "genuine"), ("consumer", "genuine")]


async def test_a_check_of_the_plant_needs_an_operator_of_the_same_organisation(
    plant: Plant, consumer: Consumer, stranger: httpx2.AsyncClient
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    refused = await consumer.verify(batch, key, purpose="qc")
    assert (refused.status_code, slug(refused)) == (401, "unauthenticated")
    assert (await Consumer(stranger).verify(batch, key, purpose="qc")).json()["result"] == "unknown"
    assert await recorded(plant) == []


async def test_a_unit_is_redeemed_once(plant: Plant, consumer: Consumer, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    proof = {"uniq_code": batch.uniq_code, "root_key": key, "code": ska(1)[0]}
    answers = await asyncio.gather(*(new_consumer().post("/api/redeem", **proof) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    [done] = [answer.json() for answer in answers if answer.status_code == 200]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refused["result"], refused["redeemed_on"]) == ("genuine_seen_before", done["redeemed_on"])
    assert await plant.states(batch) == {1: "redeemed", 2: "generated"}
    assert await plant.events(batch, "codes.redeemed") == [("codes.redeemed", "{[1,2)}")]
    seen = (await consumer.verify(batch, key)).json()
    assert (seen["result"], seen["redeemed_on"]) == ("genuine_seen_before", done["redeemed_on"])
    assert await plant.states(batch) == {1: "redeemed", 2: "generated"}


async def test_redeeming_after_ones_own_check_works(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    assert await consumer.result(batch, key) == "genuine"
    answer = await consumer.post("/api/redeem", uniq_code=batch.uniq_code, root_key=key)
    assert (answer.status_code, answer.json()["check_count"]) == (200, 1)
    assert await consumer.result(batch, key) == "genuine_seen_before"
    assert await recorded(plant) == [("consumer", "genuine")]


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ("UPDATE qr_batches SET requires_release = true", "not_released"),
        ("UPDATE qr_codes SET status = 'void', voided_at = now()", "void"),
        (WHOLE_BATCH, "recalled"),
    ],
    ids=["not_released", "void", "recalled"],
)
async def test_a_unit_that_is_not_for_sale_cannot_be_redeemed(
    plant: Plant, consumer: Consumer, change: str, result: str
) -> None:
    batch = await plant.batch(2)
    values = {"batch_id": batch.batch_id} if ":batch_id" in change else {}
    await plant.sql(change, **values)
    key = await root_key(plant, batch, 1)
    refused = await consumer.post("/api/redeem", uniq_code=batch.uniq_code, root_key=key)
    assert (refused.status_code, slug(refused), refused.json()["result"]) == (409, "not-redeemable", result)
    wrong_key = await consumer.post("/api/redeem", uniq_code=batch.uniq_code, root_key=wrong(key))
    assert (wrong_key.status_code, slug(wrong_key)) == (404, "key-not-proven")
    [row] = await plant.sql("SELECT count(*) AS redeemed FROM qr_codes WHERE redeemed_at IS NOT NULL")
    assert row.redeemed == 0


async def test_a_report_is_kept_and_a_network_sends_twenty_an_hour(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    report = {"uniq_code": batch.uniq_code, "code": "ska000001", "reason": "not_me", "text": "Shop in Solo\nyesterday"}
    assert (await consumer.post("/api/report", **report)).json() == {"success": True}
    [row] = await plant.sql("SELECT code, reason, message FROM verification_reports")
    assert tuple(row) == ("SKA000001", "not_me", "Shop in Solo\nyesterday")
    answers = [await consumer.post("/api/report", **report) for _ in range(20)]
    assert [answer.status_code for answer in answers] == 19 * [200] + [429]
    assert (slug(answers[-1]), answers[-1].headers["Retry-After"]) == ("too-many-reports", "3600")
    assert (await new_consumer("198.51.100.9").post("/api/report", **report)).status_code == 200
    unknown = await consumer.post("/api/report", **report | {"uniq_code": "ABCDEFGHJKLM"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("id-ID,id;q=0.9,en;q=0.8", "Asli"),
        ("en", "Genuine"),
        ("de", "Genuine"),
        ("de,in;q=0.5", "Asli"),
        ("", "Genuine"),
    ],
)
async def test_the_texts_are_in_the_language_that_is_asked_for(
    plant: Plant, consumer: Consumer, language: str, title: str
) -> None:
    batch = await plant.batch(1)
    consumer.http.headers["Accept-Language"] = language
    assert (await consumer.verify(batch, await root_key(plant, batch, 1))).json()["title"] == title


async def test_the_log_contains_nothing_that_a_consumer_typed(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    with capture_logs() as logs:
        await consumer.verify(batch, key)
        await consumer.verify(batch, "WR0NGKEY")
        await consumer.enter(f"/q/{batch.uniq_code}/{ska(1)[0]}", key)
    assert len(logs) >= 3
    assert not {key, "WR0NGKEY", consumer.address} & set(str(logs).replace("'", " ").split())
    rows = await plant.sql("SELECT CAST(failure AS text) AS row FROM verification_failures AS failure")
    assert consumer.address not in str(rows)
