import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from plant import BY_KIND, MadeBatch, Plant, one_slot
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Claim, Interrupted
from qrtrack.domain.stopping import StopSignal
from qrtrack.postgresql.wake_ups import listen
from qrtrack.repositories.queues import CREATING, QUEUES
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job
from qrtrack.worker import execution, loop
from qrtrack.worker.execution import SingleHandler
from qrtrack.worker.handlers import HANDLERS
from qrtrack.worker.loop import Slots, Worker
from ticking import HANG_SECONDS, ticking

STAGES = "qr_batch_stages"
# Longer than any test: what is to be seen did not wait for it.
NEVER = 10 * HANG_SECONDS

Body = Callable[[Runtime, Claim, StopSignal], Awaitable[None]]


def with_settings(runtime: Runtime, **settings: Any) -> Runtime:
    return replace(runtime, settings=runtime.settings.model_copy(update=settings))


@pytest.fixture
def polling(runtime: Runtime) -> Runtime:
    """As behind a pooler: no wake-ups, and a poll every 20 ms."""
    return with_settings(runtime, database_pooler="transaction", poll_seconds=0.02)


@asynccontextmanager
async def at_work(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        await worker.stop()
        await asyncio.wait_for(task, HANG_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what only the database knows."""
    async with asyncio.timeout(HANG_SECONDS):
        while not await condition():
            await asyncio.sleep(0.01)


@contextmanager
def wake_ups() -> Iterator[asyncio.Event]:
    """The event is set when the worker listens."""
    heard = asyncio.Event()

    async def listen_and_tell(connector: Any, on_wake_up: Callable[[], None]) -> None:
        def woken() -> None:
            heard.set()
            on_wake_up()

        await listen(connector, woken)

    with patch.object(loop, "listen", listen_and_tell):
        yield heard


def slots(body: Body, count: int) -> Slots:
    return Slots(SingleHandler(CREATING, one_slot, body, BY_KIND["creating"].fail), count)


async def finish(runtime: Runtime, claim: Claim) -> None:
    async with runtime.database.write() as repositories:
        await repositories.leased(CREATING).finish(claim)


def all_in(plant: Plant, status: str, table: str = STAGES) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not await plant.sql(f"SELECT 1 FROM {table} WHERE status <> :status LIMIT 1", status=status)

    return check


@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_a_batch_becomes_ready_and_its_job_completes_with_wake_ups_and_without(
    plant: Plant, runtime: Runtime, pooler: str
) -> None:
    async with at_work(Worker(with_settings(runtime, database_pooler=pooler, poll_seconds=0.05))):
        created = await plant.order(250)

        async def in_state(status: str) -> bool:
            [row] = await plant.sql("SELECT status FROM qr_batches")
            return bool(row.status == status)

        await until(lambda: in_state("ready"))
        made = MadeBatch(created.batch_id, plant.order_id, created.uniq_code, None, None, ())
        await plant.submit(made, ["SKA000007"])
        await until(all_in(plant, "completed", "qr_reverse_jobs"))
    [job] = await plant.sql("SELECT result_summary FROM qr_reverse_jobs")
    assert job.result_summary["prepared"] == 249


async def test_an_idle_worker_starts_new_work_long_before_its_next_poll(plant: Plant, runtime: Runtime) -> None:
    made = await plant.batch(1)
    with wake_ups() as heard:
        async with at_work(Worker(with_settings(runtime, poll_seconds=NEVER))):
            await asyncio.wait_for(heard.wait(), HANG_SECONDS)
            for _ in range(20):
                await plant.submit(made)
                await until(all_in(plant, "completed", "qr_reverse_jobs"))


async def test_failed_work_is_retried_after_its_back_off_and_not_at_the_next_poll(
    plant: Plant, runtime: Runtime
) -> None:
    await plant.queued(3)
    failures: dict[int, int] = {}

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        failures[claim.number] = failures.get(claim.number, 0) + 1
        if failures[claim.number] < 4:
            raise RuntimeError("the cable is loose")
        await finish(runtime, claim)

    with capture_logs():
        async with at_work(Worker(with_settings(runtime, poll_seconds=NEVER), [slots(body, 3)])):
            await until(all_in(plant, "completed"))
    assert list(failures.values()) == [4, 4, 4]


async def test_work_is_claimed_for_free_slots_only(plant: Plant, polling: Runtime) -> None:
    await plant.queued(50)
    most = 0

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        nonlocal most
        [row] = await plant.sql("SELECT count(*) AS running FROM qr_batch_stages WHERE status = 'running'")
        most = max(most, row.running)
        await finish(runtime, claim)

    async with at_work(Worker(polling, [slots(body, 2)])):
        await until(all_in(plant, "completed"))
    assert most == 2


async def test_a_kind_without_slots_is_not_claimed(plant: Plant, polling: Runtime) -> None:
    [row_id] = await plant.queued(1)
    begun = asyncio.Event()

    async def body(*_: Any) -> None:
        begun.set()

    async def has_polled() -> bool:
        return polling.activity.polled is not None

    async with at_work(Worker(polling, [slots(body, 0)])):
        await until(has_polled)
    assert not begun.is_set()
    assert (await plant.row(STAGES, row_id)).attempts == 0


async def test_a_thousand_jobs_of_one_organisation_do_not_delay_another_organisation(
    plant: Plant, polling: Runtime
) -> None:
    await plant.queued(1_000)
    order: list[Any] = []
    added_after, lone = 0, uuid4()

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        nonlocal added_after
        order.append(claim.organisation_id)
        if len(order) == 10:
            await plant.queued(1, organisation_id=lone)
            added_after = len(order)
        await finish(runtime, claim)
        if lone in order:
            worker.stop_claiming()

    worker = Worker(polling, [slots(body, 2)])
    await asyncio.wait_for(worker.run(), HANG_SECONDS)
    await worker.stop()
    # The other slot may have claimed before.
    assert order.index(lone) - added_after <= 2


async def test_a_stopping_worker_claims_nothing_and_releases_running_work(plant: Plant, polling: Runtime) -> None:
    await plant.queued(20)
    begun: list[Claim] = []
    interrupted: list[Claim] = []
    both = asyncio.Event()

    async def body(_runtime: Runtime, claim: Claim, stop: StopSignal) -> None:
        begun.append(claim)
        if len(begun) == 2:
            both.set()
        while not stop.is_set():
            await asyncio.sleep(0.001)
        interrupted.append(claim)
        raise Interrupted

    worker = Worker(with_settings(polling, shutdown_grace_seconds=NEVER), [slots(body, 2)])
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(both.wait(), HANG_SECONDS)
    await asyncio.wait_for(worker.stop(), HANG_SECONDS)
    await task
    assert begun == interrupted
    assert len(begun) == 2
    rows = await plant.sql("SELECT DISTINCT status, attempts, lease_token FROM qr_batch_stages")
    assert [tuple(row) for row in rows] == [("queued", 0, None)]
    assert len(await claim_work(polling.database, CREATING, 20, lease_seconds=30)) == 20


async def test_work_that_ignores_the_stop_signal_is_released_after_the_grace_period(
    plant: Plant, polling: Runtime
) -> None:
    [row_id] = await plant.queued(1)
    begun = asyncio.Event()

    async def body(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    impatient = with_settings(polling, shutdown_grace_seconds=0.1)
    worker = Worker(impatient, [slots(body, 2)])
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(begun.wait(), HANG_SECONDS)
    began = time.monotonic()
    await asyncio.wait_for(worker.stop(), HANG_SECONDS)
    await task
    assert time.monotonic() - began >= 0.1
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.lease_token) == ("queued", 0, None)


async def test_work_claimed_during_the_stop_is_released(plant: Plant, polling: Runtime) -> None:
    """The claim commits after stop() was called: nobody would do this work before its lease ran out."""
    [row_id] = await plant.queued(1)
    claimed, go_on = asyncio.Event(), asyncio.Event()

    async def slow_claim(*arguments: Any, **values: Any) -> list[Claim]:
        claims = await claim_work(*arguments, **values)
        claimed.set()
        await go_on.wait()
        return claims

    async def body(_runtime: Runtime, _claim: Claim, stop: StopSignal) -> None:
        while not stop.is_set():
            await asyncio.sleep(0.001)
        raise Interrupted

    worker = Worker(polling, [slots(body, 2)])
    with patch.object(execution, "claim_work", slow_claim):
        task = asyncio.create_task(worker.run())
        await asyncio.wait_for(claimed.wait(), HANG_SECONDS)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait_for(stopping, HANG_SECONDS)
        await task
    row = await plant.row(STAGES, row_id)
    assert (row.status, row.attempts, row.lease_token) == ("queued", 0, None)


async def test_released_work_is_claimed_by_another_worker_at_once(plant: Plant, polling: Runtime) -> None:
    made = await plant.batch(30)
    await plant.submit(made)
    [job] = await claim_work(polling.database, BY_KIND["reverse_job"].queue, 1, lease_seconds=30)
    with wake_ups() as heard:
        async with at_work(Worker(with_settings(polling, database_pooler="none", poll_seconds=NEVER))):
            await asyncio.wait_for(heard.wait(), HANG_SECONDS)
            async with polling.database.write() as repositories:
                await repositories.leased(BY_KIND["reverse_job"].queue).release(job)
                await repositories.wake_workers(BY_KIND["reverse_job"].queue)
            await until(all_in(plant, "completed", "qr_reverse_jobs"))


async def test_the_loop_survives_outages_and_defects_of_claims(plant: Plant, polling: Runtime) -> None:
    await plant.queued(3)
    errors: list[Exception] = [DatabaseUnavailable(), RuntimeError("a defect"), DatabaseUnavailable()]

    async def failing_claim(*arguments: Any, **values: Any) -> list[Claim]:
        if errors:
            raise errors.pop()
        return await claim_work(*arguments, **values)

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        await finish(runtime, claim)

    with patch.object(execution, "claim_work", failing_claim):
        async with at_work(Worker(polling, [slots(body, 2)])):
            await until(all_in(plant, "completed"))
    assert errors == []


async def test_the_loop_survives_reports_that_fail(plant: Plant, polling: Runtime) -> None:
    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        await finish(runtime, claim)

    def defect(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    with (
        patch.object(loop, "report_process", defect),
        patch.object(loop, "sign_off", defect),
        patch.object(loop, "REPORT_SECONDS", 0),
    ):
        async with at_work(Worker(polling, [slots(body, 1)])):
            await plant.queued(1)
            await until(all_in(plant, "completed"))


async def test_an_outage_is_logged_once_and_so_is_its_end(plant: Plant, polling: Runtime) -> None:
    await plant.queued(1)
    outages = [DatabaseUnavailable()] * 5

    async def failing_claim(*arguments: Any, **values: Any) -> list[Claim]:
        if outages:
            raise outages.pop()
        return await claim_work(*arguments, **values)

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        await finish(runtime, claim)

    with patch.object(execution, "claim_work", failing_claim), capture_logs() as logs:
        async with at_work(Worker(polling, [slots(body, 1)])):
            await until(all_in(plant, "completed"))
    assert [line["event"] for line in logs if "the database" in line["event"]] == [
        "the database cannot be reached: the worker waits for it",
        "the database answers again: the worker goes on",
    ]


async def test_the_loop_survives_an_end_that_cannot_be_recorded(plant: Plant, polling: Runtime) -> None:
    await plant.queued(2)
    failures = iter([RuntimeError("a defect")])
    done: list[Claim] = []

    async def fail(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
        for failure in failures:
            raise failure
        retry_in: float | None = await BY_KIND["creating"].fail(database, claim, error, permanent=permanent)
        return retry_in

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        done.append(claim)
        if len(done) == 1:
            raise ValueError("torn")
        await finish(runtime, claim)

    async def one_done() -> bool:
        return bool(await plant.sql("SELECT 1 FROM qr_batch_stages WHERE status = 'completed'"))

    async with at_work(Worker(polling, [Slots(SingleHandler(CREATING, one_slot, body, fail), 1)])):
        await until(one_done)
    # The other one is found by whoever claims after its lease.
    [row] = await plant.sql("SELECT attempts FROM qr_batch_stages WHERE status = 'running'")
    assert row.attempts == 1


async def test_a_running_job_that_is_cancelled_is_stopped_at_the_next_beat(
    plant: Plant, polling: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await plant.batch(10)
    job_id = await plant.submit(made)
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def body(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    reverse_job = BY_KIND["reverse_job"]
    clock = ticking(monkeypatch)
    async with at_work(Worker(polling, [Slots(SingleHandler(reverse_job.queue, one_slot, body, reverse_job.fail), 1)])):
        await asyncio.wait_for(begun.wait(), HANG_SECONDS)
        cancelled = await cancel_reverse_job(polling.database, caller=plant.caller, job_id=job_id)
        clock.tick()
        await asyncio.wait_for(stopped.wait(), HANG_SECONDS)
    assert cancelled.status == "cancelled"
    row = await plant.row("qr_reverse_jobs", job_id)
    assert (row.status, row.attempts, row.error_message) == ("cancelled", 1, None)


async def test_three_workers_execute_everything_once(plant: Plant, polling: Runtime) -> None:
    await plant.queued(300)
    done: list[Any] = []

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        done.append(claim.id)
        await finish(runtime, claim)

    workers = [Worker(polling, [slots(body, 4)]) for _ in range(3)]
    async with at_work(workers[0]), at_work(workers[1]), at_work(workers[2]):
        await until(all_in(plant, "completed"))
    assert len(done) == len(set(done)) == 300


async def test_an_idle_worker_claims_once_for_each_poll_and_kind(plant: Plant, polling: Runtime) -> None:
    asked: list[float] = []

    async def counted_claim(*arguments: Any, **values: Any) -> list[Claim]:
        asked.append(time.monotonic())
        return await claim_work(*arguments, **values)

    with patch.object(execution, "claim_work", counted_claim):
        began = time.monotonic()
        async with at_work(Worker(with_settings(polling, poll_seconds=0.1))):
            await asyncio.sleep(0.65)
        lasted = time.monotonic() - began
    assert len(asked) <= len(loop.slots_of(polling.settings)) * (lasted / 0.1 + 1)


def test_every_queue_has_one_handler() -> None:
    assert sorted(handler.queue.kind for handler in HANDLERS) == sorted(queue.kind for queue in QUEUES)
