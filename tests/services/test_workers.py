"""Which workers are alive, and when work last ended: told by the processes themselves."""

import asyncio
from dataclasses import replace

from plant import Plant
from qrtrack.runtime import Runtime
from qrtrack.services.workers import ProcessActivity, report_ends, report_process, worker_health
from qrtrack.worker.loop import Worker


async def hosts(runtime: Runtime) -> int:
    return len((await worker_health(runtime.database)).workers)


async def test_a_loop_is_alive_until_it_stops(runtime: Runtime) -> None:
    two = [Worker(replace(runtime, activity=ProcessActivity())) for _ in range(2)]
    tasks = [asyncio.create_task(worker.run()) for worker in two]
    while await hosts(runtime) < 2:
        await asyncio.sleep(0.01)
    await two[0].stop()
    await tasks[0]
    assert await hosts(runtime) == 1
    await two[1].stop()
    await tasks[1]
    assert await hosts(runtime) == 0


async def test_a_dead_loop_stops_counting_as_alive(runtime: Runtime, plant: Plant) -> None:
    await report_process(runtime.database, ProcessActivity(), poll_seconds=1)
    assert await hosts(runtime) == 1
    await plant.sql("UPDATE worker_processes SET alive_until = now() - interval '1 second'")
    assert await hosts(runtime) == 0


async def test_a_loop_with_long_polls_counts_as_alive_for_longer(runtime: Runtime, plant: Plant) -> None:
    await report_process(runtime.database, ProcessActivity(), poll_seconds=60)
    [row] = await plant.sql("SELECT alive_until - polled_at AS trusted FROM worker_processes")
    assert row.trusted.total_seconds() > 170


async def test_each_kind_of_work_says_what_waits_runs_and_ended_last(runtime: Runtime, plant: Plant) -> None:
    batch = await plant.batch(10)
    await plant.submit(batch)
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() - interval '50 seconds'")
    waiting = (await worker_health(runtime.database)).kinds["reverse_job"]
    assert (waiting.queued, waiting.running, waiting.last_finished_at) == (1, 0, None)
    assert waiting.oldest_age_seconds is not None
    assert waiting.oldest_age_seconds >= 50
    await plant.work("reverse_job")
    await report_ends(runtime.database, runtime.activity)
    [job] = await plant.sql("SELECT finished_at, now() AS now FROM qr_reverse_jobs")
    done = (await worker_health(runtime.database)).kinds["reverse_job"]
    assert (done.queued, done.running, done.oldest_age_seconds) == (0, 0, None)
    assert done.last_finished_at is not None
    assert abs((done.last_finished_at - job.finished_at).total_seconds()) < 1


async def test_the_latest_end_of_all_processes_counts(runtime: Runtime, plant: Plant) -> None:
    later, earlier = ProcessActivity(), ProcessActivity()
    later.end("hashing")
    await report_ends(runtime.database, later)
    [told] = await plant.sql("SELECT last_finished_at AS at FROM work_kinds")
    earlier.end("hashing")
    earlier.ended["hashing"] -= 3600
    await report_ends(runtime.database, earlier)
    assert await plant.sql("SELECT last_finished_at AS at FROM work_kinds") == [told]
    assert later.ended == earlier.ended == {}
