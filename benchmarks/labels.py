"""Labels: a job of unit labels from submission to its stored PDF, beside bare segno that encodes the same payloads.

Bars: 0.8 of the speed of segno's encoding with scored masks on one core; 10,000 labels in at most 6 MB; a job of
100,000 labels grows the process by less than 64 MiB (`--full`; without it 10,000 labels, which hold as much at a time).
Both sides run in one thread at the lowest priority. The bare side draws nothing and stores nothing.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from uuid import UUID

import segno

from benchmarks.ground import Ground, MemoryWatch, alternate, open_ground, timed, until
from benchmarks.report import Report
from benchmarks.seed import Seeded, seed_batch, tidy
from qrtrack.domain.labels.label_jobs import Labelled, NewLabelJob
from qrtrack.domain.qr import printed, unit_payload
from qrtrack.runtime import BACKGROUND_NICENESS
from qrtrack.services.labels.label_jobs import submit_label_job

BASE_URL = "https://verify.example.com"
LABELS = 1000
MANY = 10_000
MOST = 100_000


async def run(*, full: bool) -> Report:
    report = Report("labels")
    async with open_ground() as ground:
        many = MOST if full else MANY
        batch = await seed_batch(ground.bare, ground.organisation, many)
        await tidy(ground.bare)
        addresses = (unit_payload(BASE_URL, batch.uniq_code, batch.code(number)) for number in range(1, LABELS + 1))
        payloads = [printed(address) for address in addresses]
        async with ground.working(label_job=1):
            ours, bare = await alternate(3 + 2 * full, partial(_job, ground, batch), partial(_bare, payloads))
            _, grown = await MemoryWatch().watch(_job(ground, batch, many))
        size = await ground.bare.fetchval("SELECT file_bytes FROM label_jobs WHERE label_count = $1", many)
        report.speed_at_least(f"{LABELS:,} labels, speed of bare segno", ours, bare, 0.8)
        report.at_most(f"{MANY:,} labels, size of the PDF", size * MANY / many / 1e6, "MB", 6)
        report.at_most(f"{many:,} labels, growth of the process", grown, "MiB", 64)
        report.note(f"{LABELS / median(ours):.0f} labels/s")
        report.publish(ground.machine)
    return report


async def _job(ground: Ground, batch: Seeded, count: int = LABELS) -> float:
    new = NewLabelJob(Labelled.UNITS, last_code=batch.code(count), reason="Measured again")
    return await timed(partial(_submit_and_wait, ground, batch, new))


async def _submit_and_wait(ground: Ground, batch: Seeded, new: NewLabelJob) -> None:
    submitted = await submit_label_job(
        ground.runtime.database, caller=ground.caller, batch_id=batch.batch_id, new=new, base_url=BASE_URL
    )
    await until(_completed(ground, submitted.label_job_id))


def _completed(ground: Ground, job_id: UUID) -> Callable[[], Awaitable[object]]:
    return lambda: ground.bare.fetchval("SELECT status = 'completed' FROM label_jobs WHERE id = $1", job_id)


async def _bare(payloads: list[str]) -> float:
    def encode() -> None:
        for payload in payloads:
            segno.make_qr(payload, error="M")

    with ThreadPoolExecutor(1, "bare", partial(os.setpriority, os.PRIO_PROCESS, 0, BACKGROUND_NICENESS)) as thread:
        return await timed(partial(asyncio.get_running_loop().run_in_executor, thread, encode))
