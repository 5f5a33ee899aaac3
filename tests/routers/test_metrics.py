"""/metrics: every figure moves with what it counts, and none tells one organisation from another."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from accurate import DATABASE, STRANGE_DATABASE, Accurate, event
from plant import BY_KIND, Plant, one_slot
from process import SECRET, settings_of
from qrtrack.domain.claims import Claim, PermanentFailure
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.metrics import REQUESTS
from qrtrack.postgresql.connections import FOR_WEBHOOKS
from qrtrack.repositories import gauges as gauges_repository
from qrtrack.repositories.queues import CREATING, REVERSE_JOBS, WEBHOOK_EVENTS
from qrtrack.runtime import Runtime
from qrtrack.services import gauges
from qrtrack.services.akselgate.attempts import sweep_attempts
from qrtrack.services.claims import claim_group, claim_work
from qrtrack.services.gauges import read_gauges
from qrtrack.services.recalculation import recalculate_progress
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, SingleHandler, execute, run_until_idle
from treasury import Treasury

ClientOf = Callable[..., httpx2.AsyncClient]
UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{32}")


# The parser of prometheus_client takes half a second for a scrape: other tests have left thousands of series.
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Scrape:
    """What one scrape told. A series that is not there stands at zero, as for whoever takes differences."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values = {
            (name, *sorted(LABEL.findall(labels))): float(value) for name, labels, value in SAMPLE.findall(text)
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._values.get((f"qrtrack_{name}", *sorted(labels.items())), 0)

    def has(self, name: str) -> bool:
        return any(key[0] == f"qrtrack_{name}" for key in self._values)


@pytest.fixture(scope="module", autouse=True)
def few_series() -> None:
    """Other tests have left thousands of series of requests, and each scrape would write them all."""
    REQUESTS.clear()


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


