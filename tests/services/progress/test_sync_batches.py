"""Progress batches: announced, completed, failed, cancelled."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from fanout import FanOut, done, failed
from qrtrack.database import Database
from qrtrack.domain.errors import InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import SyncCancelled
from qrtrack.services.progress.sync_records import list_failures


@pytest.fixture
async def fan_out(database: Database, caller: Caller) -> FanOut:
    """A batch of ten records."""
    return await FanOut.announce(database, caller, 10)


async def test_an_announced_batch_waits_for_its_first_record(fan_out: FanOut) -> None:
    batch = await fan_out.view()
    assert (batch.status, batch.total_records, batch.started_at, batch.summary) == ("pending", 10, None, None)


async def test_the_last_record_completes_the_batch_with_a_summary(fan_out: FanOut) -> None:
    await fan_out.report(failed("a", error="e" * 500) + done(*range(8)))
    answer = await fan_out.report(failed("b"))
    assert (answer.status, answer.processed_records, answer.progress_percentage) == ("completed", 10, 100)
    batch = await fan_out.view()
    assert batch.completed_at is not None
    assert batch.started_at is not None
    assert batch.summary is not None
    seconds = (batch.completed_at - batch.started_at).total_seconds()
    assert batch.summary.pop("duration_seconds") == pytest.approx(seconds, abs=0.001)
    assert batch.summary.pop("records_per_second") > 0
    assert batch.summary == {
        "total": 10,
        "processed": 10,
        "success": 8,
        "failed": 2,
        "first_failures": [{"key": "a", "error": "e" * 200}, {"key": "b", "error": "refused"}],
    }


async def test_a_batch_fails_when_every_record_failed(fan_out: FanOut) -> None:
    await fan_out.report(failed(*range(10)))
    assert await fan_out.counts() == ("failed", 10, 0, 10, 100)


async def test_one_success_is_enough_to_complete(fan_out: FanOut) -> None:
    await fan_out.report(failed(*range(9)) + done(9))
    assert await fan_out.counts() == ("completed", 10, 1, 9, 100)


@pytest.mark.parametrize("missing", [1, 5, 10])
async def test_a_percentage_is_rounded_down(database: Database, caller: Caller, missing: int) -> None:
    fan_out = await FanOut.announce(database, caller, 1037)
    await fan_out.report(done(*range(1000)))
    await fan_out.report(done(*range(1000, 1037 - missing)))
    assert await fan_out.counts() == ("processing", 1037 - missing, 1037 - missing, 0, 99)


async def test_a_cancelled_batch_keeps_its_counts_and_refuses_further_reports(fan_out: FanOut) -> None:
    await fan_out.report(done(1) + failed(2))
    batch = await fan_out.cancel()
    assert batch.status == "cancelled"
    assert batch.summary is not None
    assert [failure["key"] for failure in batch.summary["first_failures"]] == ["2"]
    again = await fan_out.report(done(1))
    assert (again.accepted, again.repeated, again.status) == (0, 1, "cancelled")
    with pytest.raises(SyncCancelled):
        await fan_out.report(done(1, 3))
    assert await fan_out.counts() == ("cancelled", 2, 1, 1, 20)
    assert set(await fan_out.recorded()) == {"1", "2"}


async def test_a_batch_may_be_cancelled_before_its_first_record(fan_out: FanOut) -> None:
    summary = (await fan_out.cancel()).summary
    assert summary is not None
    assert (summary["processed"], summary["duration_seconds"], summary["records_per_second"]) == (0, 0, 0)


async def test_an_ended_batch_cannot_be_cancelled(fan_out: FanOut) -> None:
    await fan_out.report(done(*range(10)))
    with pytest.raises(InvalidState, match="completed already"):
        await fan_out.cancel()
    assert (await fan_out.counts())[0] == "completed"


async def test_announcing_and_cancelling_leave_trace_events(fan_out: FanOut) -> None:
    await fan_out.report(done(1))
    await fan_out.cancel()
    events = await fan_out.sql("SELECT action, actor, details FROM trace_events WHERE batch_id = :batch_id ORDER BY id")
    assert [(event.action, event.actor) for event in events] == [
        ("progress.created", fan_out.caller.user_id),
        ("progress.cancelled", fan_out.caller.user_id),
    ]
    assert events[0].details == {"name": "Price list", "kind": "prices", "total_records": 10}


async def test_reports_for_an_unknown_batch_store_nothing(fan_out: FanOut) -> None:
    unknown = FanOut(fan_out.database, fan_out.caller, uuid4())
    for act in (unknown.view, unknown.cancel, lambda: unknown.report(done(1))):
        with pytest.raises(NotFound):
            await act()
    assert await unknown.recorded() == {}


async def test_another_organisation_neither_sees_nor_changes_a_batch(fan_out: FanOut) -> None:
    await fan_out.report(done(1) + failed(2))
    stranger = FanOut(fan_out.database, Caller("stranger", uuid4(), fan_out.caller.roles), fan_out.batch_id)
    listing = list_failures(stranger.database, caller=stranger.caller, batch_id=stranger.batch_id, after=None, limit=9)
    for act in (stranger.view(), stranger.cancel(), stranger.report(done(1)), stranger.report(done(3)), listing):
        with pytest.raises(NotFound):
            await act
    assert await fan_out.counts() == ("processing", 2, 1, 1, 20)
    assert set(await fan_out.recorded()) == {"1", "2"}


@pytest.mark.parametrize(
    "impossible",
    [
        "progress_percentage = 100",
        "status = 'completed', completed_at = now()",
        "status = 'cancelled'",
        "completed_at = now()",
        "processed_records = -1",
        "total_records = 0",
        "status = 'paused'",
    ],
)
async def test_the_database_refuses_impossible_counters(fan_out: FanOut, impossible: str) -> None:
    """A batch at 100 percent has ended, whoever wrote the row."""
    with pytest.raises(IntegrityError):
        await fan_out.set(impossible)
