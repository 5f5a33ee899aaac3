import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from plant import BY_KIND, Plant, one_slot
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.errors import Conflict, InvalidInput
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import CREATING, REVERSE_JOBS
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work, release_claim
from qrtrack.worker import execution
from qrtrack.worker.execution import WORKER_LOST, End, SingleHandler, run_next, run_until_idle
from ticking import HANG_SECONDS

STAGES = "qr_batch_stages"

Body = Callable[[Runtime, Claim, StopSignal], Awaitable[None]]


def handler(body: Body) -> SingleHandler:
    """Work of the creating queue whose body is the test's own."""
    return SingleHandler(CREATING, one_slot, body, BY_KIND["creating"].fail)


async def finish(runtime: Runtime, claim: Claim) -> None:
    async with runtime.database.write() as repositories:
        await repositories.leased(CREATING).finish(claim)


async def test_a_slot_claims_due_work_until_one_does_not_complete(plant: Plant, runtime: Runtime) -> None:
    """Looking at all kinds of work after each piece would take longer than most pieces."""
    ids = await plant.queued(6)
    seen: list[Any] = []

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        seen.append(claim.id)
        if len(seen) == 4:
            raise ValueError("torn")
        await finish(runtime, claim)

    with capture_logs():
        outcome = await run_until_idle(runtime, handler(body), await taken(runtime), StopSignal())
    assert seen == ids[:4]
    assert (outcome.end, outcome.claim.id) == (End.RETRIED, ids[3])
    assert outcome.retry_in is not None
    # On a busy machine its back-off is over too soon.
    await plant.sql(f"UPDATE {STAGES} SET run_at = run_at + interval '1 hour' WHERE id = :id", id=ids[3])
    outcome = await run_until_idle(runtime, handler(body), await taken(runtime), StopSignal())
    assert (outcome.end, seen[4:]) == (End.COMPLETED, ids[4:])