@pytest.fixture
def scrape(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> Callable[[], Any]:
    client = client_of(app, runtime)
    client.headers["Authorization"] = f"Bearer {SECRET}"

    async def read() -> Scrape:
        runtime.gauges._kept_until = 0
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return Scrape(answer.text)

    return read


async def claim(runtime: Runtime) -> Claim:
    [claim] = await claim_work(runtime.database, REVERSE_JOBS, 1, lease_seconds=30)
    return claim


async def test_requests_are_timed_by_the_template_of_their_route(scrape: Any, client: httpx2.AsyncClient) -> None:
    before = await scrape()
    await client.get(f"/api/manufacturer/batches/{uuid4()}")
    await client.get(f"/api/manufacturer/batches/{uuid4()}")
    await client.get("/made/up/path")
    await client.request("BREW", "/made/up/path")
    after = await scrape()

    def more(method: str, route: str) -> float:
        labels = {"method": method, "route": route, "status": "4xx"}
        return float(after("http_request_seconds_count", **labels) - before("http_request_seconds_count", **labels))

    assert more("GET", "/api/manufacturer/batches/{batch_id}") == 2
    assert more("GET", "unmatched") == 1
    assert more("other", "unmatched") == 1
    assert "BREW" not in after.text
    assert "made/up" not in after.text


async def test_a_queue_shows_how_much_waits_how_long_and_what_runs(scrape: Any, plant: Plant, runtime: Runtime) -> None:
    batch = await plant.batch(10)
    await plant.submit(batch)
    await plant.submit(batch)
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() - interval '100 seconds'")
    waiting = await scrape()
    assert waiting("queue_depth", kind="reverse_job") == 2
    assert 100 <= waiting("queue_oldest_seconds", kind="reverse_job") < 130
    assert waiting("queue_running", kind="reverse_job") == 0
    await claim(runtime)
    running = await scrape()
    assert (running("queue_depth", kind="reverse_job"), running("queue_running", kind="reverse_job")) == (1, 1)
    assert running("work_wait_seconds_count", kind="reverse_job") == (
        waiting("work_wait_seconds_count", kind="reverse_job") + 1
    )
    assert running("work_wait_seconds_sum", kind="reverse_job") > 100


async def test_work_for_a_later_time_counts_as_waiting_but_not_as_old(scrape: Any, plant: Plant) -> None:
    await plant.submit(await plant.batch(10))
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() + interval '1 hour'")
    read = await scrape()
    assert read("queue_depth", kind="reverse_job") == 1
    assert read("queue_oldest_seconds", kind="reverse_job") == 0


async def test_expired_leases_and_late_writes_are_counted(scrape: Any, plant: Plant, runtime: Runtime) -> None:
    await plant.submit(await plant.batch(10))
    late = await claim(runtime)
    await plant.expire("qr_reverse_jobs")
    before = await scrape()
    assert before("queue_expired_leases", kind="reverse_job") == 1
    await claim(runtime)
    for _ in range(2):
        assert (await execute(runtime, BY_KIND["reverse_job"], late, StopSignal())).end is End.LOST
    after = await scrape()
    assert after("queue_expired_leases", kind="reverse_job") == 0
    for name, times in (("leases_taken_over_total", 1), ("lost_lease_writes_total", 2)):
        assert after(name, kind="reverse_job") - before(name, kind="reverse_job") == times, name
    assert after("work_wait_seconds_count", kind="reverse_job") == before("work_wait_seconds_count", kind="reverse_job")


async def test_a_lost_group_counts_as_one_lease(scrape: Any, plant: Plant, runtime: Runtime) -> None:
    accurate = Accurate(runtime)
    await accurate.send(*(event() for _ in range(5)))
    late = await accurate.group()
    await accurate.expire_groups()
    before = await scrape()
    assert before("queue_expired_leases", kind="webhook_event") == 5
    assert await claim_group(runtime.database, WEBHOOK_EVENTS, 5, lease_seconds=30) is None
    await execute(runtime, BY_KIND["webhook_event"], late, StopSignal())
    after = await scrape()
    assert after("queue_expired_leases", kind="webhook_event") == 0
    for name in ("leases_taken_over_total", "lost_lease_writes_total"):
        assert after(name, kind="webhook_event") - before(name, kind="webhook_event") == 1, name


async def test_the_events_of_a_group_are_counted_by_how_it_ended(scrape: Any, runtime: Runtime) -> None:
    async def fail(*_: object) -> int:
        raise ZeroDivisionError

    accurate, stop = Accurate(runtime), StopSignal()
    await accurate.send(*(event() for _ in range(10)))
    processing, told_to_stop = BY_KIND["webhook_event"], StopSignal(deadline=0)
    before = await scrape()
    await execute(runtime, replace(processing, run=fail), await accurate.group(1), stop)
    await execute(runtime, processing, await accurate.group(2), told_to_stop)
    await execute(runtime, processing, await accurate.group(3), stop)
    late = await accurate.group(4)
    await accurate.sql("DELETE FROM leased_groups")
    await execute(runtime, processing, late, stop)
    after = await scrape()
    labels = [{"kind": "webhook_event", "end": end} for end in ("retried", "queued", "completed", "lost")]
    assert [after("work_ended_total", **own) - before("work_ended_total", **own) for own in labels] == [1, 2, 3, 4]


async def test_work_is_timed_and_counted_by_its_end(scrape: Any, plant: Plant, runtime: Runtime) -> None:
    failures = [RuntimeError("once"), PermanentFailure("for good")]

    async def fail(*_: object) -> None:
        raise failures.pop(0)

    batch = await plant.batch(10)
    failing = SingleHandler(REVERSE_JOBS, one_slot, fail, BY_KIND["reverse_job"].fail)
    before = await scrape()
    for body in (BY_KIND["reverse_job"], failing, failing):
        await plant.submit(batch)
        await execute(runtime, body, await claim(runtime), StopSignal())
    after = await scrape()
    labels = [{"kind": "reverse_job", "end": end} for end in ("completed", "retried", "failed")]
    assert [after("work_ended_total", **own) - before("work_ended_total", **own) for own in labels] == [1, 1, 1]
    name = "work_run_seconds_count"
    assert after(name, kind="reverse_job") - before(name, kind="reverse_job") == 3


async def test_links_are_counted_once_however_often_they_are_sent(
    scrape: Any, plant: Plant, client: httpx2.AsyncClient
) -> None:
    batch = await plant.prepared(10, units_per_case=5)
    of_batch = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id)}
    before = await scrape()
    for _ in range(2):
        answer = await client.post(
            "/api/manufacturer/link-to-master-from-queue",
            json=of_batch | {"master_code": batch.master_codes[0]},
            headers={"Idempotency-Key": "once"},
        )
        assert answer.status_code == 200
    await client.post(
        "/api/manufacturer/link-to-master",
        json=of_batch | {"master_code": batch.master_codes[1], "codes": ["SKA000009"]},
    )
    refused = await client.post(
        "/api/manufacturer/link-to-master-from-queue", json=of_batch | {"master_code": batch.master_codes[0]}
    )
    assert refused.status_code == 409
    after = await scrape()

    def more(name: str, source: str) -> float:
        return float(after(name, source=source) - before(name, source=source))

    assert [more("links_total", source) for source in ("queue", "scans")] == [1, 1]
    assert [more("linked_codes_total", source) for source in ("queue", "scans")] == [5, 1]


