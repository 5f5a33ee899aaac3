"""Reports of records: one by one, concurrent, killed and repeated."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from fanout import FanOut, done, failed
from process import TENANT_ROLE
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.identity import Caller
from qrtrack.domain.progress.sync_batches import SyncCancelled
from qrtrack.domain.progress.sync_records import SurplusRecords
from qrtrack.domain.requests import AlreadyAnswered, RepeatableRequest, StoredAnswer
from qrtrack.repositories.progress.sync_records import SyncRecordRepository
from qrtrack.services.progress.sync_records import list_failures
from ticking import HANG_SECONDS


@pytest.fixture
async def fan_out(database: Database, caller: Caller) -> FanOut:
    """A batch of ten records."""
    return await FanOut.announce(database, caller, 10)


async def test_a_report_is_counted_with_its_records(fan_out: FanOut) -> None:
    answer = await fan_out.report(done(1, 2) + failed(3))
    assert (answer.accepted, answer.repeated, answer.status, answer.processed_records) == (3, 0, "processing", 3)
    assert await fan_out.counts() == ("processing", 3, 2, 1, 30)
    assert await fan_out.recorded() == {"1": True, "2": True, "3": False}
    assert (await fan_out.view()).started_at is not None


async def test_a_record_that_is_reported_again_is_counted_once(fan_out: FanOut) -> None:
    await fan_out.report(done(1, 2))
    answer = await fan_out.report(done(2, 3))
    assert (answer.accepted, answer.repeated) == (1, 1)
    assert (await fan_out.report(done(1, 2, 3))).repeated == 3
    assert await fan_out.counts() == ("processing", 3, 3, 0, 30)


async def test_the_first_outcome_of_a_key_counts(fan_out: FanOut) -> None:
    answer = await fan_out.report(failed("a") + done("a", "b") + failed("b"))
    assert (answer.accepted, answer.repeated) == (2, 2)
    await fan_out.report(done("a") + failed("b"))
    assert await fan_out.recorded() == {"a": False, "b": True}
    assert await fan_out.counts() == ("processing", 2, 1, 1, 20)


async def test_keys_that_differ_in_any_character_are_different_records(fan_out: FanOut) -> None:
    answer = await fan_out.report(done("a", "A", "á", "a ", "ａ"))
    assert answer.accepted == 5


async def test_more_records_than_announced_are_refused_and_nothing_is_counted(fan_out: FanOut) -> None:
    await fan_out.report(done(*range(8)))
    with pytest.raises(SurplusRecords, match="8 were counted before, and this request has 5 new ones") as refusal:
        await fan_out.report(done("z", 1, "y", "x") + failed("z", "a", "b"))
    assert refusal.value.members == {
        "total_records": 10,
        "processed_records": 8,
        "surplus": 3,
        "keys": ["x", "a", "b"],
    }
    assert await fan_out.counts() == ("processing", 8, 8, 0, 80)
    assert len(await fan_out.recorded()) == 8


async def test_a_complete_batch_refuses_new_records_and_answers_known_ones(fan_out: FanOut) -> None:
    await fan_out.report(done(*range(10)))
    again = await fan_out.report(failed(*range(10)))
    assert (again.accepted, again.repeated, again.status) == (0, 10, "completed")
    with pytest.raises(SurplusRecords) as refusal:
        await fan_out.report(done(9, 10))
    assert (refusal.value.members["surplus"], refusal.value.members["keys"]) == (1, ["10"])
    assert await fan_out.counts() == ("completed", 10, 10, 0, 100)


async def test_failures_are_listed_in_the_order_of_recording(fan_out: FanOut) -> None:
    await fan_out.report(failed("b", error=None) + done(1))
    await fan_out.report(failed("d", "c"))
    page: dict[str, Any] = {"caller": fan_out.caller, "batch_id": fan_out.batch_id}
    first = await list_failures(fan_out.database, **page, after=None, limit=2)
    assert [(row.record_key, row.error) for row in first] == [("b", None), ("c", "refused")]
    rest = await list_failures(fan_out.database, **page, after=(first[-1].recorded_at, "c"), limit=2)
    assert [row.record_key for row in rest] == ["d"]


@pytest.fixture
async def nodes(database: Database, migrated_url: str) -> AsyncIterator[list[Database]]:
    """Three processes, each with its own pool."""
    others = [Database.connect(migrated_url, pool_size=10, tenant_role=TENANT_ROLE) for _ in range(2)]
    yield [database, *others]
    for other in others:
        await other.close()


async def test_1037_reporters_at_once_end_at_1037_of_1037(caller: Caller, nodes: list[Database]) -> None:
    fan_out = await FanOut.announce(nodes[0], caller, 1037)
    reporters = [fan_out.through(nodes[number % 3]) for number in range(1037)]
    outcomes = [failed(number) if number % 50 == 0 else done(number) for number in range(1037)]
    seen: list[tuple[Any, ...]] = []

    async def observe() -> None:
        while not seen or seen[-1][0] != "completed":
            seen.append(await fan_out.counts())

    answers, _ = await asyncio.gather(
        asyncio.gather(*(reporter.report(outcome) for reporter, outcome in zip(reporters, outcomes, strict=True))),
        observe(),
    )
    assert [answer.processed_records for answer in answers if answer.status == "completed"] == [1037]
    assert sorted(answer.processed_records for answer in answers) == list(range(1, 1038))
    assert await fan_out.counts() == ("completed", 1037, 1016, 21, 100)
    summary = (await fan_out.view()).summary
    assert summary is not None
    assert (summary["success"], summary["failed"], len(summary["first_failures"])) == (1016, 21, 10)
    assert [count[4] for count in seen] == sorted(100 * count[1] // 1037 for count in seen)
    assert {count[0] for count in seen if count[4] == 100} == {"completed"}


async def test_reports_of_the_same_records_in_any_order_neither_deadlock_nor_count_twice(
    caller: Caller, nodes: list[Database]
) -> None:
    fan_out = await FanOut.announce(nodes[0], caller, 300)
    draw = random.Random(1037)
    reports = [draw.sample(range(300), 60) for _ in range(60)]
    answers = await asyncio.gather(
        *(fan_out.through(nodes[number % 3]).report(done(*keys)) for number, keys in enumerate(reports))
    )
    covered = {key for keys in reports for key in keys}
    assert sum(answer.accepted for answer in answers) == len(covered)
    assert sum(answer.accepted + answer.repeated for answer in answers) == 3600
    assert (await fan_out.counts())[1] == len(covered)


async def test_concurrent_surplus_reports_are_refused(caller: Caller, nodes: list[Database]) -> None:
    fan_out = await FanOut.announce(nodes[0], caller, 30)
    results = await asyncio.gather(
        *(fan_out.through(nodes[number % 3]).report(done(number)) for number in range(35)), return_exceptions=True
    )
    refusals = [result for result in results if isinstance(result, SurplusRecords)]
    assert [refusal.members["surplus"] for refusal in refusals] == [1] * 5
    assert await fan_out.counts() == ("completed", 30, 30, 0, 100)
    assert len(await fan_out.recorded()) == 30


async def test_a_cancellation_among_reports_leaves_what_was_counted(caller: Caller, nodes: list[Database]) -> None:
    fan_out = await FanOut.announce(nodes[0], caller, 200)
    reports = [fan_out.through(nodes[number % 3]).report(done(number)) for number in range(100)]
    *results, _ = await asyncio.gather(*reports, fan_out.cancel(), return_exceptions=True)
    accepted = sum(not isinstance(result, BaseException) for result in results)
    assert all(isinstance(result, SyncCancelled) for result in results if isinstance(result, BaseException))
    assert (await fan_out.counts())[:2] == ("cancelled", accepted)
    assert len(await fan_out.recorded()) == accepted


class Undone(Exception):
    """Rolls a report back."""


@pytest.mark.parametrize("undone", [True, False])
async def test_a_report_waits_for_a_concurrent_report_of_the_same_record(fan_out: FanOut, *, undone: bool) -> None:
    """Whether the record is new depends on how the other transaction ends."""
    database, organisation_id = fan_out.database, fan_out.caller.organisation_id
    second = None
    with suppress(Undone):
        async with database.write(tenant=organisation_id) as repositories:
            records = repositories.sync_records
            await records.count(fan_out.batch_id, await records.insert(fan_out.batch_id, organisation_id, done("a")))
            second = asyncio.create_task(fan_out.report(done("a")))
            await asyncio.sleep(0.2)
            assert not second.done()
            if undone:
                raise Undone
    assert second is not None
    assert (await second).accepted == undone
    assert await fan_out.counts() == ("processing", 1, 1, 0, 10)


def request(fan_out: FanOut, key: str = "key") -> RepeatableRequest:
    def render(answer: Any) -> StoredAnswer:
        return StoredAnswer(200, {}, str(answer.accepted))

    return RepeatableRequest(fan_out.caller.organisation_id, f"/{fan_out.batch_id}", key, b"body", render)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["insert", "count"])
@pytest.mark.parametrize("with_key", [False, True])
async def test_a_report_killed_at_any_step_leaves_nothing_and_can_be_repeated(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch, step: str, moment: str, *, with_key: bool
) -> None:
    original = getattr(SyncRecordRepository, step)

    async def killed(self: Any, *arguments: Any) -> Any:
        if moment == "after":
            await original(self, *arguments)
        await fan_out.sql(f"SELECT pg_terminate_backend({self._connection.get_server_pid()})")
        return await self._connection.execute("SELECT 1")

    reporter = fan_out.through(fan_out.database.answering(request(fan_out))) if with_key else fan_out
    with monkeypatch.context() as patched:
        patched.setattr(SyncRecordRepository, step, killed)
        with pytest.raises(DatabaseUnavailable):
            await reporter.report(done(*range(10)))
    assert await fan_out.counts() == ("pending", 0, 0, 0, 0)
    assert await fan_out.recorded() == {}
    assert (await fan_out.report(done(*range(10)))).status == "completed"


async def test_a_report_with_a_key_is_answered_the_same_again(fan_out: FanOut) -> None:
    await fan_out.through(fan_out.database.answering(request(fan_out))).report(done(1, 2))
    with pytest.raises(AlreadyAnswered) as again:
        await fan_out.through(fan_out.database.answering(request(fan_out))).report(done(1, 2))
    assert again.value.stored.body == "2"
    assert await fan_out.counts() == ("processing", 2, 2, 0, 20)


async def test_a_refused_report_leaves_no_key(fan_out: FanOut) -> None:
    for _ in range(2):
        with pytest.raises(SurplusRecords):
            await fan_out.through(fan_out.database.answering(request(fan_out))).report(done(*range(11)))
    assert await fan_out.sql("SELECT 1 FROM idempotency_keys") == []


@pytest.mark.parametrize("with_key", [False, True])
async def test_a_busy_batch_does_not_exhaust_the_pool(fan_out: FanOut, migrated_url: str, *, with_key: bool) -> None:
    small = Database.connect(migrated_url, pool_size=6, tenant_role=TENANT_ROLE)
    organisation_id = fan_out.caller.organisation_id
    reporter = fan_out.through(small)
    try:
        async with fan_out.database.write(tenant=organisation_id) as repositories:
            records = repositories.sync_records
            await records.count(fan_out.batch_id, await records.insert(fan_out.batch_id, organisation_id, done("a")))
            reports = []
            for number in range(9):
                if with_key:
                    reporter = fan_out.through(small.answering(request(fan_out, key=f"key {number}")))
                reports.append(asyncio.create_task(reporter.report(done(number))))
            await asyncio.sleep(0.3)
            assert not any(report.done() for report in reports)
            async with asyncio.timeout(HANG_SECONDS):
                assert (await fan_out.through(small).counts())[0] == "pending"
        await asyncio.gather(*reports)
        assert (await fan_out.counts())[0] == "completed"
    finally:
        await small.close()
