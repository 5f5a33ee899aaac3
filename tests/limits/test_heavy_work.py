"""Heavy work runs one piece at a time, and an organisation pauses after a long piece."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from qrtrack.limits import heavy_work
from qrtrack.limits.heavy_work import WAITING_PER_ORGANISATION, HeavyWork, TooMuchWork
from ticking import HANG_SECONDS, altered


async def test_one_piece_runs_at_a_time_whoever_it_is_for() -> None:
    work, running, most = HeavyWork(asyncio.Event()), 0, 0

    def piece() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    await asyncio.gather(*[work.run(f"organisation {number}", piece) for number in range(10)])
    assert most == 1


async def test_another_organisation_does_not_wait_for_one_that_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the greedy organisation ends after the pieces of the two others."""
    work, now, order, rests = HeavyWork(asyncio.Event()), [100.0], list[str](), list[float]()
    others_have_run = asyncio.Event()

    async def rest(stopping: Coroutine[Any, Any, Any], seconds: float) -> None:
        stopping.close()
        if seconds > 0:
            rests.append(seconds)
            await others_have_run.wait()
        raise TimeoutError

    monkeypatch.setattr(heavy_work, "time", altered(time, monotonic=lambda: now[0]))
    monkeypatch.setattr(heavy_work, "asyncio", altered(asyncio, wait_for=rest))

    def take(seconds: float) -> None:
        now[0] += seconds

    async def piece(share: str) -> None:
        await work.run(share, take, 0.0)
        order.append(share)
        if len(order) == 2:
            others_have_run.set()

    async with asyncio.timeout(HANG_SECONDS):
        await work.run("greedy", take, 0.12)
        await asyncio.gather(piece("greedy"), piece("modest"), piece("another"))
    assert order == ["modest", "another", "greedy"]
    assert rests == [pytest.approx(2.5)]


async def test_no_organisation_rests_in_a_process_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy_work, "FREE_SECONDS", 0.0)
    monkeypatch.setattr(heavy_work, "REST_FACTOR", 1e9)
    monkeypatch.setattr(heavy_work, "LONGEST_REST_SECONDS", 3600.0)
    stopping = asyncio.Event()
    work = HeavyWork(stopping)
    await work.run("organisation", time.sleep, 0.01)
    resting = asyncio.create_task(work.run("organisation", int))
    await asyncio.sleep(0.01)
    assert not resting.done()
    stopping.set()
    assert await resting == 0


@pytest.mark.parametrize(("share_of_free_time", "rests"), [(0.5, False), (3, True)])
async def test_an_organisation_rests_only_after_a_long_piece(
    monkeypatch: pytest.MonkeyPatch, *, share_of_free_time: float, rests: bool
) -> None:
    work, now = HeavyWork(asyncio.Event()), [100.0]
    monkeypatch.setattr(heavy_work, "time", altered(time, monotonic=lambda: now[0]))

    def piece() -> int:
        now[0] += share_of_free_time * heavy_work.FREE_SECONDS
        return 7

    assert await work.run("organisation", piece) == 7
    assert bool(work._shares) == rests, "whose share is kept has to rest"


async def test_heavy_work_refuses_only_the_organisation_with_too_much_waiting() -> None:
    work, go = HeavyWork(asyncio.Event()), threading.Event()
    pieces = [asyncio.create_task(work.run("greedy", go.wait)) for _ in range(WAITING_PER_ORGANISATION + 1)]
    await asyncio.sleep(0)
    with pytest.raises(TooMuchWork):
        await work.run("greedy", int)
    modest = asyncio.create_task(work.run("modest", int))
    go.set()
    assert await modest == 0
    await asyncio.gather(*pieces)


async def test_a_failure_is_passed_on_and_a_caller_who_hangs_up_leaves_the_queue() -> None:
    work, go = HeavyWork(asyncio.Event()), threading.Event()
    with pytest.raises(ValueError, match="invalid literal"):
        await work.run("organisation", int, "x")
    waiting = asyncio.create_task(work.run("organisation", go.wait))
    behind = asyncio.create_task(work.run("organisation", int))
    await asyncio.sleep(0.05)
    behind.cancel()
    with suppress(asyncio.CancelledError):
        await behind
    go.set()
    assert await waiting
    assert [share.users for share in work._shares.values()] in ([], [0])
