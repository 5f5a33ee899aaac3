"""Tasks that come round again: once in the fleet, again after each run, and never over."""

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from fanout import FanOut, done
from plant import BY_KIND
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.worker import schedule
from qrtrack.worker.execution import End, WorkOutcome, run_next
from qrtrack.worker.loop import Worker
from qrtrack.worker.schedule import PeriodicTask, plan
from ticking import HANG_SECONDS
from treasury import Treasury

TASK = BY_KIND["periodic_task"]
SWEEP = "name IN ('sweep_attempts', 'from the future')"


async def due(treasury: Treasury) -> None:
    await plan(treasury.runtime)
    await treasury.sql(f"UPDATE periodic_tasks SET run_at = now() WHERE {SWEEP}")


async def run(treasury: Treasury) -> WorkOutcome | None:
    return await run_next(treasury.runtime, TASK, StopSignal())


async def task(treasury: Treasury) -> Any:
    (row,) = await treasury.sql(f"SELECT *, run_at - updated_at AS pause FROM periodic_tasks WHERE {SWEEP}")
    return row


async def test_a_task_is_planned_once_and_is_not_due_before_its_time(treasury: Treasury) -> None:
    await asyncio.gather(*(plan(treasury.runtime) for _ in range(5)))
    assert (await task(treasury)).name == "sweep_attempts"
    assert await run(treasury) is None


async def test_the_sweeper_marks_an_abandoned_attempt_unknown_and_is_planned_again(treasury: Treasury) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: object) -> None:
        arrived.set()
        await go_on.wait()

    treasury.gateway.on_insert = wait
    request = asyncio.create_task(treasury.dispatch())
    await arrived.wait()
    await treasury.age(3600)
    await due(treasury)
    outcomes = await asyncio.gather(*(run(treasury) for _ in range(5)))
    assert [outcome.end for outcome in outcomes if outcome is not None] == [End.COMPLETED]
    assert [attempt.outcome for attempt in await treasury.attempts()] == ["unknown"]
    row = await task(treasury)
    assert (row.status, row.attempts, row.error_message) == ("queued", 0, None)
    assert 2.5 <= row.pause.total_seconds() < 60
    go_on.set()
    await request


async def test_a_failed_task_keeps_its_error_and_is_planned_again(
    treasury: Treasury, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_runtime: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(schedule, "TASKS", {"sweep_attempts": PeriodicTask(fail, lambda _settings: 60)})
    await due(treasury)
    outcome = await run(treasury)
    assert outcome is not None
    assert outcome.end is End.RETRIED
    row = await task(treasury)
    assert row.status == "queued"
    assert "RuntimeError" in row.error_message
    assert row.pause.total_seconds() >= 60


async def test_a_long_task_is_released_at_the_deadline(treasury: Treasury, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that cuts requests, or a process that stops, need not wait for a clean-up of hours."""
    cut_off, stop = asyncio.Event(), StopSignal()

    async def last(_runtime: object) -> None:
        stop.deadline = time.monotonic()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    monkeypatch.setattr(schedule, "TASKS", {"sweep_attempts": PeriodicTask(last, lambda _settings: 60)})
    await due(treasury)
    outcome = await run_next(treasury.runtime, TASK, stop)
    assert outcome is not None
    assert outcome.end is End.RELEASED
    assert cut_off.is_set()
    row = await task(treasury)
    assert (row.status, row.attempts, row.error_message) == ("queued", 0, None)
    assert row.pause.total_seconds() <= 0


async def test_no_task_waits_for_another(treasury: Treasury, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = asyncio.Event()

    async def last(_runtime: object) -> None:
        await asyncio.Event().wait()

    async def run_at_once(_runtime: object) -> None:
        ran.set()

    long = {f"long {number}": PeriodicTask(last, lambda _settings: 0) for number in range(4)}
    tasks = long | {"short": PeriodicTask(run_at_once, lambda _settings: 0.1)}
    monkeypatch.setattr(schedule, "TASKS", tasks)
    worker = Worker(treasury.runtime)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(HANG_SECONDS):
        await ran.wait()
    await worker.stop()
    await running


async def test_a_task_that_killed_its_workers_is_planned_again(treasury: Treasury) -> None:
    await due(treasury)
    await treasury.sql(f"UPDATE periodic_tasks SET attempts = 3 WHERE {SWEEP}")
    outcome = await run(treasury)
    assert outcome is not None
    assert outcome.end is End.RETRIED
    assert (await task(treasury)).attempts == 0


async def test_a_task_of_a_newer_version_is_postponed(treasury: Treasury) -> None:
    await due(treasury)
    await treasury.sql(f"UPDATE periodic_tasks SET name = 'from the future' WHERE {SWEEP}")
    assert await run(treasury) is not None
    assert (await task(treasury)).pause.total_seconds() >= 60


async def test_a_worker_plans_and_runs_tasks(treasury: Treasury) -> None:
    worker = Worker(treasury.runtime)
    running = asyncio.create_task(worker.run())
    while not await treasury.sql("SELECT id FROM periodic_tasks"):
        await asyncio.sleep(0.01)
    await treasury.sql(f"UPDATE periodic_tasks SET run_at = now() WHERE {SWEEP}")
    while (await task(treasury)).started_at is None:
        await asyncio.sleep(0.01)
    await worker.stop()
    await running


async def test_one_of_many_workers_runs_the_recalculation(treasury: Treasury, caller: Caller) -> None:
    fan_out = await FanOut.announce(treasury.runtime.database, caller, 10)
    await fan_out.report(done(1, 2, 3))
    await fan_out.set("processed_records = 1, progress_percentage = 99, updated_at = now() - interval '6 minutes'")
    await plan(treasury.runtime)
    await treasury.sql("UPDATE periodic_tasks SET run_at = now() WHERE name = 'recalculate_progress'")
    with capture_logs() as logs:
        outcomes = await asyncio.gather(*(run(treasury) for _ in range(5)))
    assert [outcome.end for outcome in outcomes if outcome is not None] == [End.COMPLETED]
    assert sum(line["event"] == "counters were wrong and are repaired" for line in logs) == 1
    assert await fan_out.counts() == ("processing", 3, 3, 0, 30)
    (row,) = await treasury.sql(
        "SELECT status, run_at - updated_at AS pause FROM periodic_tasks WHERE name = 'recalculate_progress'"
    )
    assert row.status == "queued"
    assert 300 <= row.pause.total_seconds() < 360
