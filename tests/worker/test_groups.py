"""A group in hand: its end is recorded whatever happens, and the next one follows in its slot."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import structlog
from structlog.testing import capture_logs

from accurate import DATABASE, Accurate, event
from plant import one_slot
from process import settings_of
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.accurate.processing import ClaimedEvent
from qrtrack.domain.claims import Group
from qrtrack.domain.identity import Caller
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories.queues import WEBHOOK_EVENTS
from qrtrack.runtime import Runtime
from qrtrack.services.claims import break_up_group, claim_group, release_group
from qrtrack.settings import Settings
from qrtrack.worker import execution
from qrtrack.worker.execution import End, GroupHandler, execute, run_until_idle
from qrtrack.worker.loop import Slots, Worker
from ticking import HANG_SECONDS


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


@pytest.fixture
async def accurate(accurate: Accurate) -> Accurate:
    """Five events have come."""
    await accurate.send(*(event() for _ in range(5)))
    return accurate


def handler(run: Callable[[Runtime, Group[ClaimedEvent]], Awaitable[int]]) -> GroupHandler[ClaimedEvent]:
    return GroupHandler(WEBHOOK_EVENTS, one_slot, run, size=3)


async def finish(runtime: Runtime, group: Group[ClaimedEvent]) -> int:
    ids = [piece.id for piece in group.pieces]
    async with runtime.database.write() as repositories:
        return len(await repositories.groups(WEBHOOK_EVENTS).finish(group, ids, ["done"] * len(ids), [None] * len(ids)))


async def test_groups_are_claimed_until_idle_and_log_lines_name_first_and_last_piece(
    accurate: Accurate, runtime: Runtime
) -> None:
    seen: list[dict[str, Any]] = []

    async def run(runtime: Runtime, group: Group[ClaimedEvent]) -> int:
        seen.append(structlog.contextvars.get_contextvars())
        return await finish(runtime, group)

    await run_until_idle(runtime, handler(run), await accurate.group(3), StopSignal())
    ids = [row.id for row in await accurate.rows()]
    assert [lines["job_id"] for lines in seen] == [f"{ids[0]}…{ids[2]}", f"{ids[3]}…{ids[4]}"]
    assert {lines["kind"] for lines in seen} == {"webhook_event"}
    assert structlog.contextvars.get_contextvars() == {}
    assert await accurate.tries() == [("done", 1)] * 5


async def test_a_failed_group_is_broken_up_and_no_group_is_claimed_after_it(
    accurate: Accurate, runtime: Runtime
) -> None:
    async def run(*_: object) -> int:
        raise ZeroDivisionError

    with capture_logs() as logs:
        outcome = await execute(runtime, handler(run), await accurate.group(3), StopSignal())
        assert (outcome.end, outcome.pieces) == (End.RETRIED, 3)
        await run_until_idle(runtime, handler(run), await accurate.group(1), StopSignal())
    assert [line["event"] for line in logs] == ["a group failed: its pieces are retried one by one"] * 2
    assert await accurate.tries() == [("pending", 1)] * 4 + [("pending", 0)]


async def test_an_outage_of_any_length_costs_a_group_one_attempt(
    accurate: Accurate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell it from a piece that brings the database down."""

    async def away(*_: object) -> int:
        raise DatabaseUnavailable

    outages = 2

    async def break_up_late(*arguments: Any) -> None:
        nonlocal outages
        outages -= 1
        await (away() if outages >= 0 else break_up_group(*arguments))

    monkeypatch.setattr(execution, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(execution, "break_up_group", break_up_late)
    with capture_logs() as logs:
        outcome = await execute(runtime, handler(away), await accurate.group(), StopSignal())
    assert outcome.end is End.RETRIED
    assert [(line["event"], "exc_info" in line and line["exc_info"]) for line in logs] == [
        ("a group failed: its pieces are retried one by one", None)
    ]
    assert await accurate.tries() == [("pending", 1)] * 5


async def test_an_outage_during_the_next_claim_is_not_logged_as_a_defect(
    accurate: Accurate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> Group[ClaimedEvent] | None:
        raise DatabaseUnavailable

    group = await accurate.group(3)
    monkeypatch.setattr(execution, "claim_group", away)
    await run_until_idle(runtime, handler(finish), group, StopSignal())
    assert await accurate.tries() == [("done", 1)] * 3 + [("pending", 0)] * 2


async def test_a_group_is_released_unchanged_after_the_stop_signal(accurate: Accurate, runtime: Runtime) -> None:
    stop = StopSignal()
    stop.set()
    await run_until_idle(runtime, handler(finish), await accurate.group(), stop)
    assert await accurate.tries() == [("pending", 0)] * 5
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_no_group_is_claimed_after_the_stop_signal(
    accurate: Accurate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, group, claim = StopSignal(), await accurate.group(3), AsyncMock()
    monkeypatch.setattr(execution, "claim_group", claim)

    async def run(runtime: Runtime, group: Group[ClaimedEvent]) -> int:
        stop.set()
        return await finish(runtime, group)

    await run_until_idle(runtime, handler(run), group, stop)
    assert await accurate.tries() == [("done", 1)] * 3 + [("pending", 0)] * 2
    claim.assert_not_awaited()


async def test_a_worker_stopped_during_a_claim_claims_no_further_group(
    accurate: Accurate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed: list[Group[ClaimedEvent] | None] = []
    worker = Worker(runtime, [Slots(handler(finish), 4)])

    async def claim(*arguments: Any, **values: Any) -> Group[ClaimedEvent] | None:
        claimed.append(await claim_group(*arguments, **values))
        worker.stop_claiming()
        return claimed[-1]

    monkeypatch.setattr(execution, "claim_group", claim)
    async with asyncio.timeout(HANG_SECONDS):
        await worker.run()
        await worker.stop()
    assert len(claimed) == 1
    assert await accurate.tries() == [("pending", 0)] * 5
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_a_cancelled_worker_releases_the_group_and_stays_cancelled(accurate: Accurate, runtime: Runtime) -> None:
    begun = asyncio.Event()

    async def run(*_: object) -> int:
        begun.set()
        await asyncio.Event().wait()
        return 0

    task = asyncio.create_task(run_until_idle(runtime, handler(run), await accurate.group(), StopSignal()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await accurate.tries() == [("pending", 0)] * 5
    assert await accurate.sql("SELECT token FROM leased_groups") == []


async def test_a_worker_cancelled_twice_still_releases_the_group(
    accurate: Accurate, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, releasing, go_on, released = (asyncio.Event() for _ in range(4))

    async def run(*_: object) -> int:
        begun.set()
        await asyncio.Event().wait()
        return 0

    async def slow_release(*arguments: Any) -> None:
        releasing.set()
        await go_on.wait()
        await release_group(*arguments)
        released.set()

    monkeypatch.setattr(execution, "release_group", slow_release)
    task = asyncio.create_task(run_until_idle(runtime, handler(run), await accurate.group(), StopSignal()))
    for step in (begun, releasing):
        await step.wait()
        task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(released.wait(), HANG_SECONDS)
    assert await accurate.sql("SELECT token FROM leased_groups") == []
