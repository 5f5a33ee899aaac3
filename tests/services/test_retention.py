"""Clean-up: what is old and done goes, in steps, from any number of processes; what may be needed stays for ever."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from plant import BY_KIND, MadeBatch, Plant, killed_at, ska
from printer import added, ordered, own_host
from qrtrack.database import DatabaseUnavailable
from qrtrack.domain.progress.sync_records import RecordOutcome
from qrtrack.domain.requests import AlreadyAnswered, RepeatableRequest, StoredAnswer
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import retention as statements
from qrtrack.repositories.retention import RetentionRepository
from qrtrack.services.packing import batches
from qrtrack.services.packing.codes import void_codes
from qrtrack.services.progress.sync_batches import create_sync_batch
from qrtrack.services.progress.sync_records import ReportGroups, report_records
from qrtrack.services.retention import KEY_HOURS, preview_prune, prune
from qrtrack.services.workers import ProcessActivity, report_process
from qrtrack.worker import schedule
from qrtrack.worker.execution import End, run_next
from treasury import Treasury

DAYS = 90
NOTHING = dict.fromkeys(
    [
        "prepared_codes", "reverse_jobs", "batch_stages", "progress_records", "progress_batches", "log_lines",
        "label_jobs", "print_jobs",
        "notifications", "idempotency_keys", "console_sessions", "worker_processes",
    ],
    0,
)  # fmt: skip


async def age(plant: Plant, days: int = 100) -> None:
    """Everything that there is happened so many days earlier."""
    await plant.sql(
        "UPDATE qr_reverse_jobs SET created_at = created_at - make_interval(days => :days),"
        " finished_at = finished_at - make_interval(days => :days)",
        days=days,
    )
    await plant.sql(
        "UPDATE qr_prepared_codes SET consumed_at = consumed_at - make_interval(days => :days)"
        " WHERE status = 'consumed'",
        days=days,
    )
    await plant.sql("UPDATE qr_reverse_job_logs SET created_at = created_at - make_interval(days => :days)", days=days)


async def left(plant: Plant) -> dict[str, int]:
    [row] = await plant.sql(
        "SELECT (SELECT count(*) FROM qr_reverse_jobs) AS reverse_jobs,"
        " (SELECT count(*) FROM qr_prepared_codes) AS prepared_codes,"
        " (SELECT count(*) FROM qr_reverse_job_logs) AS log_lines,"
        " (SELECT count(*) FROM qr_excluded_codes) AS exclusions"
    )
    return dict(row._asdict())


async def packed(plant: Plant, quantity: int = 10, **asked: Any) -> MadeBatch:
    """A batch, all of it in one case."""
    batch = await plant.prepared(quantity, units_per_case=quantity, **asked)
    await plant.pack(batch)
    return batch


async def test_pruning_deletes_all_old_rows_of_a_fully_packed_batch(plant: Plant) -> None:
    await packed(plant)
    await age(plant)
    lines = (await left(plant))["log_lines"]
    assert await prune(plant.runtime.database, days=DAYS) == NOTHING | {
        "prepared_codes": 10,
        "reverse_jobs": 1,
        "log_lines": lines,
    }
    assert await left(plant) == {"reverse_jobs": 0, "prepared_codes": 0, "log_lines": 0, "exclusions": 0}


async def test_pruning_keeps_younger_rows(plant: Plant) -> None:
    await packed(plant)
    await age(plant, DAYS - 1)
    before = await left(plant)
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == before


async def test_while_a_unit_is_not_packed_the_job_and_what_waits_stay(plant: Plant) -> None:
    batch = await plant.prepared(10, units_per_case=6)
    await plant.pack(batch)
    await age(plant)
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == {"reverse_jobs": 1, "prepared_codes": 4, "log_lines": 0, "exclusions": 0}
    assert await plant.queue(batch) == [7, 8, 9, 10]


async def test_a_damaged_unit_that_nobody_voided_keeps_its_job_and_its_exclusion(plant: Plant) -> None:
    batch = await plant.prepared(10, exclude=ska(3), units_per_case=10)
    await plant.pack(batch, allow_partial=True)
    await age(plant)
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == {"reverse_jobs": 1, "prepared_codes": 0, "log_lines": 0, "exclusions": 1}
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(3), reason="damaged"
    )
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == {"reverse_jobs": 0, "prepared_codes": 0, "log_lines": 0, "exclusions": 0}


async def test_an_exclusion_outlives_its_job_as_long_as_the_unit_may_come_out_of_its_case(plant: Plant) -> None:
    batch = await packed(plant)
    await plant.submit(batch, exclude=ska(4))
    await plant.submit(batch, exclude=ska(4))
    await plant.work("reverse_job")
    await age(plant)
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == {"reverse_jobs": 0, "prepared_codes": 0, "log_lines": 0, "exclusions": 1}
    await plant.unlink(ska(4, 5))
    await plant.submit(batch)
    await plant.work("reverse_job")
    assert await plant.queue(batch) == [5]


async def test_a_failed_job_keeps_its_rows_while_it_may_be_retried_and_then_takes_them_along(plant: Plant) -> None:
    batch = await plant.prepared(10, units_per_case=6)
    await plant.pack(batch)
    await plant.sql(
        "UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'no', result_summary = NULL, progress = 50"
    )
    await age(plant)
    await prune(plant.runtime.database, days=DAYS)
    assert (await left(plant))["prepared_codes"] == 10
    await plant.pack(batch, 1)
    await age(plant)
    assert (await prune(plant.runtime.database, days=DAYS))["reverse_jobs"] == 1
    assert (await left(plant))["prepared_codes"] == 0


@pytest.mark.parametrize("status", ["queued", "running"])
async def test_a_job_that_has_not_ended_stays_however_old_it_is(plant: Plant, status: str) -> None:
    batch = await packed(plant)
    job_id = await plant.submit(batch)
    await age(plant)
    lease = ", lease_token = gen_random_uuid(), lease_expires_at = now()" if status == "running" else ""
    await plant.sql(f"UPDATE qr_reverse_jobs SET status = '{status}'{lease} WHERE id = :id", id=job_id)
    await prune(plant.runtime.database, days=DAYS)
    assert [row.id for row in await plant.sql("SELECT id FROM qr_reverse_jobs")] == [job_id]


async def test_many_at_once_share_the_work_in_small_steps(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "STEP", 7)
    for _ in range(3):
        await packed(plant, 60)
    await age(plant)
    lines = (await left(plant))["log_lines"]
    await plant.submit(await plant.batch(5))
    shares = await asyncio.gather(*(prune(plant.runtime.database, days=DAYS) for _ in range(4)))
    shares.append(await prune(plant.runtime.database, days=DAYS))
    whole = {what: sum(share[what] for share in shares) for what in NOTHING}
    assert whole == NOTHING | {"prepared_codes": 180, "reverse_jobs": 3, "log_lines": lines}
    assert await left(plant) == {"reverse_jobs": 1, "prepared_codes": 0, "log_lines": 1, "exclusions": 0}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["prune_consumed", "delete_job", "prune_log_lines"])
async def test_a_killed_run_is_continued_by_the_next(plant: Plant, step: str, moment: str) -> None:
    await packed(plant)
    batch = await plant.prepared(10, units_per_case=5)
    await plant.pack(batch)
    await age(plant)
    with (
        killed_at(RetentionRepository, step, call=1, moment=moment) as kill,
        pytest.raises(DatabaseUnavailable),
    ):
        await prune(plant.runtime.database, days=DAYS)
    assert kill.done
    await prune(plant.runtime.database, days=DAYS)
    assert await left(plant) == {"reverse_jobs": 1, "prepared_codes": 5, "log_lines": 0, "exclusions": 0}
    assert await plant.queue(batch) == [6, 7, 8, 9, 10]


async def test_progress_that_ended_long_ago_goes_with_its_records(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "STEP", 3)
    database, caller = plant.runtime.database, plant.caller
    old, young, unfinished = [
        (await create_sync_batch(database, caller=caller, name="sync", kind="items", total_records=10)).batch_id
        for _ in range(3)
    ]
    for batch_id, reported in ((old, 10), (young, 10), (unfinished, 9)):
        outcomes = [RecordOutcome(str(number), success=True) for number in range(reported)]
        await report_records(database, ReportGroups(), caller=caller, batch_id=batch_id, outcomes=outcomes)
    await plant.sql(
        "UPDATE sync_batch_progress SET completed_at = completed_at - interval '91 days',"
        " created_at = created_at - interval '91 days', updated_at = updated_at - interval '91 days'"
        " WHERE batch_id <> :young",
        young=young,
    )
    assert (await preview_prune(database, days=DAYS))["progress_records"] == 10
    shares = await asyncio.gather(*(prune(database, days=DAYS) for _ in range(3)))
    assert sum(share["progress_records"] for share in shares) == 10
    assert sum(share["progress_batches"] for share in shares) == 1
    kept = await plant.sql("SELECT batch_id, count(*) AS records FROM sync_batch_records GROUP BY batch_id")
    assert {row.batch_id: row.records for row in kept} == {young: 10, unfinished: 9}
    assert {row.batch_id for row in await plant.sql("SELECT batch_id FROM sync_batch_progress")} == {young, unfinished}


async def test_chunks_of_a_ready_batch_are_pruned_and_those_of_a_failed_one_stay(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "STEP", 3)
    monkeypatch.setattr(batches, "CREATING_CHUNK", 2)
    await plant.batch(10)
    await plant.work("hashing")
    hashing, failed = await plant.batch(10), await plant.batch(10)
    await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'no' WHERE id = :id", id=failed.batch_id)
    await plant.sql(
        "UPDATE qr_batch_stages SET created_at = created_at - interval '100 days',"
        " finished_at = finished_at - interval '100 days', run_at = now() + interval '1 hour'"
    )
    young = await plant.batch(10)
    await plant.work("hashing")
    found = await preview_prune(plant.runtime.database, days=DAYS)
    assert found == NOTHING | {"batch_stages": 5 + 1}
    assert await prune(plant.runtime.database, days=DAYS) == found
    rows = await plant.sql("SELECT DISTINCT batch_id FROM qr_batch_stages")
    assert {row.batch_id for row in rows} == {batch.batch_id for batch in (hashing, failed, young)}


async def test_trace_events_stay(plant: Plant) -> None:
    batch = await packed(plant)
    await age(plant)
    before = await plant.sql("SELECT * FROM trace_events ORDER BY id")
    assert (await prune(plant.runtime.database, days=1))["reverse_jobs"] == 1
    assert await plant.sql("SELECT * FROM trace_events ORDER BY id") == before
    assert (await plant.reconcile(batch)).in_case == 10


async def test_settlement_attempts_stay(treasury: Treasury) -> None:
    assert (await treasury.dispatch()).status_code == 200
    await treasury.age(1000 * 86400)

    async def money() -> list[Sequence[Any]]:
        tables = ("transaction_log", "transaction_rows", "events", "open_attempts")
        return [await treasury.sql(f"SELECT * FROM t_akselgate_{table} ORDER BY 1, 2") for table in tables]

    before = await money()
    await prune(treasury.runtime.database, days=1)
    assert await money() == before
    assert len(before[0]) == 1


async def test_idempotency_keys_live_for_two_days(plant: Plant) -> None:
    batch = await plant.batch(10)

    async def submit(key: str) -> None:
        request = RepeatableRequest(
            plant.caller.organisation_id, "/submit", key, b"body", lambda _: StoredAnswer(200, {}, "{}")
        )
        runtime = replace(plant.runtime, database=plant.runtime.database.answering(request))
        await Plant(runtime, plant.caller, plant.order_id).submit(batch)

    for key in ("old", "young"):
        await submit(key)
    await plant.sql(
        "UPDATE idempotency_keys SET created_at = now()"
        " - make_interval(hours => CAST(:hours AS int) + CASE key WHEN 'old' THEN 1 ELSE -1 END)",
        hours=KEY_HOURS,
    )
    assert (await prune(plant.runtime.database, days=DAYS))["idempotency_keys"] == 1
    with pytest.raises(AlreadyAnswered):
        await submit("young")
    await submit("old")


async def test_killed_workers_are_forgotten_after_a_day(plant: Plant) -> None:
    for _ in range(2):
        await report_process(plant.runtime.database, ProcessActivity(), poll_seconds=1)
    await plant.sql(
        "UPDATE worker_processes SET alive_until = now() - interval '25 hours'"
        " WHERE id = (SELECT id FROM worker_processes ORDER BY id LIMIT 1)"
    )
    assert await prune(plant.runtime.database, days=DAYS) == NOTHING | {"worker_processes": 1}


async def test_the_preview_says_what_will_go_and_changes_nothing(plant: Plant) -> None:
    await packed(plant)
    await packed(plant, 10)
    await plant.pack(await plant.prepared(10, units_per_case=5))
    await age(plant)
    before = await left(plant)
    found = await preview_prune(plant.runtime.database, days=DAYS)
    assert found == NOTHING | {"prepared_codes": 25, "log_lines": before["log_lines"], "reverse_jobs": 2}
    assert await left(plant) == before
    assert await prune(plant.runtime.database, days=DAYS) == found


async def when_due(plant: Plant, task: str) -> float:
    """Runs it as a worker does; in how many hours it comes round again."""
    await schedule.plan(plant.runtime)
    await plant.sql("UPDATE periodic_tasks SET run_at = now() WHERE name = :task", task=task)
    outcome = await run_next(plant.runtime, BY_KIND["periodic_task"], StopSignal())
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    [row] = await plant.sql("SELECT run_at - now() AS pause FROM periodic_tasks WHERE name = :task", task=task)
    return float(row.pause.total_seconds() / 3600)


async def test_workers_do_it_every_day(plant: Plant) -> None:
    await packed(plant)
    await age(plant)
    assert await when_due(plant, "prune") > 23
    assert (await left(plant))["reverse_jobs"] == 0


async def test_workers_let_keys_expire_every_hour(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "STEP", 2)
    await plant.sql(
        "INSERT INTO idempotency_keys (manufacturer_org_id, route, key, body_hash, created_at)"
        " SELECT :organisation, '/', number::text, '', now() - number * interval '12 hours'"
        " FROM generate_series(1, 10) AS number",
        organisation=plant.caller.organisation_id,
    )
    assert 0.9 < await when_due(plant, "expire_keys") <= 1
    assert [row.key for row in await plant.sql("SELECT key FROM idempotency_keys ORDER BY key")] == ["1", "2", "3"]


async def test_old_label_jobs_go_with_their_files_and_young_or_live_ones_stay(plant: Plant) -> None:
    batch = await plant.batch(6)
    old = [await plant.label(batch, first_code=ska(number)[0], last_code=ska(number)[0]) for number in (1, 2)]
    await plant.work("label_job")
    await plant.sql("UPDATE label_jobs SET finished_at = now() - interval '91 days'")
    young = await plant.label(batch, first_code=ska(3)[0], last_code=ska(3)[0])
    await plant.work("label_job")
    waiting = await plant.label(batch, first_code=ska(4)[0], last_code=ska(4)[0])
    await plant.sql("UPDATE label_jobs SET created_at = now() - interval '1 year' WHERE id = :id", id=waiting)
    assert (await preview_prune(plant.runtime.database, days=DAYS))["label_jobs"] == len(old)
    pruned = await prune(plant.runtime.database, days=DAYS)
    assert pruned["label_jobs"] == len(old)
    rows = await plant.sql("SELECT id FROM label_jobs ORDER BY id")
    assert [row.id for row in rows] == [young, waiting]
    assert [row.job_id for row in await plant.sql("SELECT DISTINCT job_id FROM label_files")] == [young]
    assert await plant.label_file(young)


async def test_old_print_jobs_go_and_those_that_wait_stay(plant: Plant) -> None:
    batch = await plant.batch(4, units_per_case=2)
    printer_id = await added(plant, f"{own_host()}:9100")
    old, waiting = await ordered(plant, printer_id, batch, 1), await ordered(plant, printer_id, batch, 2)
    await plant.sql(
        "UPDATE print_jobs SET status = 'unknown', sending_at = now(), finished_at = now() - interval '91 days'"
        " WHERE id = :id",
        id=old,
    )
    await plant.sql("UPDATE print_jobs SET created_at = now() - interval '1 year'")
    assert (await preview_prune(plant.runtime.database, days=DAYS))["print_jobs"] == 1
    assert (await prune(plant.runtime.database, days=DAYS))["print_jobs"] == 1
    assert [row.id for row in await plant.sql("SELECT id FROM print_jobs")] == [waiting]