async def test_webhooks_are_counted_by_their_outcome(
    scrape: Any, runtime: Runtime, app: FastAPI, client_of: ClientOf, plant: Plant
) -> None:
    sender = client_of(app, runtime)

    async def send(*events: Any) -> None:
        answer = await sender.post("/webhook/accurate", json=list(events))
        assert answer.status_code == 200, answer.text

    before = await scrape()
    assert (await sender.post("/webhook/accurate", content=b"no JSON")).status_code == 400
    assert (await sender.post("/webhook/accurate", content=b"[" + b"1," * 10_000 + b"1]")).status_code == 413
    first = event()
    await send(first, event(databaseId=STRANGE_DATABASE), "no event")
    await send(first, first | {"timestamp": "22/11/2026 10:00:00"})
    after = await scrape()
    name, words = "webhook_elements_total", ("queued", "invalid", "duplicates", "conflicts")
    counted = {word: after(name, **{"as": word}) - before(name, **{"as": word}) for word in words}
    assert counted == {"queued": 2, "invalid": 1, "duplicates": 2, "conflicts": 1}
    for refused in ("webhook_unreadable_bodies_total", "webhook_oversized_bodies_total"):
        assert after(refused) - before(refused) == 1
    assert after("webhooks_unassigned") == 1
    await plant.work("webhook_event")
    processed = await scrape()
    assert processed("webhook_silence_seconds", database_id=str(DATABASE), type="SALES_INVOICE") < 60
    await plant.sql("UPDATE webhook_queue SET status = 'dead', finished_at = now() WHERE status = 'done'")
    assert (await scrape())("webhooks_dead") == 1


async def test_a_group_of_events_counts_every_one(scrape: Any, runtime: Runtime, plant: Plant) -> None:
    accurate = Accurate(runtime)
    await accurate.send(*(event() for _ in range(5)))
    before = await scrape()
    group = await accurate.group(3)
    waiting = await scrape()
    assert [waiting(name, kind="webhook_event") for name in ("queue_depth", "queue_running")] == [2, 3]
    assert waiting("queue_running", kind="webhook_retry") == 0
    # Of a long queue not all is counted, but all that is held.
    with patch.multiple(gauges_repository, COUNTED=1, COUNTED_OF_EACH=1):
        long = await scrape()
    assert [long(name, kind="webhook_event") for name in ("queue_depth", "queue_running")] == [0, 3]
    await run_until_idle(runtime, BY_KIND["webhook_event"], group, StopSignal())
    after = await scrape()
    labels = {"kind": "webhook_event", "end": "completed"}
    assert after("work_ended_total", **labels) - before("work_ended_total", **labels) == 5
    # Three were taken together, and then the other two.
    for name in ("work_wait_seconds_count", "work_run_seconds_count"):
        assert after(name, kind="webhook_event") - before(name, kind="webhook_event") == 2, name
    assert set(runtime.activity.ended) == {"webhook_event"}


async def test_unknown_types_share_one_series(scrape: Any, runtime: Runtime, plant: Plant) -> None:
    await Accurate(runtime).send(*(event(f"MADE_UP_{number}") for number in range(20)))
    await plant.work("webhook_event")
    read = await scrape()
    assert "MADE_UP" not in read.text
    assert read.text.count("qrtrack_webhook_silence_seconds{") == 1
    assert read("webhook_silence_seconds", database_id=str(DATABASE), type="other") < 60


async def test_dispatches_are_counted_by_their_outcome_and_unknown_ones_stay_visible(
    treasury: Treasury, client_of: ClientOf, app: FastAPI
) -> None:
    async def read() -> Scrape:
        treasury.runtime.gauges._kept_until = 0
        return Scrape((await client_of(app, treasury.runtime).get("/metrics")).text)

    before = await read()
    assert (await treasury.dispatch("STL1")).status_code == 200
    await treasury.sql(
        "INSERT INTO t_akselgate_transaction_log (manufacturer_org_id, transaction_type, kd_settle, request_id,"
        " attempt_number, total_transaksi, request_payload, payload_sha256, control_sum, outcome, sent_by, stale_at,"
        " imported) SELECT manufacturer_org_id, transaction_type, 'STL2', 'old', 1, 1, '{}', '', 1, 'sending', 'x',"
        " now() - interval '1 day', true FROM t_akselgate_transaction_log LIMIT 1"
    )
    await sweep_attempts(treasury.runtime.database)
    after = await read()
    name = "dispatch_outcomes_total"
    assert [after(name, outcome=word) - before(name, outcome=word) for word in ("accepted", "unknown")] == [1, 1]
    assert after("dispatches_unknown") == 1
    assert after("dispatch_alarms", kind="unknown_reference") == 0
    attempt_id = await treasury.sent("R1", kd_settle="STL3")
    await treasury.call_back(attempt_id, "NOBODYS")
    assert (await read())("dispatch_alarms", kind="unknown_reference") == 1


