"""Reports that meet in one process are counted together, and each is answered as if it had been alone."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fanout import FanOut, done, failed
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import Outcome, SurplusRecords, SyncCancelled
from qrtrack.repositories.progress.sync_records import RecordIntake
from qrtrack.services.progress import sync_records
from qrtrack.services.progress.sync_records import ReportedRecords

Result = ReportedRecords | BaseException


@pytest.fixture
async def fan_out(database: Database, caller: Caller) -> FanOut:
    """Ten records are to come."""
    return await FanOut.announce(database, caller, 10)


async def at_once(fan_out: FanOut, *reports: list[Outcome]) -> list[Result]:
    """They all come before the first of them is counted, so that they are one group."""
    return await asyncio.gather(*(fan_out.report(report) for report in reports), return_exceptions=True)


def accepted(results: list[Result]) -> list[int | type[BaseException]]:
    return [result.accepted if isinstance(result, ReportedRecords) else type(result) for result in results]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each group that was counted had."""
    seen: list[int] = []
    count = RecordIntake.count

    async def counting(self: RecordIntake, batch_id: Any, inserted: Any) -> Any:
        seen.append(inserted.count)
        return await count(self, batch_id, inserted)

    monkeypatch.setattr(RecordIntake, "count", counting)
    return seen


async def test_1037_reporters_in_one_process_wait_for_a_few_commits(
    database: Database, caller: Caller, counts: list[int]
) -> None:
    fan_out = await FanOut.announce(database, caller, 1037)
    results = await at_once(fan_out, *(failed(n) if n % 50 == 0 else done(n) for n in range(1037)))
    assert accepted(results) == [1] * 1037
    assert await fan_out.counts() == ("completed", 1037, 1016, 21, 100)
    assert sum(counts) == 1037
    assert len(counts) < 10


async def test_a_group_is_no_larger_than_a_statement_should_be(
    fan_out: FanOut, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_records, "RECORDS_TOGETHER", 4)
    reports = [done(1, 2, 3), done(4), done(5), done(6, 7, 8, 9, 10)]
    assert accepted(await at_once(fan_out, *reports)) == [3, 1, 1, 5]
    assert sorted(counts) == [1, 4, 5]


async def test_a_record_in_several_reports_is_counted_for_the_first(fan_out: FanOut, counts: list[int]) -> None:
    results = await at_once(fan_out, failed("a") + done("b"), done("a", "c"), done("a", "b", "c"))
    assert accepted(results) == [2, 1, 0]
    assert [result.repeated for result in results if isinstance(result, ReportedRecords)] == [0, 1, 3]
    assert await fan_out.recorded() == {"a": False, "b": True, "c": True}
    assert counts == [3]


async def test_of_reports_that_are_too_many_only_those_are_refused(fan_out: FanOut) -> None:
    results = await at_once(fan_out, done(*range(6)), done(*range(6, 12)), done(0, 1), done(7, 8))
    assert accepted(results) == [6, SurplusRecords, 0, 2]
    (refusal,) = [result for result in results if isinstance(result, SurplusRecords)]
    assert (refusal.members["surplus"], refusal.members["keys"]) == (2, ["10", "11"])
    assert await fan_out.counts() == ("processing", 8, 8, 0, 80)


async def test_late_reports_are_refused_one_by_one(fan_out: FanOut) -> None:
    await fan_out.report(done(1))
    await fan_out.cancel()
    assert accepted(await at_once(fan_out, done(1), done(2), done(1, 3))) == [0, SyncCancelled, SyncCancelled]


async def test_reports_for_nobodys_batch_are_all_told_so(fan_out: FanOut) -> None:
    await fan_out.sql("DELETE FROM sync_batch_progress WHERE batch_id = :batch_id")
    assert accepted(await at_once(fan_out, done(1), done(2))) == [NotFound, NotFound]


async def test_a_group_that_is_killed_is_told_to_come_again(fan_out: FanOut, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(self: Any, *_: Any) -> Any:
        await fan_out.sql(f"SELECT pg_terminate_backend({self._connection.get_server_pid()})")
        return await self._connection.execute("SELECT 1")

    with monkeypatch.context() as patched:
        patched.setattr(RecordIntake, "count", killed)
        assert accepted(await at_once(fan_out, done(1), done(2))) == [DatabaseUnavailable] * 2
    assert await fan_out.recorded() == {}
    assert accepted(await at_once(fan_out, done(1), done(2))) == [1, 1]


async def test_a_defect_is_raised_for_everybody_who_waits(fan_out: FanOut, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(RecordIntake, "count", broken)
        assert accepted(await at_once(fan_out, done(1), done(2))) == [ZeroDivisionError] * 2
    assert accepted(await at_once(fan_out, done(1), done(2))) == [1, 1]


async def test_who_hangs_up_keeps_nobody_else_from_an_answer(fan_out: FanOut) -> None:
    reports = [asyncio.create_task(fan_out.report(done(number))) for number in range(3)]
    await asyncio.sleep(0)
    reports[0].cancel()
    results = await asyncio.gather(*reports, return_exceptions=True)
    assert accepted(results[1:]) == [1, 1]
    assert isinstance(results[0], asyncio.CancelledError)


async def test_nobody_waits_for_a_process_that_ends(fan_out: FanOut) -> None:
    async with fan_out.database.write(tenant=fan_out.caller.organisation_id) as repositories:
        await repositories.progress.cancel(fan_out.batch_id)
        reports = [asyncio.create_task(fan_out.report(done(number))) for number in range(3)]
        await asyncio.sleep(0.2)
        late = asyncio.create_task(fan_out.report(done("late")))
        await asyncio.sleep(0.05)
        for counting in fan_out.groups._counting:
            counting.cancel()
        results = await asyncio.wait_for(asyncio.gather(*reports, late, return_exceptions=True), 5)
    assert accepted(results) == [DatabaseUnavailable] * 4
    assert fan_out.groups._lanes == {}


async def test_batches_do_not_wait_for_each_other(fan_out: FanOut) -> None:
    other = replace(await FanOut.announce(fan_out.database, fan_out.caller, 10), groups=fan_out.groups)
    async with fan_out.database.write(tenant=fan_out.caller.organisation_id) as repositories:
        await repositories.progress.cancel(fan_out.batch_id)
        held = asyncio.create_task(fan_out.report(done(1)))
        async with asyncio.timeout(5):
            assert (await other.report(done(1))).accepted == 1
        assert not held.done()
    with pytest.raises(SyncCancelled):
        await held


async def test_nothing_is_kept_of_batches_that_nobody_reports_to(fan_out: FanOut) -> None:
    await at_once(fan_out, done(1), done(2))
    await asyncio.gather(*fan_out.groups._counting)
    assert fan_out.groups._lanes == {}
    assert fan_out.groups._counting == set()
