"""Real workers beside each other: a periodic task runs in one of them at a time, however long it takes."""

import asyncio
from collections import defaultdict
from functools import partial
from pathlib import Path

from sqlalchemy import text

from faults.processes import until, workers
from plant import Plant
from qrtrack.postgresql import embedded

# The sweeper is due ten times a second, and its lease is a fraction of what it is made to take.
BUSY = {"akselgate_deadline_seconds": 0.2, "poll_seconds": 0.02, "lease_seconds": 0.6, "hash_threads": 0}
SWEEPING = (
    "SELECT count(*) AS running FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
    r" AND query ~ '^\s*UPDATE t_akselgate_transaction_log AS log\s+SET outcome = ''unknown'''"
)
WATCH = (
    """
    CREATE TABLE leases (id bigint GENERATED ALWAYS AS IDENTITY, name text, before uuid, after uuid,
                         at timestamptz DEFAULT clock_timestamp())
    """,
    """
    CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO leases (name, before, after) VALUES (NEW.name, OLD.lease_token, NEW.lease_token);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER note_lease AFTER UPDATE ON periodic_tasks FOR EACH ROW
    WHEN (OLD.lease_token IS DISTINCT FROM NEW.lease_token) EXECUTE FUNCTION note_lease()
    """,
)


async def running(plant: Plant) -> int:
    [row] = await plant.sql(SWEEPING)
    return int(row.running)


async def has_swept(plant: Plant, *, times: int) -> bool:
    [row] = await plant.sql("SELECT count(*) AS leases FROM leases WHERE name = 'sweep_attempts' AND after IS NULL")
    return int(row.leases) >= times


async def test_two_workers_never_run_the_same_task_at_once(
    own_plant: Plant, server: embedded.EmbeddedPostgres, tmp_path: Path
) -> None:
    plant = own_plant
    for statement in WATCH:
        await plant.sql(statement)
    with workers(server.url(), tmp_path, **BUSY) as started:
        for _ in range(2):
            started.start()
        await started.at_work(2)
        most = 0
        for _ in range(3):
            async with plant.runtime.database.engine.begin() as blocker:
                # Whoever sweeps stands before this lock, for several leases.
                await blocker.execute(text("LOCK TABLE t_akselgate_transaction_log IN ACCESS EXCLUSIVE MODE"))

                async def begun() -> bool:
                    return await running(plant) > 0

                await until(begun)
                for _ in range(120):
                    most = max(most, await running(plant))
                    await asyncio.sleep(0.02)
        await until(partial(has_swept, plant, times=20))
        assert most == 1
    leases = defaultdict(list)
    for lease in await plant.sql("SELECT * FROM leases ORDER BY id"):
        leases[lease.name].append((lease.before, lease.after))
    for changes in leases.values():
        # A lease begins where nobody has one and ends with the token it began with: none was ever taken over.
        begins, ends = changes[0::2], changes[1::2]
        assert all(before is None for before, _ in begins)
        assert [token for _, token in begins][: len(ends)] == [token for token, _ in ends]
        assert all(after is None for _, after in ends)


async def test_a_killed_worker_s_task_is_done_by_the_other_and_keeps_its_time_over_restarts(
    own_plant: Plant, server: embedded.EmbeddedPostgres, tmp_path: Path
) -> None:
    plant = own_plant
    with workers(server.url(), tmp_path, **BUSY) as started:
        first = started.start()
        await started.at_work(1)
        async with plant.runtime.database.engine.begin() as blocker:
            await blocker.execute(text("LOCK TABLE t_akselgate_transaction_log IN ACCESS EXCLUSIVE MODE"))

            async def begun() -> bool:
                return await running(plant) > 0

            await until(begun)
            first.kill()
            await asyncio.to_thread(first.wait)
        [held] = await plant.sql("SELECT lease_token FROM periodic_tasks WHERE name = 'sweep_attempts'")
        before = await plant.sql("SELECT name, run_at FROM periodic_tasks WHERE name <> 'sweep_attempts' ORDER BY name")
        started.start()

        async def taken_over() -> bool:
            [row] = await plant.sql("SELECT lease_token FROM periodic_tasks WHERE name = 'sweep_attempts'")
            return bool(row.lease_token != held.lease_token)

        await until(taken_over)
    late = [row for row in before if row.name != "accurate.assign_events"]
    after = await plant.sql("SELECT name, run_at FROM periodic_tasks WHERE name <> 'sweep_attempts' ORDER BY name")
    assert [row for row in after if row.name != "accurate.assign_events"] == late
    assert len(late) >= 4
