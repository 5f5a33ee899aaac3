"""Limits on guessing: per code, network, wide network and batch; what is given back, and what never counts."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import httpx2
import jwt
import pytest
from fastapi import FastAPI

from consumer import HOME, Consumer, root_key
from guessing import crowd, metric, walk
from plant import MadeBatch, Plant, ska
from qrtrack.runtime import open_runtime
from qrtrack.services.retention import prune_failures
from qrtrack.settings import Settings
from routers.conftest import ClientOf
from routers.verification.conftest import NewConsumer


async def failures(plant: Plant) -> int:
    [row] = await plant.sql("SELECT count(*) AS failures FROM verification_failures")
    return int(row.failures)


def user_of(client: httpx2.AsyncClient) -> str:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["sub"])


async def later(plant: Plant, ago: str) -> None:
    await plant.sql(f"UPDATE verification_failures SET failed_at = failed_at - interval '{ago}'")


async def fail_elsewhere(plant: Plant, times: int) -> None:
    """On the same batch, each from another network."""
    await plant.sql(
        "INSERT INTO verification_failures (batch_key, network_key)"
        " SELECT batch_key, CAST(CAST(number AS text) AS bytea)"
        f" FROM verification_failures, generate_series(1, {times}) AS number"
    )


async def failed_before(plant: Plant, network: str, times: int) -> None:
    """From this network, each on another batch."""
    await plant.sql(
        "INSERT INTO verification_failures (batch_key, network_key)"
        f" SELECT CAST(CAST(number AS text) AS bytea), :key FROM generate_series(1, {times}) AS number",
        key=plant.runtime.verifier.hashes.of_today(network, datetime.now(UTC).date()),
    )


async def fail(consumer: Consumer, batch: MadeBatch, times: int, number: int | None = 1) -> list[int]:
    return [(await consumer.verify(batch, "AAAA", number)).status_code for _ in range(times)]


async def test_after_five_failures_a_code_waits_longer_each_time_even_for_the_right_key(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    key = await root_key(plant, batch, 1)
    assert await fail(consumer, batch, 5) == 5 * [200]
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        for person in (consumer, new_consumer("198.51.100.1")):
            refused = await person.verify(batch, key)
            assert (refused.status_code, refused.json()["type"]) == (429, "urn:qrtrack:problem:too-many-failures")
            assert (minutes - 1) * 60 < int(refused.headers["Retry-After"]) <= minutes * 60
            wait = datetime.fromisoformat(refused.json()["retry_at"]) - datetime.now(UTC)
            assert (minutes - 1) * 60 < wait.total_seconds() <= minutes * 60
        assert await consumer.result(batch, await root_key(plant, batch, 2), 2) in {"genuine", "genuine_seen_before"}
        await later(plant, f"{minutes} minutes")
        assert await fail(new_consumer("198.51.100.2"), batch, 1) == [200]
    await later(plant, "60 minutes")
    assert await consumer.result(batch, key) == "genuine"


async def test_a_refused_try_counts_nowhere(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    assert await fail(consumer, batch, 9) == 5 * [200] + 4 * [429]
    assert await failures(plant) == 5


async def test_a_success_gives_back_the_failures_of_its_code_and_network_only(
    plant: Plant, consumer: Consumer, new_consumer: NewConsumer
) -> None:
    batch = await plant.batch(2)
    await fail(consumer, batch, 2)
    await fail(consumer, batch, 1, number=2)
    await fail(consumer, batch, 1, number=None)
    await fail(new_consumer("198.51.100.1"), batch, 1)
    assert await consumer.result(batch, await root_key(plant, batch, 1)) == "genuine"
    assert await failures(plant) == 3
    assert await consumer.result(batch, await root_key(plant, batch, 2), None) == "genuine"
    assert await failures(plant) == 3


@pytest.mark.parametrize(
    ("near", "network", "far"),
    [
        (HOME, HOME, "203.0.113.8"),
        ("::ffff:203.0.113.7", HOME, "::ffff:203.0.113.8"),
        ("64:ff9b::203.0.113.7", HOME, "64:ff9b::203.0.113.8"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64", "2001:db8:1:3::1"),
    ],
)
async def test_a_network_has_sixty_failures_an_hour(
    plant: Plant, new_consumer: NewConsumer, near: str, network: str, far: str
) -> None:
    batch = await plant.batch(2)
    await failed_before(plant, network, 59)
    assert await walk(new_consumer(near), batch, 3) == {200: 1, 429: 2}
    key = await root_key(plant, batch, 1)
    assert (await new_consumer(near).verify(batch, key)).status_code == 429
    assert await new_consumer(far).result(batch, key) == "genuine"
    await later(plant, "61 minutes")
    assert await new_consumer(near).result(batch, key) == "genuine_seen_before"


async def test_the_hour_of_a_network_slides(plant: Plant, consumer: Consumer) -> None:
    """Sixty failures just before a full hour and sixty just after it would be twice as many."""
    batch = await plant.batch(1)
    await failed_before(plant, HOME, 2)
    await later(plant, "50 minutes")
    await failed_before(plant, HOME, 57)
    assert await walk(consumer, batch, 2) == {200: 1, 429: 1}
    await later(plant, "11 minutes")
    assert await walk(consumer, batch, 4) == {200: 2, 429: 2}


async def test_a_wide_network_has_six_hundred(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(1)
    hashes, today = plant.runtime.verifier.hashes, datetime.now(UTC).date()
    await plant.sql(
        "INSERT INTO verification_failures (batch_key, network_key, wide_network_key)"
        " SELECT '', CAST(CAST(number AS text) AS bytea), :wide FROM generate_series(1, 599) AS number",
        wide=hashes.of_today("2001:db8:1::/48", today),
    )
    assert await fail(new_consumer("2001:db8:1:aaaa::1"), batch, 2, None) == [200, 429]
    assert await fail(new_consumer("2001:db8:1:bbbb::1"), batch, 1, None) == [429]
    assert await fail(new_consumer("2001:db8:2:bbbb::1"), batch, 1, None) == [200]


async def test_after_a_thousand_failures_on_a_batch_networks_that_failed_wait_and_others_go_on(
    plant: Plant, new_consumer: NewConsumer
) -> None:
    batch, other = await plant.batch(2), await plant.batch(2, serial_prefix="GEM")
    guesser, key = new_consumer("198.51.100.1"), await root_key(plant, batch, 1)
    await fail(guesser, batch, 1)
    await fail_elsewhere(plant, 999)
    refused = await guesser.verify(batch, key)
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 86_000) == (429, True)
    assert await new_consumer("198.51.100.2").result(batch, key) == "genuine"
    answer = await guesser.post("/api/verify", uniq_code=other.uniq_code, root_key="AAAA")
    assert answer.status_code == 200


async def test_many_failures_on_a_batch_raise_one_alert_a_day(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    await fail(consumer, batch, 1)
    await fail_elsewhere(plant, 97)
    before = metric("qrtrack_verification_alerts_total")
    found = []
    for _ in range(3):
        await fail(consumer, batch, 1, None)
        found.append([row.kind for row in await plant.sql("SELECT kind FROM verification_alerts")])
    assert found == [[], ["guessing"], ["guessing"]]
    assert metric("qrtrack_verification_alerts_total") == before + 1


async def test_a_window_goes_on_over_midnight(plant: Plant, consumer: Consumer) -> None:
    """The hash of a network changes at midnight; yesterday's is looked up as well."""
    batch = await plant.batch(1)
    hashes, today = plant.runtime.verifier.hashes, datetime.now(UTC).date()
    _, yesterdays = hashes.of_two_days(HOME, today)
    await plant.sql(
        "INSERT INTO verification_failures (batch_key, network_key) SELECT '', :key FROM generate_series(1, 60)",
        key=yesterdays,
    )
    assert await fail(consumer, batch, 1, None) == [429]


