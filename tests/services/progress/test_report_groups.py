"""Group commit: concurrent reports in one process share a transaction, and each gets its own answer."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fanout import FanOut, done, failed
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import SyncCancelled
from qrtrack.domain.progress.sync_records import RecordOutcome, SurplusRecords
from qrtrack.repositories.progress.sync_records import SyncRecordRepository
from qrtrack.services.progress import sync_records
from qrtrack.services.progress.sync_records import CountedReport
from ticking import HANG_SECONDS

Result = CountedReport | BaseException


@pytest.fixture
async def fan_out(database: Database, caller: Caller) -> FanOut:
    """A batch of ten records."""
    return await FanOut.announce(database, caller, 10)


async def at_once(fan_out: FanOut, *reports: list[RecordOutcome]) -> list[Result]:
    """All reports arrive before the first is counted, so they form one group."""
    return await asyncio.gather(*(fan_out.report(report) for report in reports), return_exceptions=True)


def accepted(results: list[Result]) -> list[int | type[BaseException]]:
    return [result.accepted if isinstance(result, CountedReport) else type(result) for result in results]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of records of each counted group."""
    seen: list[int] = []
    count = SyncRecordRepository.count

    async def counting(self: SyncRecordRepository, batch_id: Any, inserted: Any) -> Any:
        seen.append(inserted.reported)
        return await count(self, batch_id, inserted)

    monkeypatch.setattr(SyncRecordRepository, "count", counting)
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


async def test_a_group_has_at_most_as_many_records_as_one_statement_takes(
    fan_out: FanOut, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_records, "RECORDS_TOGETHER", 4)
    reports = [done(1, 2, 3), done(4), done(5), done(6, 7, 8, 9, 10)]
    assert accepted(await at_once(fan_out, *reports)) == [3, 1, 1, 5]
    assert sorted(counts) == [1, 4, 5]


async def test_a_record_in_several_reports_is_counted_for_the_first(fan_out: FanOut, counts: list[int]) -> None:
    results = await at_once(fan_out, failed("a") + done("b"), done("a", "c"), done("a", "b", "c"))
    assert accepted(results) == [2, 1, 0]
    assert [result.repeated for result in results if isinstance(result, CountedReport)] == [0, 1, 3]
    assert await fan_out.recorded() == {"a": False, "b": True, "c": True}
    assert counts == [3]


async def test_only_the_surplus_report_of_a_group_is_refused(fan_out: FanOut) -> None:
    results = await at_once(fan_out, done(*range(6)), done(*range(6, 12)), done(0, 1), done(7, 8))
    assert accepted(results) == [6, SurplusRecords, 0, 2]
    (refusal,) = [result for result in results if isinstance(result, SurplusRecords)]
    assert (refusal.members["surplus"], refusal.members["keys"]) == (2, ["10", "11"])
    assert await fan_out.counts() == ("processing", 8, 8, 0, 80)


async def test_late_reports_in_a_group_are_refused_one_by_one(fan_out: FanOut) -> None:
    await fan_out.report(done(1))
    await fan_out.cancel()
    assert accepted(await at_once(fan_out, done(1), done(2), done(1, 3))) == [0, SyncCancelled, SyncCancelled]


async def test_a_group_for_an_unknown_batch_gets_not_found(fan_out: FanOut) -> None:
    await fan_out.sql("DELETE FROM sync_batch_progress WHERE batch_id = :batch_id")
    assert accepted(await at_once(fan_out, done(1), done(2))) == [NotFound, NotFound]


async def test_every_report_of_a_killed_group_answers_database_unavailable(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(self: Any, *_: Any) -> Any:
        await fan_out.sql(f"SELECT pg_terminate_backend({self._connection.get_server_pid()})")
        return await self._connection.execute("SELECT 1")

    with monkeypatch.context() as patched:
        patched.setattr(SyncRecordRepository, "count", killed)
        assert accepted(await at_once(fan_out, done(1), done(2))) == [DatabaseUnavailable] * 2
    assert await fan_out.recorded() == {}
    assert accepted(await at_once(fan_out, done(1), done(2))) == [1, 1]


async def test_a_defect_is_raised_for_every_waiting_caller(fan_out: FanOut, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(SyncRecordRepository, "count", broken)
        assert accepted(await at_once(fan_out, done(1), done(2))) == [ZeroDivisionError] * 2
    assert accepted(await at_once(fan_out, done(1), done(2))) == [1, 1]


async def test_a_caller_who_disconnects_does_not_cancel_the_reports_of_others(fan_out: FanOut) -> None:
    reports = [asyncio.create_task(fan_out.report(done(number))) for number in range(3)]
    await asyncio.sleep(0)
    reports[0].cancel()
    results = await asyncio.gather(*reports, return_exceptions=True)
    assert accepted(results[1:]) == [1, 1]
    assert isinstance(results[0], asyncio.CancelledError)


async def until_groups_wait_for_a_lock(fan_out: FanOut, groups: int) -> None:
    while len(await fan_out.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < groups:
        await asyncio.sleep(0.01)


async def test_waiting_reports_fail_when_the_process_ends(fan_out: FanOut) -> None:
    async with fan_out.database.write(tenant=fan_out.caller.organisation_id) as repositories:
        await repositories.sync_batches.cancel(fan_out.batch_id)
        reports = [asyncio.create_task(fan_out.report(done(number))) for number in range(3)]
        async with asyncio.timeout(HANG_SECONDS):
            await until_groups_wait_for_a_lock(fan_out, 1)
            late = asyncio.create_task(fan_out.report(done("late")))
            await until_groups_wait_for_a_lock(fan_out, 2)
            for counting in fan_out.groups._counting:
                counting.cancel()
            results = await asyncio.gather(*reports, late, return_exceptions=True)
    assert accepted(results) == [DatabaseUnavailable] * 4
    assert fan_out.groups._queues == {}


async def test_batches_do_not_wait_for_each_other(fan_out: FanOut) -> None:
    other = replace(await FanOut.announce(fan_out.database, fan_out.caller, 10), groups=fan_out.groups)
    async with fan_out.database.write(tenant=fan_out.caller.organisation_id) as repositories:
        await repositories.sync_batches.cancel(fan_out.batch_id)
        held = asyncio.create_task(fan_out.report(done(1)))
        async with asyncio.timeout(HANG_SECONDS):
            assert (await other.report(done(1))).accepted == 1
        assert not held.done()
    with pytest.raises(SyncCancelled):
        await held


async def test_a_batch_without_waiting_reports_uses_no_memory(fan_out: FanOut) -> None:
    await at_once(fan_out, done(1), done(2))
    await asyncio.gather(*fan_out.groups._counting)
    assert fan_out.groups._queues == {}
    assert fan_out.groups._counting == set()
