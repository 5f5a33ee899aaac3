"""PostgreSQL that goes away at once, without asking anybody, while workers and servers are busy."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from accurate import DATABASE, event
from endpoint import open_endpoint
from faults.processes import SECRET, Workers, ended, until, workers
from plant import MadeBatch, Plant
from process import free_port
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token
from qrtrack.postgresql import embedded
from ticking import HANG_SECONDS

AWAY_SECONDS = 3.0
POLL_SECONDS = 30
SIGNING = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


async def crash(tmp_path: Path, server: embedded.EmbeddedPostgres, *, away: float = 0.5) -> None:
    """`pg_ctl stop -m immediate`, and a start after so many seconds."""
    pid = int((tmp_path / "data/postgresql/data/postmaster.pid").read_text().partition("\n")[0])
    os.kill(pid, signal.SIGQUIT)
    await asyncio.sleep(away)
    await asyncio.to_thread(server.ensure_running)


async def test_every_loop_survives_a_database_that_crashes_under_load(
    own_plant: Plant, server: embedded.EmbeddedPostgres, tmp_path: Path
) -> None:
    plant = own_plant
    with workers(server.url(), tmp_path, lease_seconds=2, poll_seconds=0.1, shutdown_grace_seconds=2) as started:
        for _ in range(2):
            started.start()
        await started.at_work(2)
        batches = [await plant.order(20_000) for _ in range(4)]

        async def all_created() -> bool:
            return not await plant.sql("SELECT 1 FROM qr_batches WHERE codes_created_at IS NULL LIMIT 1")

        await crash(tmp_path, server)
        await until(all_created)
        for batch in batches:
            await plant.submit(MadeBatch(batch.batch_id, plant.order_id, batch.uniq_code, None, None, ()))
        for _ in range(2):
            await asyncio.sleep(0.3)
            await crash(tmp_path, server)

        async def all_completed() -> bool:
            return not await plant.sql("SELECT 1 FROM qr_reverse_jobs WHERE status <> 'completed' LIMIT 1")

        await until(all_completed)
        await end_in_good_order(started)
        log = started.log()
    found = await plant.sql(
        "SELECT result_summary->>'prepared' AS prepared, (SELECT count(*) FROM qr_prepared_codes"
        " WHERE job_id = job.id) AS rows FROM qr_reverse_jobs AS job"
    )
    assert [tuple(row) for row in found] == [("20000", 20_000)] * 4
    assert "Task exception was never retrieved" not in log
    assert "the database cannot be reached" in log


async def end_in_good_order(started: Workers) -> None:
    """Nobody had died, and all go when they are asked to."""
    assert [process.poll() for process in started.processes] == [None] * len(started.processes)
    for process in started.processes:
        process.send_signal(signal.SIGTERM)
    assert {await ended(process) for process in started.processes} == {0}


class Callers:
    """People, Accurate and monitors, who go on calling whatever is answered; `answers` is what they got."""

    def __init__(self, ports: list[int], organisation_id: Any) -> None:
        token = sign_token(SECRET, organisation_id=organisation_id, user_id="u", roles=[Role.ADMIN], hours=1)
        self.clients = [
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=HANG_SECONDS,
                trust_env=False,
            )
            for port in ports
        ]
        self.answers: dict[str, list[httpx2.Response]] = {}
        self.promised: set[str] = set()
        self.over = asyncio.Event()

    async def call(self, client: httpx2.AsyncClient, method: str, path: str, **asked: Any) -> httpx2.Response:
        answer = await client.request(method, path, **asked)
        self.answers.setdefault(path, []).append(answer)
        return answer

    async def look(self, client: httpx2.AsyncClient, path: str) -> None:
        while not self.over.is_set():
            await self.call(client, "GET", path)
            await asyncio.sleep(0.02)

    async def send(self, client: httpx2.AsyncClient, name: str) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            uuid = f"{name}-{number}"
            sent = event("ITEM", {"itemId": number}, uuid=uuid)
            if (await self.call(client, "POST", "/webhook/accurate", json=[sent])).status_code == 200:
                self.promised.add(uuid)
            await asyncio.sleep(0.01)

    def begin(self) -> list[asyncio.Task[None]]:
        paths = ("/api/manufacturer/batches", "/readyz", "/healthz", "/metrics")
        looks = [self.look(client, path) for client in self.clients for path in paths]
        sends = [
            self.send(client, f"s{number}-{part}") for number, client in enumerate(self.clients) for part in range(3)
        ]
        return [asyncio.create_task(each) for each in [*looks, *sends]]

    async def all_there(self) -> bool:
        """The servers have begun to listen."""
        with suppress(httpx2.ConnectError):
            return await self.all_well()
        return False

    async def all_well(self) -> bool:
        answers = [await client.get("/readyz") for client in self.clients]
        return all(answer.status_code == 200 for answer in answers)


@asynccontextmanager
async def calling(ports: list[int], organisation_id: Any) -> AsyncIterator[Callers]:
    callers = Callers(ports, organisation_id)
    try:
        yield callers
    finally:
        callers.over.set()
        for client in callers.clients:
            await client.aclose()


async def test_while_it_is_away_servers_answer_503_and_afterwards_every_loop_goes_on(
    own_plant: Plant, server: embedded.EmbeddedPostgres, tmp_path: Path
) -> None:
    plant, ports = own_plant, [free_port(), free_port()]
    organisation = plant.caller.organisation_id
    async with open_endpoint() as endpoint:
        settings = {
            "accurate_databases": f"{DATABASE}={organisation}",
            "accurate_forward_url": endpoint.url,
            "accurate_forward_secret": SIGNING,
            "akselgate_deadline_seconds": 1,
            "lease_seconds": 2,
            # So long that what starts at once was told by the loop that listens.
            "poll_seconds": POLL_SECONDS,
        }
        with workers(server.url(), tmp_path, **settings) as started:
            for port in ports:
                started.start("serve", "--port", str(port))
            started.start()
            await started.at_work(1)
            async with calling(ports, organisation) as callers:
                await until(callers.all_there)
                busy = callers.begin()
                for _ in range(2):
                    await asyncio.sleep(2)
                    await crash(tmp_path, server, away=AWAY_SECONDS)
                    await until(callers.all_well)
                callers.over.set()
                await asyncio.gather(*busy)
                check_answers(callers)
                await check_loops(plant, callers)
            await end_in_good_order(started)
            log = started.log()
    assert "Task exception was never retrieved" not in log
    assert "unforeseen error" not in log
    await check_promises(plant, callers)


def check_answers(callers: Callers) -> None:
    """Sound ones, and 503 with the hint to come again; the process and its figures are there throughout."""
    counts = {path: Counter(answer.status_code for answer in answers) for path, answers in callers.answers.items()}
    assert set(counts["/healthz"]) == set(counts["/metrics"]) == {200}
    for path in ("/api/manufacturer/batches", "/readyz", "/webhook/accurate"):
        assert set(counts[path]) == {200, 503}, counts
        refused = [answer for answer in callers.answers[path] if answer.status_code == 503]
        assert {answer.json()["type"] for answer in refused} == {"urn:qrtrack:problem:database-unavailable"}
        assert all("Retry-After" in answer.headers for answer in refused)
    figures = [answer.text for answer in callers.answers["/metrics"]]
    assert any("qrtrack_database_up 0.0" in text for text in figures)


async def check_loops(plant: Plant, callers: Callers) -> None:
    async def listening() -> bool:
        rows = await plant.sql(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM pg_listening_channels()%'"
            " OR query LIKE 'LISTEN %'"
        )
        return len(rows) == 3

    await until(listening)
    # The loop that claims, woken by the one that listens.
    created = await plant.order(50)

    async def created_all() -> bool:
        row = await plant.row("qr_batches", created.batch_id)
        return row.codes_created_at is not None

    assert await until(created_all) < POLL_SECONDS - 5

    # Streams go on to the end, and periodic tasks come round.
    async def all_passed_on() -> bool:
        return not await plant.sql(
            "SELECT 1 FROM webhook_queue WHERE status <> 'done' OR forward_status <> 'sent' LIMIT 1"
        )

    await until(all_passed_on)
    [sweeper] = await plant.sql("SELECT run_at FROM periodic_tasks WHERE name = 'sweep_attempts'")

    async def came_round() -> bool:
        [row] = await plant.sql("SELECT run_at FROM periodic_tasks WHERE name = 'sweep_attempts'")
        return bool(row.run_at > sweeper.run_at)

    await until(came_round)

    async def all_three_report() -> bool:
        answer = await callers.clients[0].get("/api/worker/health", headers={"Authorization": f"Bearer {SECRET}"})
        return len(answer.json()["workers"]) == 3

    await until(all_three_report)


async def check_promises(plant: Plant, callers: Callers) -> None:
    rows = await plant.sql("SELECT uuid FROM webhook_queue")
    stored = [row.uuid for row in rows]
    assert len(stored) == len(set(stored))
    assert len(callers.promised) > 20
    assert callers.promised <= set(stored)