async def test_tries_at_once_pass_no_limit(plant: Plant, new_consumer: NewConsumer) -> None:
    """The right key among many parallel guesses is refused like the others once five were wrong."""
    batch = await plant.batch(2)
    answers = await asyncio.gather(*(new_consumer(f"198.51.100.{place}").verify(batch, "AAAA") for place in range(30)))
    assert sorted(answer.status_code for answer in answers) == 5 * [200] + 25 * [429]
    assert await failures(plant) == 5


async def test_all_processes_count_together(
    plant: Plant, consumer: Consumer, app: FastAPI, settings: Settings, client_of: ClientOf
) -> None:
    batch = await plant.batch(2)
    async with open_runtime(settings) as other_process:
        elsewhere = Consumer(client_of(app, other_process))
        answers = await asyncio.gather(*(person.verify(batch, "AAAA") for person in 10 * [consumer, elsewhere]))
    assert sorted(answer.status_code for answer in answers) == 5 * [200] + 15 * [429]


async def test_failures_of_staff_are_theirs_alone(
    plant: Plant, consumer: Consumer, operator: httpx2.AsyncClient
) -> None:
    batch = await plant.batch(2)
    staff, key = Consumer(operator), await root_key(plant, batch, 1)
    own = plant.runtime.verifier.hashes.of("staff", str(plant.caller.organisation_id), user_of(operator))
    await plant.sql(
        "INSERT INTO verification_failures (batch_key, network_key) SELECT :own, :own FROM generate_series(1, 54)",
        own=own,
    )
    statuses = [(await staff.verify(batch, "AAAA", purpose="qc")).status_code for _ in range(7)]
    assert statuses == 6 * [200] + [429]
    assert await consumer.result(batch, key) == "genuine"
    assert await plant.sql("SELECT 1 FROM verification_alerts") == []


