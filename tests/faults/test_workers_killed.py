"""Workers that die, are stopped or lose their database in the middle of real work, as processes of their own."""

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import DBAPIError

from faults.processes import Workers, ended, kill_now, patiently, until, workers
from plant import Plant
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.identity import Caller, Role
from qrtrack.runtime import Runtime
from qrtrack.services.packing.batches import retry_batch
from qrtrack.services.packing.reverse_jobs import retry_reverse_job
from ticking import HANG_SECONDS

# Only a worker that hangs takes so long, and no test waits for a lease of that length.
LONG_LEASE = 2 * HANG_SECONDS
# Kills of workers and connections, and the least of batches and of jobs that they meet.
DEEDS, WORKS = 40, 40

NUMBERS = ("prepared", "duplicates", "invalid", "excluded_count")


async def job_of(plant: Plant, job_id: UUID) -> Any:
    return await plant.row("qr_reverse_jobs", job_id)


async def test_a_worker_killed_three_times_in_a_job_of_200_000_codes_gives_the_exact_result(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    batch = await plant.batch(200_000)
    excluded = [f"SKA{number:06d}" for number in (1, 77_777, 200_000)]
    job_id = await plant.submit(batch, excluded)
    progress: list[int] = []

    async def went_on() -> bool:
        job = await job_of(plant, job_id)
        progress.append(job.progress)
        return bool(job.progress > 30 and job.progress > killed_at[-1])

    killed_at = [0]
    with workers(migrated_url, tmp_path, lease_seconds=1.5, poll_seconds=0.2, hash_threads=0) as started:
        for _ in range(3):
            process = started.start()
            await until(went_on, every=0.003)
            await kill_now([process])
            job = await job_of(plant, job_id)
            assert job.status == "running", "the job ended before the kill: give it more codes"
            killed_at.append(job.progress)
            # Attempts are the guard against jobs that kill: here it is the test that does.
            await plant.sql("UPDATE qr_reverse_jobs SET attempts = 1")
        started.start()

        async def completed() -> bool:
            return bool((await job_of(plant, job_id)).status == "completed")

        await until(completed)
    job = await job_of(plant, job_id)
    assert progress == sorted(progress)
    assert job.result_summary == {
        "prepared": 199_997,
        "duplicates": 0,
        "invalid": 0,
        "total_available": 200_000,
        "excluded_count": 3,
        "excluded_already_unavailable": 0,
    }
    [queue] = await plant.sql(
        "SELECT count(*) AS rows, count(DISTINCT sequence_number) AS codes, min(sequence_number) AS first,"
        " max(sequence_number) AS last FROM qr_prepared_codes WHERE status = 'prepared'"
    )
    assert tuple(queue) == (199_997, 199_997, 2, 199_999)
    [disorder] = await plant.sql(
        "SELECT count(*) AS pairs FROM (SELECT sequence_number, lag(sequence_number) OVER (ORDER BY id) AS before"
        " FROM qr_prepared_codes) AS queued WHERE before > sequence_number"
    )
    assert disorder.pairs == 0


async def test_a_job_that_kills_its_worker_every_time_fails_after_three_attempts(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    batch = await plant.batch(150_000)
    job_id = await plant.submit(batch)
    attempts = []
    with workers(migrated_url, tmp_path, lease_seconds=2, poll_seconds=0.1, hash_threads=0) as started:
        for number in range(1, 4):
            process = started.start()

            async def taken(number: int = number) -> bool:
                job = await job_of(plant, job_id)
                return bool(job.status == "running" and job.attempts == number)

            await until(taken, every=0.002)
            await kill_now([process])
            job = await job_of(plant, job_id)
            assert job.status == "running", "the job ended before the kill: give it more codes"
            attempts.append(job.attempts)
        started.start()

        async def failed() -> bool:
            return bool((await job_of(plant, job_id)).status == "failed")

        await until(failed)
    job = await job_of(plant, job_id)
    assert attempts == [1, 2, 3]
    assert job.attempts == 3
    assert job.error_message.startswith("worker lost")


async def test_a_stopped_worker_gives_its_job_back_and_another_takes_it_within_a_poll(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    batch = await plant.batch(150_000)
    job_id = await plant.submit(batch)
    # A lease of minutes: nothing but the release lets the other worker begin.
    with workers(migrated_url, tmp_path, lease_seconds=LONG_LEASE, poll_seconds=0.5, hash_threads=0) as started:
        first = started.start()

        async def runs() -> bool:
            return bool((await job_of(plant, job_id)).progress > 35)

        await until(runs, every=0.003)
        [held] = await plant.sql("SELECT lease_token FROM qr_reverse_jobs")
        started.start()
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        assert await ended(first) == 0
        assert time.monotonic() - began < LONG_LEASE

        async def taken() -> bool:
            job = await job_of(plant, job_id)
            return bool(job.status == "completed" or (job.status == "running" and job.lease_token != held.lease_token))

        await until(taken)

        async def completed() -> bool:
            return bool((await job_of(plant, job_id)).status == "completed")

        await until(completed)
    job = await job_of(plant, job_id)
    assert (job.attempts, job.result_summary["prepared"]) == (1, 150_000)


class Chaos:
    """Three organisations at work while their workers, and everybody's connections, are killed at random."""

    def __init__(self, plants: Sequence[Plant], started: Workers, *, seed: int) -> None:
        self._plants = {plant.caller.organisation_id: plant for plant in plants}
        self._any = plants[0]
        self._started = started
        self._dice = random.Random(seed)
        self.orders = self.jobs = self.deeds = 0

    @property
    def goes_on(self) -> bool:
        return self.deeds < DEEDS or min(self.orders, self.jobs) < WORKS

    async def order_and_submit(self) -> None:
        while self.goes_on:
            plant = self._dice.choice(list(self._plants.values()))
            # The kills meet this process's connections, too; what was refused then is ordered another time.
            with suppress(DatabaseUnavailable):
                await plant.order(self._dice.randint(1, 60))
                self.orders += 1
                await self._submit_some()
            await asyncio.sleep(self._dice.uniform(0.05, 0.3))

    async def _submit_some(self) -> None:
        rows = await patiently(
            self._any,
            "SELECT id AS batch_id, order_id, manufacturer_org_id FROM qr_batches"
            " WHERE codes_created_at IS NOT NULL ORDER BY random() LIMIT 3",
        )
        for row in rows:
            await self._plants[row.manufacturer_org_id].submit(row)
            self.jobs += 1

    async def wreak(self) -> None:
        while self.goes_on:
            await asyncio.sleep(self._dice.uniform(0.3, 1.5))
            self._started.revive()
            self.deeds += 1
            deed = self._dice.choice(["SIGKILL", "SIGTERM", "backends"])
            if deed == "backends":
                await self._kill_backends()
                continue
            victim = self._dice.choice(self._started.processes)
            victim.send_signal(signal.Signals[deed])
            await ended(victim)
            self._started.processes.remove(victim)
            self._started.start()

    async def _kill_backends(self) -> None:
        with suppress(DBAPIError, OSError):
            await self._any.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < 0.5"
            )

    async def all_over(self) -> bool:
        """What the kills have failed for good, as they may, a manager retries."""
        self._started.revive()
        for row in await self._any.sql("SELECT id, manufacturer_org_id FROM qr_batches WHERE status = 'failed'"):
            plant = self._plants[row.manufacturer_org_id]
            await retry_batch(plant.runtime.database, caller=plant.caller, batch_id=row.id)
        for row in await self._any.sql("SELECT id, manufacturer_org_id FROM qr_reverse_jobs WHERE status = 'failed'"):
            plant = self._plants[row.manufacturer_org_id]
            await retry_reverse_job(plant.runtime.database, caller=plant.caller, job_id=row.id)
        return not await self._any.sql(
            "SELECT 1 FROM qr_reverse_jobs WHERE status <> 'completed'"
            " UNION ALL SELECT 1 FROM qr_batches WHERE status <> 'ready' LIMIT 1"
        )


async def test_forty_kills_at_random_lose_nothing_and_double_nothing(
    plant: Plant, runtime: Runtime, migrated_url: str, tmp_path: Path
) -> None:
    others = [Plant(runtime, Caller("chaos", uuid4(), frozenset({Role.ADMIN}))) for _ in range(2)]
    with workers(migrated_url, tmp_path, lease_seconds=1, poll_seconds=0.1, shutdown_grace_seconds=1) as started:
        for _ in range(3):
            started.start()
        chaos = Chaos([plant, *others], started, seed=1)
        await asyncio.gather(chaos.order_and_submit(), chaos.wreak())
        await until(chaos.all_over, every=0.3)
        log = started.log()
    await assert_batches_exact(plant)
    await assert_jobs_exact(plant)
    assert "Task exception was never retrieved" not in log


async def assert_batches_exact(plant: Plant) -> None:
    [made] = await plant.sql("SELECT count(*) AS batches FROM qr_batches")
    assert made.batches > 30
    wrong = await plant.sql(
        "SELECT batch.id FROM qr_batches AS batch LEFT JOIN LATERAL (SELECT count(*) AS codes,"
        " count(DISTINCT root_key_digest) AS keys, count(root_key_hash) AS hashes, min(sequence_number) AS first,"
        " max(sequence_number) AS last FROM qr_codes WHERE batch_id = batch.id) AS made ON true"
        " LEFT JOIN LATERAL (SELECT sum(expected_units) AS units FROM qr_master_codes WHERE batch_id = batch.id)"
        " AS boxes ON true WHERE (codes, keys, hashes, first, last, units) IS DISTINCT FROM"
        " (batch.quantity, batch.quantity, batch.quantity, 1, batch.quantity, batch.quantity)"
    )
    assert wrong == []
    overlapping = await plant.sql(
        "SELECT a.id FROM qr_batches AS a JOIN qr_batches AS b ON a.manufacturer_org_id = b.manufacturer_org_id"
        " AND a.id < b.id AND a.first_number < b.first_number + b.quantity"
        " AND b.first_number < a.first_number + a.quantity"
    )
    assert overlapping == []


async def assert_jobs_exact(plant: Plant) -> None:
    jobs = await plant.sql("SELECT id, result_summary FROM qr_reverse_jobs")
    assert len(jobs) > 30
    for job in jobs:
        parts = [job.result_summary[name] for name in NUMBERS]
        assert min(parts) >= 0
        assert sum(parts) == job.result_summary["total_available"]
    unequal = await plant.sql(
        "SELECT job.id FROM qr_reverse_jobs AS job WHERE prepared_count <>"
        " (SELECT count(*) FROM qr_prepared_codes WHERE job_id = job.id)"
    )
    assert unequal == []
    doubled = await plant.sql(
        "SELECT code FROM qr_prepared_codes GROUP BY manufacturer_org_id, code HAVING count(*) > 1 LIMIT 1"
    )
    assert doubled == []
