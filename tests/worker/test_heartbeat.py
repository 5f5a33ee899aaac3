"""The lease of claimed work is renewed while the work runs; work whose lease is lost or may expire is stopped."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from plant import BY_KIND, Plant, one_slot
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.claims import Claim
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import CREATING
from qrtrack.runtime import Runtime
from qrtrack.services.claims import claim_work, keep_claim
from qrtrack.worker import heartbeat
from qrtrack.worker.execution import End, SingleHandler, execute, run_next
from ticking import HANG_SECONDS, Clock, ticking

STAGES = "qr_batch_stages"

Body = Callable[[Runtime, Claim, StopSignal], Awaitable[None]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return ticking(monkeypatch)


@pytest.fixture
def lease(runtime: Runtime) -> float:
    return runtime.settings.lease_seconds


def handler(body: Body) -> SingleHandler:
    return SingleHandler(CREATING, one_slot, body, BY_KIND["creating"].fail)


async def claimed(runtime: Runtime, clock: Clock) -> Claim:
    """A claim whose lease began at the test's time."""
    [claim] = await claim_work(runtime.database, CREATING, 1, lease_seconds=runtime.settings.lease_seconds)
    return replace(claim, asked_at=clock.now)


async def finish(runtime: Runtime, claim: Claim) -> None:
    async with runtime.database.write() as repositories:
        await repositories.leased(CREATING).finish(claim)


class Waiting:
    """A body that waits until it is stopped. `stopped_at` is the time of that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begun, self.stopped = asyncio.Event(), asyncio.Event()
        self.stopped_at = 0.0

    async def __call__(self, _runtime: Runtime, _claim: Claim, _stop: StopSignal) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped_at = self._clock.now
            self.stopped.set()


async def test_work_that_blocks_its_thread_for_three_leases_keeps_its_lease(
    plant: Plant, runtime: Runtime, clock: Clock, lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row_id] = await plant.queued(1)
    renewed: asyncio.Queue[None] = asyncio.Queue()

    async def keep(*arguments: Any, **values: Any) -> None:
        await keep_claim(*arguments, **values)
        renewed.put_nowait(None)

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        go_on = threading.Event()
        blocked = asyncio.create_task(asyncio.to_thread(go_on.wait, HANG_SECONDS))
        began, expires = clock.now, (await plant.row(STAGES, row_id)).lease_expires_at
        while clock.now < began + 3 * lease:
            clock.tick()
            await asyncio.wait_for(renewed.get(), HANG_SECONDS)
            row = await plant.row(STAGES, row_id)
            assert row.lease_expires_at > expires
            expires = row.lease_expires_at
        assert await claim_work(runtime.database, CREATING, 1, lease_seconds=lease) == []
        go_on.set()
        await blocked
        await finish(runtime, claim)

    monkeypatch.setattr(heartbeat, "keep_claim", keep)
    outcome = await execute(runtime, handler(body), await claimed(runtime, clock), StopSignal())
    assert outcome.end is End.COMPLETED
    assert (await plant.row(STAGES, row_id)).attempts == 1


async def test_a_lost_lease_stops_the_work_at_the_next_beat(plant: Plant, runtime: Runtime, clock: Clock) -> None:
    [row_id] = await plant.queued(1)
    body = Waiting(clock)
    task = asyncio.create_task(run_next(runtime, handler(body), StopSignal()))
    await body.begun.wait()
    await plant.expire(STAGES)
    [thief] = await claim_work(runtime.database, CREATING, 1, lease_seconds=30)
    before = await plant.row(STAGES, row_id)
    clock.tick()
    await asyncio.wait_for(body.stopped.wait(), HANG_SECONDS)
    outcome = await task
    assert outcome is not None
    assert outcome.end is End.LOST
    assert await plant.row(STAGES, row_id) == before
    assert before.lease_token == thief.token


async def test_a_lost_lease_stops_the_hashing_thread_too(plant: Plant, runtime: Runtime, clock: Clock) -> None:
    await plant.batch(100)
    hashed: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def hash(self, peppered: str) -> str:
            hashed.append(peppered)
            begun.set()
            go_on.wait(HANG_SECONDS)
            return "hash"

    slow: Any = Slow()
    with ThreadPoolExecutor(1) as thread:
        hashing = replace(runtime, hasher=slow, hash_threads=thread)
        task = asyncio.create_task(run_next(hashing, BY_KIND["hashing"], StopSignal()))
        await asyncio.to_thread(begun.wait, HANG_SECONDS)
        await plant.expire(STAGES)
        assert len(await claim_work(runtime.database, BY_KIND["hashing"].queue, 1, lease_seconds=30)) == 1
        clock.tick()
        outcome = await asyncio.wait_for(task, HANG_SECONDS)
        assert outcome is not None
        assert outcome.end is End.LOST
        go_on.set()
        # The thread is free for the next chunk.
        await asyncio.get_running_loop().run_in_executor(thread, int)
    assert len(hashed) == 1


@pytest.mark.parametrize("failure", ["refused", "hanging"])
async def test_work_without_a_database_stops_before_its_lease_expires(
    plant: Plant, runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    await plant.queued(1)
    monkeypatch.setattr(heartbeat, "keep_claim", refuse if failure == "refused" else clock.hang)
    claim, body = await claimed(runtime, clock), Waiting(clock)
    clock.tick(1_000)
    outcome = await execute(runtime, handler(body), claim, StopSignal())
    assert outcome.end is End.LOST
    lease = runtime.settings.lease_seconds
    assert lease / 2 < body.stopped_at - claim.asked_at < lease


async def test_the_time_between_claim_and_first_beat_counts_as_lease(
    plant: Plant, runtime: Runtime, clock: Clock, lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy event loop loses time there, while the lease is running in the database."""

    async def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    await plant.queued(1)
    monkeypatch.setattr(heartbeat, "keep_claim", refuse)
    claim, body = await claimed(runtime, clock), Waiting(clock)
    clock.now += lease / 2
    clock.tick(1_000)
    outcome = await execute(runtime, handler(body), claim, StopSignal())
    assert outcome.end is End.LOST
    assert body.stopped_at - claim.asked_at < lease


@pytest.mark.parametrize("failure", [RuntimeError("a defect"), DatabaseUnavailable()], ids=["defect", "outage"])
async def test_a_beat_that_fails_once_is_repeated_within_the_lease(
    plant: Plant, runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    [row_id] = await plant.queued(1)
    failures, renewed = [failure], asyncio.Event()

    async def keep(*arguments: Any, **values: Any) -> None:
        if failures:
            raise failures.pop()
        await keep_claim(*arguments, **values)
        renewed.set()

    renewed_after: list[float] = []

    async def body(runtime: Runtime, claim: Claim, _stop: StopSignal) -> None:
        before = await plant.row(STAGES, row_id)
        clock.tick(2)
        await asyncio.wait_for(renewed.wait(), HANG_SECONDS)
        renewed_after.append(clock.now - claim.asked_at)
        assert (await plant.row(STAGES, row_id)).lease_expires_at > before.lease_expires_at
        await finish(runtime, claim)

    monkeypatch.setattr(heartbeat, "keep_claim", keep)
    with capture_logs():
        outcome = await execute(runtime, handler(body), await claimed(runtime, clock), StopSignal())
    assert outcome.end is End.COMPLETED
    assert renewed_after[0] < runtime.settings.lease_seconds
    assert (await plant.row(STAGES, row_id)).attempts == 1
