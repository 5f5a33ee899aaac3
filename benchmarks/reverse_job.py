"""The reverse job: submit to completed, beside the one raw `INSERT … SELECT` that does the same.

Bars: 10,000 codes in 0.5 s, 1,000,000 in 12 s on two cores; at least 0.85 of the raw statement's speed; the process
grows by less than 64 MiB. Ours is everything from the call of the use case to the row `completed`, by a standing
worker that is woken by NOTIFY: submission, claim, count, chunks, finish. The raw statement writes the same rows into
a table with the same indexes, constraints and foreign key, in one transaction. One code in a thousand is excluded.
Both sides begin on an empty queue after a checkpoint, in turns.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from uuid import UUID, uuid4

from benchmarks.ground import Ground, MemoryWatch, alternate, open_ground, timed, until
from benchmarks.report import Report
from benchmarks.seed import Seeded, seed_batch, tidy
from qrtrack.domain.packing.reverse_jobs import NewJob
from qrtrack.services.packing.reverse_jobs import submit_reverse_job

RAW_TABLE = """
CREATE TABLE raw_prepared_codes (LIKE qr_prepared_codes INCLUDING ALL);
ALTER TABLE raw_prepared_codes ADD FOREIGN KEY (manufacturer_org_id, batch_id, job_id)
    REFERENCES qr_reverse_jobs (manufacturer_org_id, batch_id, id) ON DELETE CASCADE;
CREATE TABLE raw_excluded_codes (LIKE qr_excluded_codes INCLUDING ALL);
"""
RAW_JOB = """
INSERT INTO raw_prepared_codes (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code)
SELECT $1, batch_id, $2, manufacturer_org_id, sequence_number, code FROM qr_codes AS code
WHERE batch_id = $3 AND status IN ('generated', 'printed') AND NOT EXISTS (
    SELECT FROM raw_excluded_codes AS excluded
    WHERE excluded.batch_id = code.batch_id AND excluded.sequence_number = code.sequence_number)
ORDER BY sequence_number
ON CONFLICT DO NOTHING
"""
# The same without regard for another job of the batch: faster, and no baseline, since two of them would fail.
UNSAFE_RAW_JOB = RAW_JOB.removesuffix("ON CONFLICT DO NOTHING\n")
RAW_EXCLUDED = """
INSERT INTO raw_excluded_codes (batch_id, manufacturer_org_id, sequence_number)
SELECT batch_id, manufacturer_org_id, sequence_number FROM qr_codes WHERE batch_id = $1 AND code = ANY($2)
"""
SIZES = ((10_000, 21, 0.5), (1_000_000, 3, 12.0))


async def run(*, full: bool) -> Report:
    report = Report("reverse_job")
    async with open_ground() as ground:
        await ground.bare.execute(RAW_TABLE)
        for quantity, rounds, limit in SIZES:
            await _measure(ground, report, quantity, rounds + 2 * full, limit)
        report.publish(ground.machine)
    return report


async def _measure(ground: Ground, report: Report, quantity: int, rounds: int, limit: float) -> None:
    batch = await seed_batch(ground.bare, ground.organisation, quantity)
    excluded = [batch.code(number) for number in range(500, quantity, 1000)]
    await tidy(ground.bare)
    grown: list[float] = []
    async with ground.working(reverse_job=2):
        ours, raw, unsafe = await alternate(
            rounds,
            partial(_our_job, ground, batch, excluded, grown),
            partial(_raw_job, ground, batch, excluded, RAW_JOB),
            partial(_raw_job, ground, batch, excluded, UNSAFE_RAW_JOB),
        )
    size = f"{quantity:,} codes"
    report.at_most(f"{size}, submit to completed", median(ours), "s", limit, ours)
    report.speed_at_least(f"{size}, speed of one raw INSERT … SELECT", ours, raw, 0.85)
    report.beside(f"{size}, the same without ON CONFLICT, no bar", ours, unsafe)
    report.at_most(f"{size}, growth of the process", max(grown), "MiB", 64, grown)


async def _our_job(ground: Ground, batch: Seeded, excluded: list[str], grown: list[float]) -> float:
    await _empty(ground)
    elapsed, growth = await MemoryWatch().watch(timed(partial(_submit_and_wait, ground, batch, excluded)))
    grown.append(growth)
    await _expect(ground, "qr_prepared_codes", batch.quantity - len(excluded))
    return elapsed


async def _submit_and_wait(ground: Ground, batch: Seeded, excluded: list[str]) -> None:
    job = await submit_reverse_job(
        ground.runtime.database,
        caller=ground.caller,
        new=NewJob(batch.batch_id, batch.order_id, excluded),
    )
    await until(_completed(ground, job.job_id))


def _completed(ground: Ground, job_id: UUID) -> Callable[[], Awaitable[object]]:
    return lambda: ground.bare.fetchval("SELECT status = 'completed' FROM qr_reverse_jobs WHERE id = $1", job_id)


async def _raw_job(ground: Ground, batch: Seeded, excluded: list[str], statement: str) -> float:
    await _empty(ground)
    await ground.bare.execute(RAW_EXCLUDED, batch.batch_id, excluded)
    job_id = await _job_to_refer_to(ground, batch)
    elapsed = await timed(partial(ground.bare.execute, statement, job_id, batch.order_id, batch.batch_id))
    await _expect(ground, "raw_prepared_codes", batch.quantity - len(excluded))
    return elapsed


async def _job_to_refer_to(ground: Ground, batch: Seeded) -> UUID:
    job_id = uuid4()
    await ground.bare.execute(
        "INSERT INTO qr_reverse_jobs (id, batch_id, order_id, manufacturer_org_id, exclude_codes, first_sequence,"
        " last_sequence, next_sequence, created_by, status, finished_at)"
        " VALUES ($1, $2, $3, $4, '{}', 1, $5, 1, 'benchmark', 'cancelled', now())",
        job_id,
        batch.batch_id,
        batch.order_id,
        ground.organisation,
        batch.quantity,
    )
    return job_id


async def _empty(ground: Ground) -> None:
    await ground.bare.execute(
        "TRUNCATE qr_prepared_codes, raw_prepared_codes, qr_excluded_codes, raw_excluded_codes, qr_reverse_job_logs,"
        " qr_reverse_jobs"
    )
    await ground.settle()


async def _expect(ground: Ground, table: str, rows: int) -> None:
    found = await ground.bare.fetchval(f"SELECT count(*) FROM {table}")
    if found != rows:
        raise AssertionError(f"{table} holds {found} rows, not {rows}")
