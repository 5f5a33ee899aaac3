import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from structlog.testing import capture_logs

from plant import BY_KIND, MadeBatch, Plant, killed_at
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.claims import Interrupted, LeaseLost, PermanentFailure
from qrtrack.domain.errors import DomainError
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.packing.reverse_jobs import JobCounts, NewJob
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.prepared_codes import PreparedCodeRepository
from qrtrack.repositories.packing.reverse_jobs import ReverseJobRepository
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.repositories.trace import TraceRepository
from qrtrack.runtime import open_runtime
from qrtrack.services.claims import claim_work, release_claim
from qrtrack.services.packing import preparation
from qrtrack.services.packing.codes import readmit_codes, void_codes
from qrtrack.services.packing.links import LinkCodes, link_codes, unlink_codes
from qrtrack.services.packing.preparation import run_reverse_job
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job, dry_run_reverse_job, retry_reverse_job
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, run_next

JOBS = "qr_reverse_jobs"


@pytest.fixture
def chunks_of_ten() -> Iterator[None]:
    with patch.object(preparation, "CHUNK", 10):
        yield


def codes(*numbers: int) -> list[str]:
    return [f"SKA{number:06d}" for number in numbers]


async def job_of(plant: Plant, job_id: UUID) -> Any:
    return await plant.row(JOBS, job_id)


async def queue(plant: Plant, status: str = "prepared") -> list[int]:
    """Sequence numbers in the order in which they were queued."""
    rows = await plant.sql(
        "SELECT sequence_number FROM qr_prepared_codes WHERE status = :status ORDER BY id", status=status
    )
    return [row.sequence_number for row in rows]


def assert_adds_up(job: Any) -> None:
    summary = job.result_summary
    assert min(value for value in summary.values()) >= 0
    parts = [summary[name] for name in ("prepared", "duplicates", "invalid", "excluded_count")]
    assert sum(parts) == summary["total_available"] == job.total_available_in_batch
    assert (summary["prepared"], summary["duplicates"], summary["excluded_count"]) == (
        job.prepared_count,
        job.duplicate_count,
        job.excluded_count,
    )
    assert (job.progress, job.remaining_to_prepare) == (100, 0)


def summary(
    prepared: int, *, duplicates: int = 0, invalid: int = 0, excluded: int = 0, gone: int = 0
) -> dict[str, int]:
    return {
        "prepared": prepared,
        "duplicates": duplicates,
        "invalid": invalid,
        "total_available": prepared + duplicates + invalid + excluded,
        "excluded_count": excluded,
        "excluded_already_unavailable": gone,
    }


async def between_chunks(plant: Plant, job_id: UUID, *happenings: Any) -> None:
    """Runs the job to its end; before its chunks 1, 2, … these happen, one each."""
    lock_preparation, coming = ReverseJobRepository.lock_preparation, iter(happenings)

    async def lock_preparation_after_it_happened(self: Any, batch_id: UUID) -> None:
        happening = next(coming, None)
        if happening is not None:
            await happening()
        await lock_preparation(self, batch_id)

    with patch.object(ReverseJobRepository, "lock_preparation", lock_preparation_after_it_happened):
        await plant.work("reverse_job")


async def void(plant: Plant, batch: MadeBatch, *numbers: int) -> None:
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=codes(*numbers), reason="torn"
    )


async def link(plant: Plant, batch: MadeBatch, *numbers: int, case: int = 0) -> None:
    request = LinkCodes(batch.batch_id, batch.order_id, batch.master_codes[case], codes(*numbers))
    await link_codes(plant.runtime.database, caller=plant.caller, request=request)


async def unlink(plant: Plant, *numbers: int) -> None:
    await unlink_codes(
        plant.runtime.database, caller=plant.caller, codes=codes(*numbers), master_code=None, reason="wrong box"
    )


async def test_a_job_prepares_every_good_code_in_serial_order(plant: Plant) -> None:
    batch = await plant.batch(1000)
    job_id = await plant.submit(batch, codes(7, 13))
    [outcome] = await plant.work("reverse_job")
    job = await job_of(plant, job_id)
    assert outcome.end is End.COMPLETED
    assert job.result_summary == summary(998, excluded=2)
    assert_adds_up(job)
    assert await queue(plant) == [number for number in range(1, 1001) if number not in (7, 13)]
    lines = [row.message for row in await plant.sql("SELECT message FROM qr_reverse_job_logs ORDER BY id")]
    assert lines == [
        "Submitted with excluded codes: 2; already packed, void or with a consumer: 0.",
        "Counted: 1000 available, 2 of them excluded, 0 in the queue.",
        "Completed: 998 prepared, 0 already prepared by another job, 2 excluded, 0 no longer available.",
    ]
    [event] = await plant.sql("SELECT details FROM trace_events WHERE action = 'reverse_job.completed'")
    assert event.details == job.result_summary


