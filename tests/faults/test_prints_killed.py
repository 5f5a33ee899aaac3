"""Print jobs whose workers are killed, as processes of their own: no label comes out twice, and none is lost."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

from faults.processes import Workers, kill_now, until, workers
from plant import MadeBatch, Plant
from printed_labels import read_zpl
from printer import StandIn, added

PATIENCE = 120
CASES, KILLS = 16, 6
SETTINGS = {"lease_seconds": 2, "poll_seconds": 0.1, "hash_threads": 0, "printer_networks": "127.0.0.0/8"}


async def packed(plant: Plant, cases: int) -> MadeBatch:
    batch = await plant.prepared(cases, units_per_case=1)
    for case in range(cases):
        await plant.pack(batch, case, station="line-1")
    return batch


def came_out(printer: StandIn) -> list[str]:
    """The master codes of the labels that the printer has got whole, in order."""
    return [
        data.removeprefix("MA,")
        for label in printer.labels
        if label.endswith(b"^XZ\r\n")
        for _, _, symbol, data in read_zpl(label.decode())
        if symbol
    ]


async def statuses(plant: Plant) -> list[str]:
    return [row.status for row in await plant.sql("SELECT status FROM print_jobs ORDER BY id")]


async def all_ended(plant: Plant) -> bool:
    return not {"queued", "running"} & set(await statuses(plant))


async def killed_when(started: Workers, happened: asyncio.Event) -> None:
    process = started.start()
    async with asyncio.timeout(PATIENCE):
        await happened.wait()
    await kill_now([process])


async def test_a_worker_killed_before_the_first_byte_prints_nothing_and_the_next_one_prints(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    called, free = asyncio.Event(), asyncio.Event()
    async with StandIn(before_answer=free.wait).on() as printer:
        await added(plant, printer)
        batch = await packed(plant, 1)
        printer.on_bytes = called.set
        with workers(migrated_url, tmp_path, **SETTINGS) as started:
            await killed_when(started, called)
            assert await statuses(plant) == ["running"]
            free.set()
            started.start()
            await until(lambda: all_ended(plant))
        assert (await statuses(plant), came_out(printer)) == (["completed"], batch.master_codes)


async def test_a_worker_killed_after_the_first_byte_leaves_unknown_which_is_never_sent_again(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    begun = asyncio.Event()
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await packed(plant, 3)
        printer.on_bytes = lambda: begun.set() if printer.labels[-1] else None
        printer.hangs_after = 1
        with workers(migrated_url, tmp_path, **SETTINGS) as started:
            await killed_when(started, begun)
            printer.hangs_after = None
            started.start()
            await until(lambda: all_ended(plant))
        assert await statuses(plant) == ["unknown", "completed", "completed"]
        assert came_out(printer)[-2:] == batch.master_codes[1:]
        assert printer.connections == 3
        [first] = await plant.sql("SELECT error_message FROM print_jobs ORDER BY id LIMIT 1")
        assert first.error_message.endswith("Look whether the label was printed. If not, reprint it.")


async def test_workers_killed_at_any_moment_print_no_label_twice(
    plant: Plant, migrated_url: str, tmp_path: Path
) -> None:
    moments = random.Random(14)
    async with StandIn(bytes_at_a_time=100, pause=0.004).on() as printer:
        await added(plant, printer)
        batch = await packed(plant, CASES)
        with workers(migrated_url, tmp_path, **SETTINGS) as started:
            for _ in range(2):
                started.start()
            await started.at_work(2)
            for _ in range(KILLS):
                seen = printer.connections
                async with asyncio.timeout(PATIENCE):
                    while printer.connections == seen and not await all_ended(plant):
                        await asyncio.sleep(0.005)
                await asyncio.sleep(moments.uniform(0, 0.06))
                await kill_now([moments.choice(started.processes)])
                started.revive()
            await until(lambda: all_ended(plant))
        jobs: list[Any] = list(await plant.sql("SELECT status, case_id FROM print_jobs ORDER BY id"))
    labels, ends = Counter(came_out(printer)), Counter(job.status for job in jobs)
    assert max(labels.values()) == 1, "a label came out twice"
    assert not printer.overlapped
    assert came_out(printer) == [code for code in batch.master_codes if code in labels], "labels came out of order"
    printed = {code for code, job in zip(batch.master_codes, jobs, strict=True) if job.status == "completed"}
    assert printed <= labels.keys(), "a label that did not come out counts as printed"
    assert set(ends) <= {"completed", "unknown"}, ends
    assert ends["completed"] > 0, ends