async def test_the_pool_shows_how_many_connections_are_in_use(scrape: Any, runtime: Runtime) -> None:
    free = await scrape()
    async with runtime.database.read() as repositories:
        await repositories.gauges.unknown_dispatches()
        busy = await scrape()
    own = {"pool": "main"}
    assert free("database_pool_connections", **own, state="in_use") == 0
    assert busy("database_pool_connections", **own, state="in_use") == 1
    assert busy("database_pool_connections", **own, state="allowed") == runtime.settings.database_pool_size


async def test_the_connections_for_webhooks_are_shown_beside_the_pool(scrape: Any, runtime: Runtime) -> None:
    async with runtime.database._driver(apart=True):
        busy = await scrape()
    free = await scrape()
    states = ("in_use", "idle", "allowed")
    told = [
        [seen("database_pool_connections", pool="webhooks", state=state) for state in states] for seen in (busy, free)
    ]
    assert told == [[1, 0, FOR_WEBHOOKS], [0, 1, FOR_WEBHOOKS]]


async def test_repairs_of_counters_are_counted(scrape: Any, plant: Plant, runtime: Runtime) -> None:
    await plant.batch(5)
    before = await scrape()
    await recalculate_progress(runtime.database, silent_seconds=0)
    right = await scrape()
    await plant.sql("UPDATE qr_batches SET keys_hashed = 3")
    await recalculate_progress(runtime.database, silent_seconds=0)
    repaired = await scrape()
    drifts = [told("count_drifts_total", kind="batch_hashes") for told in (before, right, repaired)]
    assert drifts == [drifts[0], drifts[0], drifts[0] + 1]


async def test_without_the_database_the_process_still_answers_its_own_metrics(
    runtime: Runtime, app: FastAPI, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "READ_SECONDS", 0.2)
    async with runtime.database.engine.begin() as blocker:
        await blocker.execute(text("LOCK TABLE qr_reverse_jobs IN ACCESS EXCLUSIVE MODE"))
        read = Scrape((await client_of(app, runtime).get("/metrics")).text)
    assert read("database_up") == 0
    assert not read.has("queue_depth")
    assert read.has("database_pool_connections")


async def test_concurrent_readers_share_one_read_of_the_database(
    runtime: Runtime, app: FastAPI, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, now = 0, 1_000.0
    monkeypatch.setattr(runtime.gauges, "_clock", lambda: now)
    client = client_of(app, runtime)

    async def counted(*arguments: Any, **values: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_gauges(*arguments, **values)

    monkeypatch.setattr(gauges, "read_gauges", counted)
    await asyncio.gather(*(client.get("/metrics") for _ in range(10)))
    await client.get("/readyz")
    assert reads == 1
    now += gauges.KEPT_SECONDS
    await client.get("/metrics")
    assert reads == 2


async def test_only_the_head_of_a_long_queue_is_counted(
    scrape: Any, plant: Plant, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges_repository, "COUNTED", 4)
    monkeypatch.setattr(gauges_repository, "COUNTED_OF_EACH", 2)
    await plant.queued(10)
    await plant.queued(10, organisation_id=uuid4())
    await plant.sql("UPDATE qr_batch_stages SET run_at = now() - id * interval '1 minute'")
    [oldest] = await plant.sql("SELECT max(now() - run_at) AS age FROM qr_batch_stages")
    whole = await scrape()
    assert whole("queue_depth", kind="creating") == 4
    assert whole("queue_oldest_seconds", kind="creating") >= oldest.age.total_seconds() - 1
    await claim_work(runtime.database, CREATING, 2, lease_seconds=30)
    assert (await scrape())("queue_running", kind="creating") == 2


async def test_no_metric_names_an_organisation_a_code_or_a_case(
    scrape: Any, plant: Plant, client: httpx2.AsyncClient, runtime: Runtime
) -> None:
    batch = await plant.prepared(10)
    await plant.pack(batch)
    await client.get(f"/api/manufacturer/batches/{batch.batch_id}")
    await client.get(f"/api/manufacturer/trace/{batch.first_code}")
    text = (await scrape()).text
    assert not UUID_PATTERN.search(text)
    assert batch.master_codes[0] not in text
    assert str(batch.first_code) not in text