@pytest.mark.usefixtures("chunks_of_ten")
async def test_progress_is_0_then_5_then_30_then_grows_with_each_chunk_and_is_100_only_with_completed(
    plant: Plant, database: Database
) -> None:
    batch = await plant.batch(40)
    job_id = await plant.submit(batch, codes(40))
    seen: list[tuple[str, int, int | None]] = []

    async def look() -> None:
        job = await job_of(plant, job_id)
        seen.append((job.status, job.progress, job.remaining_to_prepare))

    await look()
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    await look()
    await release_claim(database, REVERSE_JOBS, held)
    await look()
    await between_chunks(plant, job_id, look, look, look, look)
    await look()
    assert seen == [
        ("queued", 0, None),
        ("running", 5, None),
        ("queued", 5, None),
        ("running", 30, 39),
        ("running", 45, 29),
        ("running", 60, 19),
        ("running", 75, 9),
        ("completed", 100, 0),
    ]


async def test_a_job_with_nothing_to_do_completes_with_zeros(plant: Plant) -> None:
    batch = await plant.batch(3)
    await void(plant, batch, 1, 2, 3)
    job_id = await plant.submit(batch, codes(2))
    await plant.work("reverse_job")
    job = await job_of(plant, job_id)
    assert job.result_summary == summary(0, gone=1)
    assert_adds_up(job)


async def test_a_second_job_counts_what_the_first_has_prepared(plant: Plant) -> None:
    batch = await plant.prepared(50)
    job_id = await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await job_of(plant, job_id)).result_summary == summary(0, duplicates=50)
    assert await queue(plant) == list(range(1, 51))


@pytest.mark.usefixtures("chunks_of_ten")
async def test_two_jobs_at_once_on_one_batch_prepare_each_code_once(plant: Plant) -> None:
    batch = await plant.batch(200)
    jobs = [await plant.submit(batch, codes(5)), await plant.submit(batch, codes(5, 6))]
    await asyncio.gather(*(plant.work("reverse_job") for _ in range(2)))
    summaries = []
    for job_id in jobs:
        job = await job_of(plant, job_id)
        assert_adds_up(job)
        assert (job.result_summary["excluded_count"], job.result_summary["invalid"]) == (2, 0)
        summaries.append(job.result_summary)
    assert summaries[0]["prepared"] + summaries[1]["prepared"] == 198
    assert sorted(await queue(plant)) == [number for number in range(1, 201) if number not in (5, 6)]


@pytest.mark.usefixtures("chunks_of_ten")
async def test_codes_that_become_unavailable_while_the_job_runs_are_counted_as_invalid(plant: Plant) -> None:
    batch = await plant.batch(40, units_per_case=10)
    job_id = await plant.submit(batch)

    async def happen() -> None:
        await void(plant, batch, 21, 22)
        await link(plant, batch, 31)

    await between_chunks(plant, job_id, happen)
    job = await job_of(plant, job_id)
    assert job.result_summary == summary(37, invalid=3)
    assert_adds_up(job)
    assert not {21, 22, 31} & set(await queue(plant))


@pytest.mark.usefixtures("chunks_of_ten")
async def test_codes_unlinked_while_the_job_runs_are_left_to_a_later_job(plant: Plant) -> None:
    batch = await plant.batch(40, units_per_case=10)
    await link(plant, batch, 35, 36)
    job_id = await plant.submit(batch)

    async def happen() -> None:
        await unlink(plant, 35, 36)

    await between_chunks(plant, job_id, happen)
    job = await job_of(plant, job_id)
    assert job.result_summary == summary(38)
    assert_adds_up(job)
    later = await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await job_of(plant, later)).result_summary == summary(2, duplicates=38)


