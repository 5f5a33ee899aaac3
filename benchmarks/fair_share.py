"""One organisation packs while another's caller does their worst: what the neighbour waits, and what the process grows.

Bars, for each attack by itself: the neighbour's link p95 stays at or below 3 times its quiet value and 250 ms, and the
server's memory grows by less than 200 MiB. The baseline is the same neighbour before, on the same server.

An attacker sits on another machine. Here it shares the cores with the server, so its niceness is higher by 19: what is
measured is the server's fairness, and not the processor time that the attacker's own Python takes away.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from uuid import UUID, uuid4

import psutil

from benchmarks.attacks import ATTACKS, Target
from benchmarks.ground import SECRET, Ground, in_milliseconds, open_ground
from benchmarks.report import Report, percentile
from benchmarks.seed import Seeded, seed_batch, tidy
from benchmarks.server import Client, Server, serving
from qrtrack.domain.identity import Role
from qrtrack.integrations.tokens import sign_token

WEBHOOK_TOKEN = "a-token-of-the-benchmarks-7f3a91c0d5e2"
EVERY_SECONDS = 0.1
# What is slow to start must not go unmeasured: the first import is read in about five seconds.
QUIET_SECONDS, ATTACK_SECONDS, FULL_ATTACK_SECONDS = 10.0, 8.0, 20.0
CASES = 5000
NICER = 19


async def run(*, full: bool) -> Report:
    report = Report("fair_share")
    attacker = uuid4()
    settings = {
        "AKSELGATE_BASE_URL": "http://127.0.0.1:1",
        "AKSELGATE_USERNAME": "benchmark",
        "AKSELGATE_PASSWORD": SECRET,
        "AKSELGATE_ORGANISATION": str(attacker),
        "AKSELGATE_AMOUNT_SCALE": "0",
        "ACCURATE_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
    }
    async with open_ground() as ground, serving(ground, with_worker=False, log=None, **settings) as server:
        batch = await seed_batch(ground.bare, ground.organisation, CASES * 100, prepared=True)
        theirs = await seed_batch(ground.bare, attacker, 1000, prepared=True)
        await tidy(ground.bare)
        target = await _target(ground, server, attacker, theirs)
        cases = iter(range(1, CASES + 1))
        await _neighbour(server, batch, cases, 2.0)
        quiet = in_milliseconds(await _neighbour(server, batch, cases, QUIET_SECONDS))
        for name in ATTACKS:
            await ground.settle()
            async with _attacked(name, target, server) as growth:
                seconds = FULL_ATTACK_SECONDS if full else ATTACK_SECONDS
                beside = in_milliseconds(await _neighbour(server, batch, cases, seconds))
            what = name.replace("_", " ")
            report.at_most(f"{what}: the neighbour's link, p95", percentile(beside, 95), "ms", 250, beside)
            report.cost_at_most(f"{what}: beside quiet, p95", "ms", ours=beside, baseline=quiet, limit=3, at=95)
            report.at_most(f"{what}: growth of the process", max(growth), "MiB", 200)
        report.publish(ground.machine)
    return report


async def _target(ground: Ground, server: Server, attacker: UUID, batch: Seeded) -> Target:
    token = sign_token(SECRET, organisation_id=attacker, user_id=str(uuid4()), roles=[Role.ADMIN], hours=1)
    job_id = await ground.bare.fetchval("SELECT id FROM qr_reverse_jobs WHERE batch_id = $1", batch.batch_id)
    running = "UPDATE qr_reverse_jobs SET status = 'queued', finished_at = NULL, result_summary = NULL, progress = 0"
    async with ground.bare.transaction():
        await ground.bare.execute("SET LOCAL session_replication_role = replica")
        await ground.bare.execute(f"{running} WHERE id = $1", job_id)
    return Target(
        port=server.port,
        token=token,
        webhook_token=WEBHOOK_TOKEN,
        batch_id=str(batch.batch_id),
        order_id=str(batch.order_id),
        master_code=batch.master_code(1),
        job_id=str(job_id),
    )


@asynccontextmanager
async def _attacked(name: str, target: Target, server: Server) -> AsyncIterator[list[float]]:
    """The growth of the server's memory in MiB, look by look, while the attack goes on."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    growth = [0.0]

    async def look() -> None:
        while True:
            growth.append((process.memory_info().rss - before) / 2**20)
            await asyncio.sleep(0.05)

    command = [sys.executable, "-m", "benchmarks.attacks", name, json.dumps(asdict(target))]
    attack = await asyncio.create_subprocess_exec(*command)
    psutil.Process(attack.pid).nice(min(os.getpriority(os.PRIO_PROCESS, 0) + NICER, 19))
    # Its bodies are made.
    await asyncio.sleep(2)
    looking = asyncio.create_task(look())
    try:
        yield growth
    finally:
        looking.cancel()
        attack.kill()
        await attack.wait()
    # What it left in the server is over: the next attack begins with a quiet one.
    await asyncio.sleep(2)


async def _neighbour(server: Server, batch: Seeded, cases: Iterator[int], seconds: float) -> list[float]:
    """Packs a case at fixed instants, not in answer to answers: a slow server is not spared. Seconds of each."""
    times: list[float] = []
    client = await Client.connect(server.port, server.token)
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        times.append(await _link(client, batch, next(cases)) - began)
        due = max(due + EVERY_SECONDS, time.perf_counter() - 1)
    client.close()
    return times


async def _link(client: Client, batch: Seeded, case: int) -> float:
    """The instant of the answer."""
    order = {"batch_id": str(batch.batch_id), "order_id": str(batch.order_id), "master_code": batch.master_code(case)}
    answer = await client.post("/api/manufacturer/link-to-master-from-queue", order)
    assert answer["linked_count"] == 100
    return time.perf_counter()