async def test_a_slot_claims_nothing_after_the_stop_signal(plant: Plant, runtime: Runtime) -> None:
    await plant.queued(2)

    async def body(runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
        stop.set()
        await finish(runtime, claim)

    await run_until_idle(runtime, handler(body), await taken(runtime), StopSignal())
    assert [row.attempts for row in await plant.sql(f"SELECT attempts FROM {STAGES} ORDER BY id")] == [1, 0]


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), RuntimeError("a defect")])
async def test_a_failed_claim_does_not_change_the_outcome_of_the_work_before(
    plant: Plant, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    await plant.queued(2)

    async def fail(*_: object, **__: object) -> list[Claim]:
        raise failure

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        await finish(runtime, claim)

    held = await taken(runtime)
    monkeypatch.setattr(execution, "claim_work", fail)
    with capture_logs() as logs:
        outcome = await run_until_idle(runtime, handler(body), held, StopSignal())
    assert (outcome.end, outcome.claim) == (End.COMPLETED, held)
    told = [] if isinstance(failure, DatabaseUnavailable) else ["claiming failed"]
    assert [line["event"] for line in logs] == told


async def taken(runtime: Runtime) -> Claim:
    [claim] = await claim_work(runtime.database, CREATING, 1, lease_seconds=runtime.settings.lease_seconds)
    return claim


async def test_without_due_work_there_is_no_outcome(runtime: Runtime) -> None:
    assert await run_next(runtime, BY_KIND["creating"], StopSignal()) is None


async def test_nothing_is_claimed_after_the_deadline(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)
    over = StopSignal(deadline=time.monotonic() - 1)
    assert await run_next(runtime, BY_KIND["creating"], over) is None
    assert (await plant.row(STAGES, row_id)).attempts == 0


async def test_a_body_completes_its_work_in_its_own_last_transaction(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        await finish(runtime, claim)

    outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    assert (await plant.row(STAGES, row_id)).status == "completed"


@pytest.mark.parametrize(
    ("error", "end", "reason"),
    [
        (InvalidInput("The paper is torn."), End.FAILED, "The paper is torn."),
        (PermanentFailure("The paper is gone."), End.FAILED, "The paper is gone."),
        (Conflict("Somebody was faster."), End.RETRIED, "Somebody was faster."),
        (DatabaseUnavailable(), End.RETRIED, str(DatabaseUnavailable())),
        (
            RuntimeError("password=hunter2"),
            End.RETRIED,
            "internal error (RuntimeError); the service's log has the details",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failure_is_retried_unless_it_is_permanent(
    plant: Plant, runtime: Runtime, error: Exception, end: End, reason: str
) -> None:
    [row_id] = await plant.queued(1)

    async def body(*_: Any) -> None:
        raise error

    with capture_logs() as logs:
        outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert (outcome.end, outcome.error) == (end, reason)
    [line] = [line for line in logs if line["event"] == "work failed"]
    assert line["reason"] == reason
    assert (line["exc_info"] is error) == isinstance(error, RuntimeError), "what was foreseen needs no traceback"
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts) == ("failed" if end is End.FAILED else "queued", 1)
    assert row.error_message == reason


async def test_work_fails_without_another_run_when_every_attempt_lost_its_worker(
    plant: Plant, runtime: Runtime
) -> None:
    [row_id] = await plant.queued(1)
    for _ in range(CREATING.max_attempts):
        await taken(runtime)
        await plant.expire(STAGES)
    begun: list[Claim] = []

    async def body(_runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        begun.append(claim)

    outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert (outcome.end, outcome.error) == (End.FAILED, WORKER_LOST)
    assert begun == []
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.error_message) == ("failed", CREATING.max_attempts, WORKER_LOST)


async def test_the_log_of_a_reverse_job_says_that_every_attempt_lost_its_worker(plant: Plant, runtime: Runtime) -> None:
    job_id = await plant.submit(await plant.batch(10))
    for _ in range(REVERSE_JOBS.max_attempts):
        assert len(await claim_work(runtime.database, REVERSE_JOBS, 1, lease_seconds=30)) == 1
        await plant.expire("qr_reverse_jobs")
    assert [outcome.end for outcome in await plant.work("reverse_job")] == [End.FAILED]
    row = await plant.row("qr_reverse_jobs", job_id)
    assert (row.status, row.attempts, row.error_message) == ("failed", 3, WORKER_LOST)
    [line] = await plant.sql("SELECT level, message FROM qr_reverse_job_logs ORDER BY id DESC LIMIT 1")
    assert (line.level, line.message) == ("error", f"Failed: {WORKER_LOST}")


async def test_interrupted_work_is_released_without_counting_the_attempt(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)

    async def body(*_: Any) -> None:
        raise Interrupted

    outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert outcome.end is End.RELEASED
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.error_message) == ("queued", 0, None)


async def test_a_cancelled_worker_releases_the_work_and_stays_cancelled(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)
    begun = asyncio.Event()

    async def body(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_next(runtime, handler(body), StopSignal()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.lease_token) == ("queued", 0, None)


async def test_a_worker_cancelled_twice_still_releases_the_work(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)
    begun, releasing, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def body(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def slow_release(*arguments: Any) -> None:
        releasing.set()
        await go_on.wait()
        await release_claim(*arguments)
        released.set()

    released = asyncio.Event()
    with patch.object(execution, "release_claim", slow_release):
        task = asyncio.create_task(run_next(runtime, handler(body), StopSignal()))
        await begun.wait()
        task.cancel()
        await releasing.wait()
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(released.wait(), HANG_SECONDS)
    assert (await plant.row(STAGES, row_id)).status == "queued"


async def test_recording_an_end_retries_while_the_database_is_away(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)
    away = iter([DatabaseUnavailable(), DatabaseUnavailable()])
    creating = BY_KIND["creating"]

    async def fail(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
        for failure in away:
            raise failure
        retry_in: float | None = await creating.fail(database, claim, error, permanent=permanent)
        return retry_in

    async def body(*_: Any) -> None:
        raise PermanentFailure("The paper is gone.")

    with patch.object(execution, "RETRY_SECONDS", 0.01):
        outcome = await run_next(runtime, SingleHandler(CREATING, one_slot, body, fail), StopSignal())
    assert outcome is not None
    assert outcome.end is End.FAILED
    assert (await plant.row(STAGES, row_id)).status == "failed"


async def test_recording_an_end_gives_up_after_the_time_of_a_lease(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)

    async def fail(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
        raise DatabaseUnavailable

    async def body(*_: Any) -> None:
        raise PermanentFailure("The paper is gone.")

    brief = replace(runtime, settings=runtime.settings.model_copy(update={"lease_seconds": 0.1}))
    with patch.object(execution, "RETRY_SECONDS", 0.05):
        outcome = await run_next(brief, SingleHandler(CREATING, one_slot, body, fail), StopSignal())
    assert outcome is not None
    assert outcome.end is End.LOST
    assert (await plant.row(STAGES, row_id)).status == "running"


async def test_an_end_is_lost_when_another_worker_has_the_work(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)

    async def body(runtime: Runtime, _claim: Claim, _stop: StopSignal) -> None:
        await plant.expire(STAGES)
        await taken(runtime)
        raise PermanentFailure("The paper is gone.")

    outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert outcome.end is End.LOST
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.error_message) == ("running", 2, None)


async def test_a_body_writes_nothing_after_a_lost_lease(plant: Plant, runtime: Runtime) -> None:
    [row_id] = await plant.queued(1)

    async def body(_runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        raise LeaseLost(claim)

    outcome = await run_next(runtime, handler(body), StopSignal())
    assert outcome is not None
    assert outcome.end is End.LOST
    assert (await plant.row(STAGES, row_id)).status == "running"


async def test_a_handler_holds_no_connection_while_it_computes(
    plant: Plant, runtime: Runtime, database: Database
) -> None:
    await plant.batch(4)
    begun, go_on = threading.Event(), threading.Event()

    class Waiting:
        def hash(self, _peppered: str) -> str:
            begun.set()
            go_on.wait(HANG_SECONDS)
            return "hash"

    waiting: Any = Waiting()
    task = asyncio.create_task(run_next(replace(runtime, hasher=waiting), BY_KIND["hashing"], StopSignal()))
    try:
        assert await asyncio.to_thread(begun.wait, HANG_SECONDS)
        pool: Any = database.engine.pool
        assert pool.checkedout() == 0
        async with database.engine.connect() as connection:
            found = await connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                )
            )
            assert found.scalar_one() == 0
    finally:
        go_on.set()
    outcome = await task
    assert outcome is not None
    assert outcome.end is End.COMPLETED