@pytest.mark.usefixtures("chunks_of_ten")
async def test_exclusions_of_another_submission_hold_for_a_job_that_is_running(plant: Plant) -> None:
    batch = await plant.batch(40)
    job_id = await plant.submit(batch, codes(1))

    async def happen() -> None:
        await plant.submit(batch, codes(2, 25))

    await between_chunks(plant, job_id, None, happen)
    first, second = [
        await job_of(plant, row.id) for row in await plant.sql("SELECT id FROM qr_reverse_jobs ORDER BY id")
    ]
    assert first.result_summary == summary(38, excluded=2)
    assert second.result_summary == summary(0, duplicates=37, excluded=3)
    assert_adds_up(first)
    assert_adds_up(second)
    # 2 had been queued by the first job already, and left the queue with the second submission.
    assert await queue(plant, "invalid") == [2]
    assert await queue(plant) == [number for number in range(1, 41) if number not in (1, 2, 25)]


async def test_an_exclusion_holds_for_later_jobs_until_readmit_names_it(plant: Plant, database: Database) -> None:
    batch = await plant.prepared(20, codes(3, 4))
    later = await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await job_of(plant, later)).result_summary == summary(0, duplicates=18, excluded=2)
    readmitted = await readmit_codes(database, caller=plant.caller, batch_id=batch.batch_id, codes=codes(3))
    assert readmitted.readmitted == 1
    last = await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await job_of(plant, last)).result_summary == summary(1, duplicates=18, excluded=1)
    assert sorted(await queue(plant)) == [number for number in range(1, 21) if number != 4]


async def test_an_excluded_code_leaves_the_queue_and_is_not_packed(plant: Plant) -> None:
    batch = await plant.prepared(20, units_per_case=10)
    await plant.submit(batch, codes(2))
    assert await queue(plant, "invalid") == [2]
    packed = await plant.pack(batch)
    assert packed.linked_codes == codes(1, 3, 4, 5, 6, 7, 8, 9, 10, 11)


async def test_the_exclusions_of_a_cancelled_job_end_unless_another_job_holds_them(
    plant: Plant, database: Database
) -> None:
    batch = await plant.batch(10)
    first = await plant.submit(batch, codes(1, 2))
    await plant.submit(batch, codes(2, 3))
    await cancel_reverse_job(database, caller=plant.caller, job_id=first)
    await plant.work("reverse_job")
    assert await queue(plant) == [1, 4, 5, 6, 7, 8, 9, 10]


STEPS = [
    (ReverseJobRepository, "get"),
    (PreparedCodeRepository, "lower_queue_head"),
    (ReverseJobRepository, "count"),
    (ReverseJobRepository, "record_count"),
    (ReverseJobRepository, "lock"),
    (ReverseJobRepository, "prepare"),
    (ReverseJobRepository, "record_chunk"),
    (ReverseJobRepository, "complete"),
    (ReverseJobRepository, "log"),
    (TraceRepository, "add"),
]


@pytest.mark.usefixtures("chunks_of_ten")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_job_killed_at_any_step_gives_the_same_result(
    plant: Plant, database: Database, owner: type, step: str, moment: str
) -> None:
    for call in range(1, 12):
        batch = await plant.batch(30, serial_prefix="KILL")
        job_id = await plant.submit(batch, [batch.first_code or ""])
        progress = [0]
        with killed_at(owner, step, call=call, moment=moment) as kill:
            while claims := await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30):
                progress.append((await job_of(plant, job_id)).progress)
                try:
                    await run_reverse_job(database, claims[0], StopSignal())
                except DatabaseUnavailable:
                    progress.append((await job_of(plant, job_id)).progress)
                    await plant.expire(JOBS)
        job = await job_of(plant, job_id)
        assert job.result_summary == summary(29, excluded=1)
        assert_adds_up(job)
        assert progress == sorted(progress)
        rows = await plant.sql(
            "SELECT sequence_number FROM qr_prepared_codes WHERE job_id = :job_id ORDER BY id", job_id=job_id
        )
        assert [row.sequence_number for row in rows] == list(range(2, 31))
        if not kill.done:
            assert call > 1
            return
    raise AssertionError("every call was killed: more of them were needed")


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_worker_that_comes_back_late_leaves_job_and_queue_as_they_are(plant: Plant, database: Database) -> None:
    batch = await plant.batch(30)
    job_id = await plant.submit(batch)
    [late] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    await plant.expire(JOBS)
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)
    look = (
        "SELECT to_jsonb(job) || jsonb_build_object('row', job.xmin::text) FROM qr_reverse_jobs AS job"
        " UNION ALL SELECT to_jsonb(run) || jsonb_build_object('row', run.xmin::text) FROM qr_batch_variants AS run"
        " UNION ALL SELECT to_jsonb(queued) FROM qr_prepared_codes AS queued"
        " UNION ALL SELECT to_jsonb(line) FROM qr_reverse_job_logs AS line"
    )
    stopped = StopSignal()
    stopped.set()
    with pytest.raises(Interrupted):
        await run_reverse_job(database, held, stopped)
    assert (await job_of(plant, job_id)).progress == 30
    await plant.sql("UPDATE qr_batch_variants SET queue_head = 25")
    before = await plant.sql(look)
    with pytest.raises(LeaseLost):
        await run_reverse_job(database, late, StopSignal())
    assert await plant.sql(look) == before
    await run_reverse_job(database, held, StopSignal())
    before = await plant.sql(look)
    with pytest.raises(LeaseLost):
        await run_reverse_job(database, late, StopSignal())
    assert await plant.sql(look) == before
    assert_adds_up(await job_of(plant, job_id))


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_job_that_is_asked_to_stop_is_released_and_the_next_worker_continues(plant: Plant) -> None:
    batch = await plant.batch(40)
    job_id = await plant.submit(batch)
    stop = StopSignal()
    prepare, starts = ReverseJobRepository.prepare, []

    async def prepare_and_stop(self: Any, job: Any, first: int, last: int) -> Any:
        starts.append(first)
        if len(starts) == 2:
            stop.set()
        return await prepare(self, job, first, last)

    with patch.object(ReverseJobRepository, "prepare", prepare_and_stop):
        outcome = await run_next(plant.runtime, BY_KIND["reverse_job"], stop)
        assert outcome is not None
        assert outcome.end is End.RELEASED
        job = await job_of(plant, job_id)
        assert (job.status, job.attempts, job.progress, job.prepared_count) == ("queued", 0, 60, 20)
        await plant.work("reverse_job")
    assert starts == [1, 11, 21, 31]
    assert_adds_up(await job_of(plant, job_id))


