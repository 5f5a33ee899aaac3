"""The worker's part of a label job: the file of one piece, whatever happens to those who draw it."""

import asyncio
from collections.abc import Iterator
from datetime import date
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest

from plant import BASE_URL, BY_KIND, MadeBatch, Plant, killed_at, ska
from printed_labels import payloads_of, read_zpl, symbols_of, text_of
from qrtrack.domain.labels.documents import FileFormat, LabelWriter
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.domain.qr import printed, unit_payload
from qrtrack.domain.stopping import StopSignal
from qrtrack.repositories import Repositories
from qrtrack.repositories.labels.label_contents import LabelContentRepository
from qrtrack.repositories.labels.label_jobs import LabelJobRepository
from qrtrack.services.claims import claim_work
from qrtrack.services.labels import drawing
from qrtrack.services.labels.drawing import Drawing
from qrtrack.services.labels.label_jobs import cancel_label_job, retry_label_job
from qrtrack.services.packing.codes import mark_printed, void_codes
from qrtrack.worker.execution import End, run_next

KIND = BY_KIND["label_job"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part every 4 labels or so: a roll has a page for each."""
    monkeypatch.setattr(drawing, "LABELS_AT_A_TIME", 3)


def expected(batch: MadeBatch, *numbers: int) -> list[str]:
    return sorted(printed(unit_payload(BASE_URL, batch.uniq_code, code)) for code in ska(*numbers))


async def completed(plant: Plant, job_id: UUID) -> bytes:
    await plant.work("label_job")
    assert (await plant.row("label_jobs", job_id)).status == "completed"
    return await plant.label_file(job_id)


async def test_every_symbol_of_a_job_reads_back_and_its_units_are_printed(plant: Plant) -> None:
    batch = await plant.batch(150)
    pdf = await completed(plant, await plant.label(batch))
    assert payloads_of(pdf) == expected(batch, *range(1, 151))
    assert set((await plant.states(batch)).values()) == {"printed"}
    assert await plant.events(batch, "label_job.submitted", "label_job.completed") == [
        ("label_job.submitted", "{[1,151)}"), ("label_job.completed", "{[1,151)}"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {"gtin": "09521234543213", "lot": "L-1"},
        {"gtin": "09521234543213", "lot": "lower", "expires_on": date(2027, 12, 31)},
        {"serial_prefix": "Z"},
    ],
)
async def test_a_unit_with_a_gtin_carries_its_digital_link(plant: Plant, asked: dict[str, Any]) -> None:
    batch = await plant.batch(3, **asked)
    pdf = await completed(plant, await plant.label(batch, preset="a4-24"))
    rows = await plant.sql("SELECT code FROM qr_codes WHERE batch_id = :id", id=batch.batch_id)
    named = {name: value for name, value in asked.items() if name != "serial_prefix"}
    links = [printed(unit_payload(BASE_URL, batch.uniq_code, row.code, **named)) for row in rows]
    assert payloads_of(pdf) == sorted(links)


async def test_void_units_are_skipped_and_counted(plant: Plant) -> None:
    batch = await plant.batch(6)
    await void(plant, batch, 2, 6)
    job_id = await plant.label(batch, preset="roll-50x30")
    assert payloads_of(await completed(plant, job_id)) == expected(batch, 1, 3, 4, 5)
    row = await plant.row("label_jobs", job_id)
    assert (row.label_count, row.drawn_count) == (4, 4)
    assert await plant.events(batch, "label_job.completed") == [("label_job.completed", "{[1,2),[3,6)}")]


async def test_a_unit_that_becomes_void_before_it_is_drawn_is_skipped_too(plant: Plant) -> None:
    batch = await plant.batch(3)
    job_id = await plant.label(batch)
    await void(plant, batch, 3)
    assert payloads_of(await completed(plant, job_id)) == expected(batch, 1, 2)
    assert (await plant.states(batch))[3] == "void"


async def test_a_job_whose_units_all_became_void_fails(plant: Plant) -> None:
    batch = await plant.batch(2)
    job_id = await plant.label(batch)
    await void(plant, batch, 1, 2)
    [outcome] = await plant.work("label_job")
    assert outcome.end is End.FAILED
    assert "no label to draw" in (await plant.row("label_jobs", job_id)).error_message


async def test_a_packed_unit_stays_packed_and_remembers_its_print(plant: Plant) -> None:
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    await completed(plant, await plant.label(batch))
    assert list((await plant.states(batch)).values()) == ["packed", "packed", "printed", "printed"]
    await plant.unlink(master_code=batch.master_codes[0])
    assert set((await plant.states(batch)).values()) == {"printed"}


async def test_labels_show_root_keys_only_where_they_were_asked_for(plant: Plant) -> None:
    batch = await plant.batch(3)
    keys = {
        plant.runtime.keys.unseal(batch.batch_id, row.sequence_number, row.root_key_sealed)
        for row in await plant.sql("SELECT sequence_number, root_key_sealed FROM qr_codes")
    }
    plain = await completed(plant, await plant.label(batch))
    assert not keys & set(text_of(plain).split())
    with_keys = await plant.label(batch, with_root_key=True, reason="Scratch labels")
    assert keys <= set(text_of(await completed(plant, with_keys)).split())
    parts = await plant.sql("SELECT content FROM label_files WHERE job_id = :id", id=with_keys)
    assert all(not bytes(row.content).startswith(b"%PDF") for row in parts), "stored unsealed"
    assert await plant.events(batch, "keys.revealed") == [("keys.revealed", "{[1,4)}")]


async def test_case_labels_say_what_is_in_the_case(plant: Plant) -> None:
    batch = await plant.prepared(5, units_per_case=2)
    await plant.pack(batch)
    pdf = await completed(plant, await plant.label(batch, Labelled.CASES))
    assert payloads_of(pdf) == sorted(batch.master_codes)
    lines = text_of(pdf).split("\r\n")
    assert lines[:6] == [batch.master_codes[0], "CASE 1", "Gold 1 g", *ska(1, 2), "2 PCS INFERRED"]
    assert "PCS" not in "".join(lines[6:]), "the other cases are not packed yet: their labels have no count"
    assert "printed" not in (await plant.states(batch)).values()
    job_id = await plant.label(batch, Labelled.CASES, first_case=2, last_case=3)
    assert payloads_of(await completed(plant, job_id)) == sorted(batch.master_codes[1:3])


async def test_a_job_in_zpl_has_a_row_for_each_label(plant: Plant) -> None:
    batch = await plant.batch(5)
    stream = (await completed(plant, await plant.label(batch, file_format=FileFormat.ZPL, dpi=300))).decode()
    symbols = [field[3] for field in read_zpl(stream) if field[2]]
    assert sorted(symbols) == [f"MA,{payload}" for payload in expected(batch, *range(1, 6))]
    assert stream.count("^XA") == 5


async def test_a_range_and_a_started_sheet(plant: Plant) -> None:
    batch = await plant.batch(10)
    job_id = await plant.label(batch, first_code=ska(4)[0], last_code=ska(7)[0], start_at=64)
    pdf = await completed(plant, job_id)
    assert payloads_of(pdf) == expected(batch, 4, 5, 6, 7)
    assert [page for page, _ in symbols_of(pdf)].count(0) == 2
    states = await plant.states(batch)
    assert [number for number, state in states.items() if state == "printed"] == [4, 5, 6, 7]


STEPS = [
    (LabelJobRepository, "add_parts", 1),
    (LabelJobRepository, "add_parts", 3),
    (LabelJobRepository, "record_drawn", 1),
    (LabelJobRepository, "record_drawn", 2),
    (LabelContentRepository, "mark_printed", 1),
    (LabelJobRepository, "complete", 1),
]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("owner", "step", "call"), STEPS, ids=[f"{step}-{call}" for _, step, call in STEPS])
async def test_killed_anywhere_a_job_ends_with_the_file_that_it_would_have_had(
    plant: Plant, owner: type, step: str, call: int, moment: str
) -> None:
    batch = await plant.batch(11)
    undisturbed = await completed(plant, await plant.label(batch, preset="roll-50x30"))
    again = await plant.label(batch, preset="roll-50x30", reason="Roll torn")
    with killed_at(owner, step, call=call, moment=moment) as kill:
        outcome = await run_next(plant.runtime, KIND, StopSignal())
    assert kill.done
    assert outcome is not None
    assert outcome.end is End.RETRIED
    await plant.sql("UPDATE label_jobs SET run_at = now()")
    assert await completed(plant, again) == undisturbed
    rows = await plant.sql("SELECT part FROM label_files WHERE job_id = :id ORDER BY part", id=again)
    assert [row.part for row in rows] == [1, 2, 3]


@pytest.fixture
def step_by_step() -> Iterator[list[int]]:
    """The labels that were drawn, in order: none may be drawn twice where a part holds it."""
    drawn: list[int] = []
    original = LabelWriter.page

    def page(self: LabelWriter, labels: Any) -> bytes:
        drawn.append(len(labels))
        return original(self, labels)

    with patch.object(LabelWriter, "page", page):
        yield drawn


@pytest.mark.usefixtures("small_parts")
async def test_a_worker_that_takes_a_job_over_draws_only_the_missing_labels(
    plant: Plant, step_by_step: list[int]
) -> None:
    batch = await plant.batch(11)
    job_id = await plant.label(batch, preset="roll-50x30")
    with killed_at(LabelJobRepository, "add_parts", call=2, moment="after"):
        await run_next(plant.runtime, KIND, StopSignal())
    assert len(step_by_step) == 8
    step_by_step.clear()
    await plant.sql("UPDATE label_jobs SET run_at = now()")
    await completed(plant, job_id)
    assert len(step_by_step) == 7


@pytest.mark.usefixtures("small_parts")
async def test_a_late_worker_adds_nothing_to_what_its_successor_has_drawn(plant: Plant) -> None:
    batch = await plant.batch(11)
    job_id = await plant.label(batch, preset="roll-50x30")
    original = Drawing.next_rows
    successors: list[Any] = []

    async def overtaken(self: Drawing, repositories: Repositories) -> Any:
        if not successors:
            successors.append(job_id)
            await plant.expire("label_jobs")
            successors.append(await completed(plant, job_id))
            successors.append(await plant.row("label_jobs", job_id))
        return await original(self, repositories)

    with patch.object(Drawing, "next_rows", overtaken):
        outcome = await run_next(plant.runtime, KIND, StopSignal())
    assert outcome is not None
    assert outcome.end is End.LOST
    assert await plant.row("label_jobs", job_id) == successors[2]
    assert await plant.label_file(job_id) == successors[1]
    assert await plant.events(batch, "label_job.completed") == [("label_job.completed", "{[1,12)}")]


@pytest.mark.usefixtures("small_parts")
async def test_a_job_that_is_cancelled_while_it_is_drawn_leaves_nothing(plant: Plant) -> None:
    batch = await plant.batch(11)
    job_id = await plant.label(batch, preset="roll-50x30")
    original = LabelJobRepository.record_drawn
    cancelled = False

    async def cancel_first(self: Any, *arguments: Any, **values: Any) -> None:
        nonlocal cancelled
        await asyncio.gather(*cancelling)
        await original(self, *arguments, **values)
        if not cancelled:
            cancelled = True
            cancelling.append(
                asyncio.create_task(cancel_label_job(plant.runtime.database, caller=plant.caller, job_id=job_id))
            )

    cancelling: list[asyncio.Task[Any]] = []
    with patch.object(LabelJobRepository, "record_drawn", cancel_first):
        outcome = await run_next(plant.runtime, KIND, StopSignal())
    await asyncio.gather(*cancelling)
    assert outcome is not None
    assert outcome.end is End.LOST
    assert await plant.sql("SELECT 1 FROM label_files") == []
    assert set((await plant.states(batch)).values()) == {"generated"}
    assert (await plant.row("label_jobs", job_id)).status == "cancelled"
    assert payloads_of(await completed(plant, await plant.label(batch))) == expected(batch, *range(1, 12))


@pytest.mark.usefixtures("small_parts")
async def test_a_worker_that_is_asked_to_stop_keeps_the_pages_it_has_drawn(plant: Plant) -> None:
    batch = await plant.batch(11)
    job_id = await plant.label(batch, preset="roll-50x30")
    stop, original = StopSignal(), LabelWriter.page

    def page(self: LabelWriter, labels: Any) -> bytes:
        stop.set()
        return original(self, labels)

    with patch.object(LabelWriter, "page", page):
        outcome = await run_next(plant.runtime, KIND, stop)
    assert outcome is not None
    assert outcome.end is End.RELEASED
    row = await plant.row("label_jobs", job_id)
    assert (row.status, row.attempts, row.drawn_through, row.drawn_count) == ("queued", 0, 1, 1)
    assert payloads_of(await completed(plant, job_id)) == expected(batch, *range(1, 12))


async def test_progress_never_falls_and_is_100_with_the_end(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "LABELS_AT_A_TIME", 3)
    batch = await plant.batch(9)
    job_id = await plant.label(batch, preset="roll-50x30")
    seen: list[int] = []
    original = LabelJobRepository.record_drawn

    async def look(self: Any, *arguments: Any, progress: int) -> None:
        seen.append(progress)
        await original(self, *arguments, progress=progress)

    with patch.object(LabelJobRepository, "record_drawn", look):
        await completed(plant, job_id)
    assert seen == [44, 88]


async def test_a_large_part_is_stored_in_pieces(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PART_BYTES", 1000)
    batch = await plant.batch(70)
    job_id = await plant.label(batch)
    assert payloads_of(await completed(plant, job_id)) == expected(batch, *range(1, 71))
    rows = await plant.sql("SELECT max(octet_length(content)) AS largest, count(*) AS parts FROM label_files")
    assert rows[0].largest == 1000
    assert rows[0].parts == (await plant.row("label_jobs", job_id)).part_count > 10


async def test_a_failed_job_that_is_retried_continues(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "LABELS_AT_A_TIME", 3)
    batch = await plant.batch(9)
    job_id = await plant.label(batch, preset="roll-50x30")
    with killed_at(LabelJobRepository, "record_drawn", call=2, moment="before"):
        await run_next(plant.runtime, KIND, StopSignal())
    await plant.sql("UPDATE label_jobs SET status = 'failed', finished_at = now(), error_message = 'x'")
    await retry_label_job(plant.runtime.database, caller=plant.caller, job_id=job_id)
    assert (await plant.row("label_jobs", job_id)).drawn_through == 4
    assert payloads_of(await completed(plant, job_id)) == expected(batch, *range(1, 10))


async def test_keys_that_are_forgotten_while_the_job_waits_fail_it(plant: Plant) -> None:
    batch = await plant.batch(2)
    job_id = await plant.label(batch, with_root_key=True)
    await plant.sql("UPDATE qr_codes SET root_key_sealed = NULL")
    [outcome] = await plant.work("label_job")
    assert outcome.end is End.FAILED
    assert "was deleted: print without" in (await plant.row("label_jobs", job_id)).error_message


async def test_a_process_that_dies_three_times_over_it_fails_the_job(plant: Plant) -> None:
    batch = await plant.batch(2)
    job_id = await plant.label(batch)
    for _ in range(3):
        [_] = await claim_work(plant.runtime.database, KIND.queue, 1, lease_seconds=30)
        await plant.expire("label_jobs")
    [outcome] = await plant.work("label_job")
    assert outcome.end is End.FAILED
    assert "worker lost" in (await plant.row("label_jobs", job_id)).error_message
    assert set((await plant.states(batch)).values()) == {"generated"}


async def test_units_marked_by_hand_meanwhile_keep_their_time(plant: Plant) -> None:
    batch = await plant.batch(2)
    job_id = await plant.label(batch)
    await mark_printed(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(1))
    [before] = await plant.sql("SELECT printed_at FROM qr_codes WHERE sequence_number = 1")
    await completed(plant, job_id)
    [after] = await plant.sql("SELECT printed_at FROM qr_codes WHERE sequence_number = 1")
    assert after == before


async def void(plant: Plant, batch: MadeBatch, *numbers: int) -> None:
    await void_codes(
        plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(*numbers), reason="torn"
    )
