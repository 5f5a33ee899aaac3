"""Printing: the label of a packed case comes out of its station's printer, at most once, whatever the printer does."""

import asyncio
import re
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from plant import BY_KIND, MadeBatch, Plant, killed_at, ska
from printed_labels import read_zpl
from printer import StandIn, added, ordered, own_host
from qrtrack.domain.labels.print_jobs import LOOK_THEN_REPRINT
from qrtrack.domain.packing.case_packing import CaseAlreadyPacked
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations import printers as connection
from qrtrack.metrics import PRINTS
from qrtrack.repositories.labels.print_jobs import PrintJobRepository
from qrtrack.repositories.queues import PRINT_JOBS
from qrtrack.runtime import open_runtime
from qrtrack.services.claims import claim_work
from qrtrack.services.gauges import read_gauges
from qrtrack.services.labels.printers import claim_values
from qrtrack.services.packing.codes import void_codes
from qrtrack.settings import Settings
from qrtrack.worker.execution import End, execute

STATION = "line-1"
SLOWEST_PRINTER = 100_000
"""Bytes a second: the time for what was sent adds nothing to the seconds of `Patience`."""


class Patience:
    """How many seconds a printer has to answer `~HS`, and to read."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.last()

    def last(self, answer: float = 60, silent: float = 60) -> None:
        self._patch.setattr(connection, "CONNECT_SECONDS", 60)
        self._patch.setattr(connection, "ANSWER_SECONDS", answer)
        self._patch.setattr(connection, "SILENT_SECONDS", silent)
        self._patch.setattr(connection, "SLOWEST_PRINTER", SLOWEST_PRINTER)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """However slow the machine is, a printer that does its work is waited for."""
    return Patience(monkeypatch)


async def jobs(plant: Plant) -> list[Any]:
    return list(await plant.sql("SELECT * FROM print_jobs ORDER BY id"))


async def statuses(plant: Plant) -> list[str]:
    return [job.status for job in await jobs(plant)]


async def become_due(plant: Plant) -> None:
    await plant.sql("UPDATE print_jobs SET run_at = now() WHERE status = 'queued'")


async def packed(plant: Plant, cases: int = 1) -> MadeBatch:
    batch = await plant.prepared(cases * 2, units_per_case=2)
    for case in range(cases):
        await plant.pack(batch, case, station=STATION)
    return batch


def master_codes(printer: StandIn) -> list[str]:
    """The symbols that came out, in order."""
    return [
        data.removeprefix("MA,")
        for label in printer.labels
        for _, _, magnification, data in read_zpl(label.decode())
        if magnification
    ]


async def test_a_packed_case_comes_out_of_the_printer_of_its_station(plant: Plant) -> None:
    async with StandIn().on() as printer, StandIn().on() as other:
        await added(plant, printer)
        await added(plant, other, stations=["line-2"])
        batch = await packed(plant)
        [outcome] = await plant.work("print_job")
        assert outcome.end is End.COMPLETED
        assert master_codes(printer) == batch.master_codes[:1]
        assert other.connections == 0
        [job] = await jobs(plant)
        assert (job.status, job.station, job.sent_bytes) == ("completed", STATION, len(printer.labels[0]))


async def test_without_a_station_or_without_a_printer_nothing_is_ordered(plant: Plant) -> None:
    await added(plant, own_host() + ":9100")
    batch = await plant.prepared(4, units_per_case=2)
    await plant.pack(batch)
    await plant.pack(batch, 1, station="another")
    assert await jobs(plant) == []


async def test_a_label_shows_the_case_as_it_is_when_it_is_sent(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        await packed(plant)
        await plant.unlink(ska(2))
        await plant.work("print_job")
        assert b"1 PCS" in printer.labels[0]


async def test_packing_the_case_again_queues_no_second_label(plant: Plant) -> None:
    async with StandIn().on() as printer:
        printer_id = await added(plant, printer)
        batch = await packed(plant)
        assert await ordered(plant, printer_id, batch) == (await jobs(plant))[0].id
        await plant.unlink(ska(2))
        await plant.link(batch, ska(2), station=STATION)
        await plant.work("print_job")
        assert master_codes(printer) == batch.master_codes[:1]


@pytest.mark.parametrize("undo", ["unlink", "void", "move"])
async def test_undoing_a_pack_withdraws_its_label(plant: Plant, undo: str) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await plant.prepared(4, units_per_case=2)
        await plant.pack(batch, 0, station=STATION)
        if undo == "unlink":
            await plant.unlink(master_code=batch.master_codes[0])
        elif undo == "void":
            await void_codes(
                plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, codes=ska(1, 2), reason="torn"
            )
        else:
            await plant.move(batch, 0, 1)
        await plant.work("print_job")
        moved = undo == "move"
        assert await statuses(plant) == ["cancelled", *(["completed"] if moved else [])]
        assert master_codes(printer) == (batch.master_codes[1:2] if moved else [])


async def test_scanned_units_order_the_label_when_the_case_is_full(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await plant.batch(2, units_per_case=2)
        await plant.link(batch, ska(1), station=STATION)
        assert await jobs(plant) == []
        await plant.link(batch, ska(2), station=STATION)
        await plant.work("print_job")
        assert master_codes(printer) == batch.master_codes


async def test_a_refused_pack_orders_no_label(plant: Plant) -> None:
    await added(plant, own_host() + ":9100")
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, station=STATION)
    with pytest.raises(CaseAlreadyPacked):
        await plant.pack(batch, station=STATION)
    assert len(await jobs(plant)) == 1


async def test_a_printer_that_is_away_is_tried_again_and_then_prints_in_order(plant: Plant) -> None:
    printer = StandIn()
    await added(plant, printer)
    batch = await packed(plant, cases=3)
    [outcome] = await plant.work("print_job")
    assert (outcome.end, await statuses(plant)) == (End.RETRIED, ["queued"] * 3)
    first = (await jobs(plant))[0]
    assert first.error_message == f"{printer.address} cannot be reached: connection refused."
    async with printer.on():
        assert await plant.work("print_job") == [], "the later labels wait for the first one"
        await become_due(plant)
        await plant.work("print_job")
    assert master_codes(printer) == batch.master_codes
    assert [(job.status, job.error_message) for job in await jobs(plant)] == [("completed", None)] * 3


async def test_a_label_that_waited_for_a_day_is_not_printed_any_more(plant: Plant) -> None:
    await added(plant, own_host() + ":9100")
    await packed(plant, cases=2)
    await plant.sql(
        "UPDATE print_jobs SET created_at = now() - interval '25 hours' WHERE id = (SELECT min(id) FROM print_jobs)"
    )
    ends = [outcome.end for outcome in await plant.work("print_job")]
    assert (ends, await statuses(plant)) == ([End.FAILED, End.RETRIED], ["failed", "queued"])


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("paper_out", "the paper is out"),
        ("head_open", "the head is open"),
        ("paused", "it is paused"),
        ("buffer_full", "its buffer is full"),
    ],
)
async def test_a_printer_that_cannot_print_gets_nothing_and_says_why(plant: Plant, trouble: str, words: str) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer, name="Line 1")
        await packed(plant)
        setattr(printer, trouble, True)
        await plant.work("print_job")
        [job] = await jobs(plant)
        assert (job.status, job.error_message) == ("queued", f"Line 1 cannot print: {words}.")
        assert printer.labels == [b""]
        setattr(printer, trouble, False)
        await become_due(plant)
        await plant.work("print_job")
        assert await statuses(plant) == ["completed"]


async def test_a_printer_that_does_not_answer_the_status_request_gets_its_label(
    plant: Plant, patience: Patience
) -> None:
    patience.last(answer=0.1)
    async with StandIn(answers=False).on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        await plant.work("print_job")
        assert await statuses(plant) == ["completed"]
        printer.labels[0] = printer.labels[0].removeprefix(b"~HS")
        assert master_codes(printer) == batch.master_codes


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("fault", ["breaks_after", "hangs_after"])
async def test_a_label_that_breaks_after_the_first_byte_is_unknown_and_delays_no_other(
    plant: Plant, patience: Patience, fault: str, *, answers: bool
) -> None:
    patience.last(answer=60 if answers else 0.1, silent=0.1)
    async with StandIn(answers=answers).on() as printer:
        await added(plant, printer)
        batch = await packed(plant, cases=2)
        setattr(printer, fault, 100)

        def recover() -> None:
            if len(printer.labels) > 1:
                setattr(printer, fault, None)
                patience.last(answer=60 if answers else 0.1)

        printer.on_bytes = recover
        await plant.work("print_job")
        unknown, later = await jobs(plant)
        assert (unknown.status, later.status) == ("unknown", "completed")
        assert re.fullmatch(rf"The connection broke after \d+ bytes: .*\w\. {LOOK_THEN_REPRINT}", unknown.error_message)
        assert batch.master_codes[1] in master_codes(printer)
        await become_due(plant)
        assert await plant.work("print_job") == []
        assert printer.connections == 2


async def test_a_slow_printer_is_waited_for(plant: Plant) -> None:
    async with StandIn(bytes_at_a_time=40, pause=0.05).on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        await plant.work("print_job")
        assert (await statuses(plant), master_codes(printer)) == (["completed"], batch.master_codes)


async def test_a_printer_that_hangs_delays_no_packing(plant: Plant) -> None:
    async with StandIn(hangs_after=1).on() as printer:
        await added(plant, printer)
        batch = await plant.prepared(4, units_per_case=2)
        await plant.pack(batch, 0, station=STATION)
        hung = asyncio.Event()
        printer.on_bytes = lambda: hung.set() if printer.labels[-1] else None
        printing = asyncio.create_task(plant.work("print_job"))
        await hung.wait()
        await plant.pack(batch, 1, station=STATION)
        assert not printing.done()
        assert await statuses(plant) == ["running", "queued"]
        assert await plant.work("print_job") == [], "one label at a time"
        printing.cancel()
        await asyncio.gather(printing, return_exceptions=True)


async def test_one_label_at_a_time_and_in_order_also_with_two_processes(plant: Plant, settings: Settings) -> None:
    async with StandIn(pause=0.01).on() as printer, open_runtime(settings) as second:
        await added(plant, printer)
        batch = await packed(plant, cases=8)
        others = Plant(second, plant.caller)

        async def print_all(at: Plant) -> None:
            while set(await statuses(plant)) != {"completed"}:
                await at.work("print_job")

        await asyncio.gather(*(print_all(at) for at in (plant, others, plant, others)))
        assert master_codes(printer) == batch.master_codes
        assert not printer.overlapped


async def test_claims_at_one_moment_never_give_a_printer_two_labels(plant: Plant) -> None:
    """The later job is claimed while the earlier one is not committed yet: its number is lower."""
    await added(plant, own_host() + ":9100")
    await packed(plant, cases=2)
    first, second = [job.id for job in await jobs(plant)]
    values = claim_values(plant.runtime.settings)
    await plant.sql("UPDATE print_jobs SET status = 'cancelled', finished_at = now() WHERE id = :id", id=first)
    async with plant.runtime.database.write() as earlier:
        [claim] = await earlier.leased(PRINT_JOBS).claim(4, lease_seconds=30, **values)
        assert claim.id == second
        await plant.sql("UPDATE print_jobs SET status = 'queued', finished_at = NULL WHERE id = :id", id=first)
        late = asyncio.create_task(claim_work(plant.runtime.database, PRINT_JOBS, 4, lease_seconds=30, **values))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not await plant.sql(waiting):
            assert not late.done()
            await asyncio.sleep(0.01)
    assert await late == []
    assert await statuses(plant) == ["queued", "running"]


async def test_only_a_process_that_may_print_there_claims_it(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        await packed(plant)
        for networks in ("192.0.2.0/24", "0.0.0.0/0"):
            elsewhere = replace(
                plant.runtime, settings=plant.runtime.settings.model_copy(update={"printer_networks": networks})
            )
            assert await Plant(elsewhere, plant.caller).work("print_job") == []
        assert printer.connections == 0
        await plant.work("print_job")
        assert await statuses(plant) == ["completed"]


async def test_a_printer_that_moved_out_of_the_networks_after_the_claim_gets_nothing(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        await packed(plant)
        [claim] = await BY_KIND["print_job"].claim(plant.runtime, 1)
        await plant.sql("UPDATE printers SET ip = '192.0.2.1'")
        outcome = await execute(plant.runtime, BY_KIND["print_job"], claim, StopSignal())
        assert (outcome.end, await statuses(plant), printer.connections) == (End.RELEASED, ["queued"], 0)


async def test_a_label_withdrawn_while_the_printer_is_called_is_not_sent(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        [claim] = await BY_KIND["print_job"].claim(plant.runtime, 1)
        await plant.unlink(master_code=batch.master_codes[0])
        outcome = await execute(plant.runtime, BY_KIND["print_job"], claim, StopSignal())
        assert (outcome.end, await statuses(plant), printer.labels) == (End.LOST, ["cancelled"], [b""])


async def test_a_worker_that_comes_back_too_late_sends_nothing(plant: Plant) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        await packed(plant)
        handler = BY_KIND["print_job"]
        [late] = await handler.claim(plant.runtime, 1)
        await plant.expire("print_jobs")
        await plant.work("print_job")
        assert (await execute(plant.runtime, handler, late, StopSignal())).end is End.LOST
        assert (await statuses(plant), len(master_codes(printer))) == (["completed"], 1)


async def test_a_process_that_is_stopped_in_the_middle_leaves_unknown(plant: Plant) -> None:
    async with StandIn(hangs_after=10).on() as printer:
        await added(plant, printer)
        await packed(plant)
        handler = BY_KIND["print_job"]
        sending = asyncio.Event()
        printer.on_bytes = lambda: sending.set() if printer.labels[-1] else None
        [claim] = await handler.claim(plant.runtime, 1)
        running = asyncio.create_task(execute(plant.runtime, handler, claim, StopSignal()))
        await sending.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        [job] = await jobs(plant)
        assert job.status == "unknown"
        assert "stopped" in job.error_message


async def test_a_connection_that_breaks_before_the_first_byte_is_tried_again(plant: Plant) -> None:
    """The job was committed as being sent, and the printer hung up at this moment."""
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        begin = PrintJobRepository.begin_sending

        async def hang_up(self: PrintJobRepository, claim: Any) -> None:
            await begin(self, claim)
            await printer.hang_up()

        with patch.object(PrintJobRepository, "begin_sending", hang_up):
            [outcome] = await plant.work("print_job")
        [job] = await jobs(plant)
        assert (outcome.end, job.status, job.sending_at, job.sent_bytes) == (End.RETRIED, "queued", None, 0)
        await become_due(plant)
        await plant.work("print_job")
        assert (await statuses(plant), master_codes(printer)) == (["completed"], batch.master_codes)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["get_claimed", "begin_sending", "complete"])
async def test_a_database_that_goes_away_at_any_step_prints_once_at_most(plant: Plant, step: str, moment: str) -> None:
    async with StandIn().on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        with killed_at(PrintJobRepository, step, call=1, moment=moment) as kill:
            await plant.work("print_job")
        assert kill.done
        await become_due(plant)
        await plant.work("print_job")
        assert (await statuses(plant), master_codes(printer)) == (["completed"], batch.master_codes)


async def test_printers_that_are_away_and_prints_that_nobody_knows_of_are_counted(plant: Plant) -> None:
    unknown = PRINTS.labels("unknown")._value
    before = unknown.get()
    async with StandIn(breaks_after=100).on() as printer:
        await added(plant, printer)
        batch = await packed(plant)
        await plant.work("print_job")
    assert unknown.get() == before + 1
    await ordered(plant, await added(plant, own_host() + ":9100"), batch)
    await plant.work("print_job")
    zone = ZoneInfo("Asia/Jakarta")
    assert (await read_gauges(plant.runtime.database, zone=zone)).printers_away == 0
    await plant.sql("UPDATE print_jobs SET created_at = now() - interval '3 minutes'")
    assert (await read_gauges(plant.runtime.database, zone=zone)).printers_away == 1
