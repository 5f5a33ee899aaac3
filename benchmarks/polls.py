"""Status polls while the server works: 200 pollers, one poll every 3 s each, beside a job and bcrypt.

Bar: p99 20 ms while a reverse job of 1,000,000 codes runs and root keys are hashed in every thread. One `qrtrack serve`
with its worker loop does all of it, on the machine of the database and the pollers. The baseline are the same pollers
on the same server before it has work. The job's own time is noted: polls are not to be bought by starving it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from benchmarks.ground import Ground, in_milliseconds, open_ground, until
from benchmarks.report import Report, percentile
from benchmarks.seed import PREFIXES, Seeded, seed_batch, tidy
from benchmarks.server import Client, Server, serving
from qrtrack.domain.packing.batches import NewBatch, SerialMode, Variant
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.services.packing.batches import create_batch
from qrtrack.services.packing.reverse_jobs import submit_reverse_job

POLLERS, EVERY_SECONDS, IDLE_SECONDS, CODES = 200, 3.0, 15.0, 1_000_000
# More than two cores hash while the job runs.
HASHED_CODES = 20_000


async def run(*, full: bool) -> Report:
    report = Report("polls")
    async with open_ground() as ground, serving(ground, with_worker=True) as server:
        small = await seed_batch(ground.bare, ground.organisation, 10_000)
        large = await seed_batch(ground.bare, ground.organisation, CODES)
        await tidy(ground.bare)
        await ground.settle()
        job_id = await _submit(ground, small)
        await until(_completed(ground, job_id))
        idle = await _polls_beside(server, job_id, asyncio.sleep(IDLE_SECONDS * (1 + full)))
        await _start_hashing(ground)
        job_id = await _submit(ground, large)
        began = time.perf_counter()
        busy = await _polls_beside(server, job_id, until(_completed(ground, job_id), pause=0.1))
        report.note(f"the job of {CODES:,} codes took {time.perf_counter() - began:.1f} s beside {len(busy)} polls")
        report.at_most("status poll beside job and bcrypt, p99", percentile(busy, 99), "ms", 20, busy)
        report.note(f"beside both p50 {percentile(busy, 50):.1f} ms")
        report.note(f"without work p50 {percentile(idle, 50):.1f} ms, p99 {percentile(idle, 99):.1f} ms")
        report.publish(ground.machine)
    return report


async def _submit(ground: Ground, batch: Seeded) -> UUID:
    job = await submit_reverse_job(
        ground.runtime.database,
        caller=ground.caller,
        new=NewJob(batch.batch_id, batch.order_id),
    )
    return job.job_id


def _completed(ground: Ground, job_id: UUID) -> Callable[[], Awaitable[object]]:
    return lambda: ground.bare.fetchval("SELECT status = 'completed' FROM qr_reverse_jobs WHERE id = $1", job_id)


async def _start_hashing(ground: Ground) -> None:
    """A batch whose codes exist, and whose keys are being hashed."""
    new = NewBatch(
        order_id=uuid4(),
        product_name="Gold 1 g",
        serial_prefix=next(PREFIXES),
        serial_mode=SerialMode.SEQUENTIAL,
        units_per_case=100,
        variants=(Variant(None, HASHED_CODES),),
    )
    batch = await create_batch(ground.runtime.database, caller=ground.caller, new=new)
    running = "SELECT EXISTS (SELECT FROM qr_batch_stages WHERE batch_id = $1 AND stage = 'hashing' AND attempts = 1)"
    await until(lambda: ground.bare.fetchval(running, batch.batch_id))


async def _polls_beside(server: Server, job_id: UUID, work: Awaitable[None]) -> list[float]:
    """How long each poll took while the work lasted, in milliseconds."""
    over = asyncio.Event()
    async with server.clients(POLLERS) as clients, asyncio.TaskGroup() as group:
        # Accepting 200 connections at once holds up whoever polls at that moment; those of pollers stay open.
        for client in clients:
            await _poll(client, job_id)
        pollers = [
            group.create_task(_poller(client, job_id, EVERY_SECONDS * place / POLLERS, over))
            for place, client in enumerate(clients)
        ]
        await work
        over.set()
    return in_milliseconds([second for poller in pollers for second in poller.result()])


async def _poller(client: Client, job_id: UUID, delay: float, over: asyncio.Event) -> list[float]:
    """Polls at fixed instants, not in answer to answers: a slow server is not spared."""
    times: list[float] = []
    due = time.perf_counter() + delay
    while not over.is_set():
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        await _poll(client, job_id)
        times.append(time.perf_counter() - began)
        due += EVERY_SECONDS
    return times


async def _poll(client: Client, job_id: UUID) -> None:
    await client.get(f"/api/manufacturer/reverse-job/status?job_id={job_id}")