@pytest.mark.usefixtures("chunks_of_ten")
async def test_cancelling_a_running_job_undoes_its_chunk_and_stops_its_worker(plant: Plant, database: Database) -> None:
    batch = await plant.batch(40)
    job_id = await plant.submit(batch, codes(39))
    cancelled: list[Any] = []
    record_chunk, prepare = ReverseJobRepository.record_chunk, ReverseJobRepository.prepare

    async def record_while_cancelling(self: Any, claim: Any, counts: JobCounts, **values: Any) -> None:
        if counts.next_sequence == 21:
            # The chunk locks the job's row by its foreign key: the cancellation waits until the chunk is committed.
            cancelled.append(asyncio.create_task(cancel_reverse_job(database, caller=plant.caller, job_id=job_id)))
            while not await plant.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
        await record_chunk(self, claim, counts, **values)

    async def prepare_after_the_cancellation(self: Any, *arguments: Any) -> Any:
        await asyncio.gather(*cancelled)
        return await prepare(self, *arguments)

    with (
        patch.object(ReverseJobRepository, "record_chunk", record_while_cancelling),
        patch.object(ReverseJobRepository, "prepare", prepare_after_the_cancellation),
    ):
        [outcome] = await plant.work("reverse_job")
    assert outcome.end is End.LOST
    assert (await cancelled[0]).withdrawn == 20
    job = await job_of(plant, job_id)
    assert (job.status, job.lease_token, job.result_summary) == ("cancelled", None, None)
    assert await plant.sql("SELECT 1 FROM qr_prepared_codes") == []
    assert await plant.sql("SELECT 1 FROM qr_excluded_codes") == []


async def test_cancelling_and_finishing_at_once_end_the_job_exactly_once(plant: Plant, database: Database) -> None:
    batch = await plant.batch(20)
    ends = []
    for round_ in range(12):
        job_id = await plant.submit(batch)

        async def cancel(job_id: UUID = job_id, wait: float = round_ * 0.002) -> str:
            await asyncio.sleep(wait)
            try:
                return (await cancel_reverse_job(database, caller=plant.caller, job_id=job_id)).status
            except DomainError as error:
                return str(error.members["state"])

        # A job that is cancelled before a worker claims it has no outcome.
        outcomes, told = await asyncio.gather(plant.work("reverse_job"), cancel())
        job = await job_of(plant, job_id)
        assert told == job.status
        assert (End.COMPLETED in {outcome.end for outcome in outcomes}) == (job.status == "completed")
        lines = await plant.sql(
            "SELECT 1 FROM qr_reverse_job_logs WHERE job_id = :job_id"
            " AND (message LIKE 'Completed%' OR message LIKE 'Cancelled%')",
            job_id=job_id,
        )
        assert len(lines) == 1
        ends.append(job.status)
    assert set(ends) <= {"completed", "cancelled"}