async def test_the_page_says_until_when_to_wait(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    await fail(consumer, batch, 5)
    page = await consumer.enter(f"/q/{batch.uniq_code}/{ska(1)[0]}", await root_key(plant, batch, 1))
    assert (page.status_code, page.headers["Retry-After"]) == (429, "60")
    assert "Please wait" in page.text
    assert "in 1 min." in page.text


async def test_failures_that_no_window_reaches_are_pruned(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(2)
    await fail(consumer, batch, 2, None)
    await later(plant, "25 hours")
    await fail(consumer, batch, 1, None)
    assert await prune_failures(plant.runtime.database) == 2
    assert await failures(plant) == 1


async def test_one_client_walking_many_codes_has_sixty_tries_and_is_counted(plant: Plant, consumer: Consumer) -> None:
    batch = await plant.batch(5)
    before = metric("qrtrack_verifications_refused_total")
    assert await walk(consumer, batch, 80) == {200: 60, 429: 20}
    assert metric("qrtrack_verifications_refused_total") == before + 20


async def test_an_honest_crowd_behind_one_address_is_never_refused(plant: Plant, new_consumer: NewConsumer) -> None:
    batch = await plant.batch(40)
    results = await crowd(plant, new_consumer, batch, 40, at_a_time=30)
    assert results == {"unknown": 40, "genuine": 40}
    assert await failures(plant) == 0


async def test_wrong_keys_do_not_wait_in_the_pool_of_the_packing_line(plant: Plant, new_consumer: NewConsumer) -> None:
    """A crowd of checks holds as many connections as it has slots, and what is too much is refused uncounted."""
    batch = await plant.batch(2)
    held: list[int] = []

    async def watch() -> None:
        while True:
            held.append(plant.runtime.database.pool_use()["main"]["in_use"])
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    async with AsyncExitStack() as busy_slots:
        for place in range(plant.runtime.settings.verify_slots):
            await busy_slots.enter_async_context(plant.runtime.verifier.admission.slot(f"busy {place}"))
        tasks = [asyncio.create_task(new_consumer().verify(batch, "AAAA", None)) for _ in range(130)]
        while sum(task.done() for task in tasks) < 30:
            await asyncio.sleep(0.01)
    answers = await asyncio.gather(*tasks)
    watching.cancel()
    statuses = [answer.status_code for answer in answers]
    assert max(held) <= plant.runtime.settings.verify_slots
    assert statuses.count(503) == 30
    assert statuses.count(200) == await failures(plant) == 60
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert busy.json()["type"] == "urn:qrtrack:problem:verification-busy"
    assert int(busy.headers["Retry-After"]) > 0