@pytest.mark.usefixtures("chunks_of_ten")
async def test_a_job_that_failed_three_times_goes_on_from_its_last_chunk_when_retried(
    plant: Plant, database: Database
) -> None:
    batch = await plant.batch(40)
    job_id = await plant.submit(batch)
    prepare = ReverseJobRepository.prepare

    async def tear_in_the_middle(self: Any, job: Any, first: int, last: int) -> Any:
        if first > 20:
            raise OSError("no paper")
        return await prepare(self, job, first, last)

    with patch.object(ReverseJobRepository, "prepare", tear_in_the_middle), capture_logs():
        ends = []
        for _ in range(3):
            [outcome] = await plant.work("reverse_job")
            ends.append(outcome.end)
            await plant.sql("UPDATE qr_reverse_jobs SET run_at = now() WHERE status = 'queued'")
    assert ends == [End.RETRIED, End.RETRIED, End.FAILED]
    job = await job_of(plant, job_id)
    assert (job.status, job.attempts, job.progress, job.prepared_count) == ("failed", 3, 60, 20)
    levels = [row.level for row in await plant.sql("SELECT level FROM qr_reverse_job_logs ORDER BY id")]
    assert levels == ["info", "info", "warn", "warn", "error"]
    await retry_reverse_job(database, caller=plant.caller, job_id=job_id)
    job = await job_of(plant, job_id)
    assert (job.status, job.attempts, job.progress, job.error_message) == ("queued", 0, 60, None)
    await plant.work("reverse_job")
    job = await job_of(plant, job_id)
    assert job.result_summary == summary(40)
    assert_adds_up(job)
    assert await queue(plant) == list(range(1, 41))


async def test_a_permanent_failure_ends_the_job_at_once(plant: Plant) -> None:
    batch = await plant.batch(4)
    job_id = await plant.submit(batch)

    async def refuse(*_: Any) -> None:
        raise PermanentFailure("The batch is torn.")

    with patch.object(ReverseJobRepository, "prepare", refuse), capture_logs():
        [outcome] = await plant.work("reverse_job")
    assert outcome.end is End.FAILED
    job = await job_of(plant, job_id)
    assert (job.status, job.attempts, job.error_message) == ("failed", 1, "The batch is torn.")


async def test_result_and_trace_event_commit_together_or_not_at_all(plant: Plant, database: Database) -> None:
    batch = await plant.batch(5)
    job_id = await plant.submit(batch)
    [held] = await claim_work(database, REVERSE_JOBS, 1, lease_seconds=30)

    async def torn(*_: Any, **__: Any) -> None:
        raise OSError("no paper")

    with patch.object(TraceRepository, "add", torn), pytest.raises(DatabaseUnavailable):
        await run_reverse_job(database, held, StopSignal())
    job = await job_of(plant, job_id)
    assert (job.status, job.progress, job.result_summary, job.finished_at) == ("running", 30, None, None)
    assert not await plant.sql("SELECT 1 FROM qr_reverse_job_logs WHERE message LIKE 'Completed%'")


async def test_a_job_of_one_variant_leaves_the_others_alone(plant: Plant) -> None:
    batch = await plant.batch(variants=[("10g", 30), ("5g", 20)])
    job_id = await plant.submit(batch, codes(35), variant="5g")
    await plant.work("reverse_job")
    assert (await job_of(plant, job_id)).result_summary == summary(19, excluded=1)
    assert await queue(plant) == [number for number in range(31, 51) if number != 35]


async def test_prepared_codes_may_be_packed_while_the_job_runs(plant: Plant) -> None:
    batch = await plant.batch(40, units_per_case=10)
    job_id = await plant.submit(batch)

    async def pack() -> None:
        assert (await plant.pack(batch)).linked_codes == codes(*range(1, 11))

    with patch.object(preparation, "CHUNK", 20):
        await between_chunks(plant, job_id, None, pack)
    job = await job_of(plant, job_id)
    assert job.result_summary == summary(40)
    assert_adds_up(job)
    assert (await plant.pack(batch, 1)).linked_codes == codes(*range(11, 21))


async def test_codes_before_the_queue_head_are_packed_when_a_later_job_prepares_them(
    plant: Plant,
) -> None:
    batch = await plant.prepared(30, units_per_case=10)
    for case in range(2):
        await plant.pack(batch, case)
    await unlink(plant, 3, 4)
    await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await plant.pack(batch, 2)).linked_codes == codes(3, 4, *range(21, 29))


async def test_a_hundred_thousand_exclusions_of_another_batch_cost_nothing_here(plant: Plant) -> None:
    other = await plant.batch(50, serial_prefix="OTHER")
    await plant.submit(other, [f"OTHER{number:06d}" for number in range(1, 51)])
    batch = await plant.batch(50)
    job_id = await plant.submit(batch)
    await plant.work("reverse_job")
    assert (await job_of(plant, job_id)).result_summary == summary(50)


async def happen(plant: Plant, batch: MadeBatch, kind: str, numbers: Sequence[int]) -> None:
    """What a plant does while a job runs; most of what is drawn must be refused."""
    database, caller, case = plant.runtime.database, plant.caller, numbers[0] % 6
    numbers = sorted(set(numbers))
    listed = codes(*numbers)
    deeds: dict[str, Callable[[], Awaitable[object]]] = {
        "void": lambda: void(plant, batch, *numbers),
        "link": lambda: link(plant, batch, *numbers, case=case),
        "unlink": lambda: unlink(plant, *numbers),
        "submit": lambda: plant.submit(batch, listed),
        "readmit": lambda: readmit_codes(database, caller=caller, batch_id=batch.batch_id, codes=listed),
        "pack": lambda: plant.pack(batch, case, allow_partial=True),
        "run": lambda: run_next(plant.runtime, BY_KIND["reverse_job"], StopSignal()),
    }
    with suppress(DomainError):
        await deeds[kind]()


HAPPENING = st.tuples(
    st.sampled_from(["void", "link", "unlink", "submit", "readmit", "pack", "run"]),
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
)


@examples(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=st.lists(st.lists(HAPPENING, max_size=4), min_size=3, max_size=3), first=st.lists(HAPPENING, max_size=5))
def test_the_numbers_add_up_whatever_the_plant_does_while_the_job_runs(
    settings: Settings,
    script: list[list[tuple[str, list[int]]]],
    first: list[tuple[str, list[int]]],
) -> None:
    async def example() -> None:
        async with open_runtime(settings) as runtime:
            plant = Plant(runtime, Caller("hypothesis", uuid4(), frozenset({Role.ADMIN})))
            try:
                await _adds_up(plant, script, first)
            finally:
                await plant.sweep()

    asyncio.run(example())


async def _adds_up(plant: Plant, script: Any, first: Any) -> None:
    batch = await plant.batch(60, units_per_case=10)
    for kind, numbers in first:
        await happen(plant, batch, kind, numbers)
    await plant.submit(batch)

    def step(part: Any) -> Any:
        async def all_of_it() -> None:
            for kind, numbers in part:
                await happen(plant, batch, kind, numbers)

        return all_of_it

    with patch.object(preparation, "CHUNK", 20):
        await between_chunks(plant, batch.batch_id, *(step(part) for part in script))
    jobs = await plant.sql("SELECT * FROM qr_reverse_jobs")
    assert {job.status for job in jobs} == {"completed"}
    for job in jobs:
        assert_adds_up(job)
    # No code is in the queue twice, and none that is excluded, packed or void would be packed from it.
    doubled = await plant.sql(
        "SELECT code FROM qr_prepared_codes WHERE status = 'prepared' GROUP BY code HAVING count(*) > 1"
    )
    assert doubled == []
    # A dry run says what a run does.
    told = await dry_run_reverse_job(
        plant.runtime.database, caller=plant.caller, new=NewJob(batch.batch_id, batch.order_id)
    )
    last = await plant.submit(batch)
    await plant.work("reverse_job")
    result = (await job_of(plant, last)).result_summary
    assert (told.total_available, told.excluded_count, told.duplicates, told.would_prepare) == (
        result["total_available"],
        result["excluded_count"],
        result["duplicates"],
        result["prepared"],
    )
    assert json.dumps(result)


async def test_a_worker_woken_by_a_submission_finds_the_committed_job(plant: Plant) -> None:
    batch = await plant.batch(1)
    woken: list[Any] = []
    wake = Repositories.wake_workers

    async def wake_and_look(self: Any, queue: Any) -> None:
        await wake(self, queue)
        woken.append(await plant.sql("SELECT 1 FROM qr_reverse_jobs"))

    with patch.object(Repositories, "wake_workers", wake_and_look):
        await plant.submit(batch)
    # Not there before the commit, with which the wake-up travels.
    assert woken == [[]]
    assert len(await plant.work("reverse_job")) == 1
