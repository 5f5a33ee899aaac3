"""Printers and print jobs over HTTP: who may print where, what is refused, and how an operator sees what happened."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from plant import Plant
from printed_labels import payloads_of, read_zpl
from printer import StandIn, own_host
from qrtrack.domain.identity import Caller, Role
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.label_jobs import Labelled
from qrtrack.services.packing.batches import forget_keys
from qrtrack.settings import Settings

PRINTERS = "/api/manufacturer/printers"
PRINT_JOBS = "/api/manufacturer/print-jobs"
ROLL = {"kind": "roll", "width": 100, "height": 50}
SHEET = {
    "kind": "sheet",
    "width": 90,
    "height": 50,
    "margins": {"left": 10, "top": 10},
    "pitch": {"x": 95, "y": 55},
    "grid": {"columns": 2, "rows": 4},
}
UNKNOWN = "status = 'unknown', sending_at = now(), finished_at = now()"


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


async def stored(client: httpx2.AsyncClient, address: str = "", **asked: Any) -> Any:
    new = {"name": "Line 1", "address": address or f"{own_host()}:9100", "stations": ["line-1"]} | asked
    answer = await client.post(PRINTERS, json=new)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def completed(plant: Plant, what: Labelled = Labelled.UNITS, **asked: Any) -> str:
    """A label job with its file."""
    batch = await plant.prepared(4, units_per_case=2)
    job_id = await plant.label(batch, what, **asked)
    await plant.work("label_job")
    return str(job_id)


async def test_from_the_printer_to_the_label(client: httpx2.AsyncClient, plant: Plant) -> None:
    async with StandIn().on() as printer:
        kept = await stored(client, printer.address, dpi=300, calibration={"dx": 1})
        assert (kept["address"], kept["ip"], kept["format"], kept["dpi"]) == (printer.address, printer.host, "zpl", 300)
        assert kept["calibration"] == {"dx": 1, "dy": 0, "scale_x": 1, "scale_y": 1}
        batch = await plant.prepared(4, units_per_case=2)
        await plant.pack(batch, station="line-1")
        [listed] = (await client.get(PRINTERS)).json()["printers"]
        assert (listed["waiting_count"], listed["unknown_count"]) == (1, 0)
        asked = {"batch_id": str(batch.batch_id), "case_number": 2}
        answer = await client.post(f"{PRINTERS}/{kept['printer_id']}/print", json=asked)
        assert (answer.status_code, answer.headers["location"]) == (202, answer.json()["status_url"])
        waiting = asyncio.create_task(client.get(answer.json()["status_url"], params={"wait": 30}))
        await plant.work("print_job")
        job = (await waiting).json()
        assert (job["case_number"], job["master_code"], job["station"]) == (2, batch.master_codes[1], None)
        jobs = (await client.get(PRINT_JOBS, params={"printer_id": kept["printer_id"]})).json()["print_jobs"]
        assert [(job["case_number"], job["status"], job["station"]) for job in jobs] == [
            (2, "completed", None), (1, "completed", "line-1"),
        ]  # fmt: skip
        assert "^PW1181" in printer.labels[0].decode()


async def test_where_the_server_may_print_nowhere_it_says_so(
    client: httpx2.AsyncClient, plant: Plant, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await stored(client)
    batch = await plant.prepared(2, units_per_case=2)
    assert (await client.get(PRINTERS)).json()["printing"] == "on"
    monkeypatch.setitem(settings.__dict__, "printer_networks", "")
    listed = (await client.get(PRINTERS)).json()
    assert (listed["printing"], len(listed["printers"])) == ("off", 1)
    asked = {"batch_id": str(batch.batch_id), "case_number": 1}
    for answer in (
        await client.post(PRINTERS, json={"name": "Line 2", "address": "127.0.0.1:9100"}),
        await client.patch(f"{PRINTERS}/{kept['printer_id']}", json={"address": "127.0.0.1:9100"}),
        await client.post(f"{PRINTERS}/{kept['printer_id']}/print", json=asked),
    ):
        assert (answer.status_code, slug(answer)) == (503, "printing-off")
        assert "PRINTER_NETWORKS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"address": "192.0.2.7:9100"}, "/address", "outside_networks"),
        ({"address": "0x7f.1.2.3:80"}, "/address", "bad_printer_address"),
        ({"address": "nosuch.invalid:9100"}, "/address", "unknown_host"),
        ({"format": "zpl", "preset": "a4-8"}, "/preset", "not_a_roll"),
        ({"preset": "nosuch"}, "/preset", "unknown_format"),
        ({"stations": ["x"] * 101}, "/stations", "too_many"),
        ({"dpi": 301}, "/dpi", "not_allowed_value"),
    ],
)
async def test_a_printer_that_cannot_be_printed_to_is_refused(
    client: httpx2.AsyncClient, plant: Plant, change: Any, pointer: str, code: str
) -> None:
    new = {"name": "Line 1", "address": f"{own_host()}:9100"}
    assert pointers(await client.post(PRINTERS, json=new | change)) == [(pointer, code)]
    kept = await stored(client)
    assert pointers(await client.patch(f"{PRINTERS}/{kept['printer_id']}", json=change)) == [(pointer, code)]
    [row] = await plant.sql("SELECT name, preset, dpi FROM printers")
    assert row == ("Line 1", None, 203)


async def test_a_name_is_looked_up_once_and_what_was_found_is_connected_to(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name that leads elsewhere afterwards changes nothing."""
    async with StandIn().on() as printer:
        loop = asyncio.get_running_loop()
        found, asked = [printer.host, "192.0.2.7"], []

        async def lookup(host: str, port: int, **_more: Any) -> Any:
            asked.append(host)
            return [(2, 1, 6, "", (found[min(len(asked), 2) - 1], port))]

        monkeypatch.setattr(loop, "getaddrinfo", lookup)
        kept = await stored(client, "printer-3.plant.example:9100")
        assert (kept["address"], kept["ip"]) == ("printer-3.plant.example:9100", printer.host)
        batch = await plant.prepared(2, units_per_case=2)
        await plant.pack(batch, station="line-1")
        await plant.work("print_job")
        assert (len(printer.labels), asked) == (1, ["printer-3.plant.example"])
        moved = await client.patch(f"{PRINTERS}/{kept['printer_id']}", json={"address": "printer-3.plant.example:9100"})
        assert pointers(moved) == [("/address", "outside_networks")]


async def test_a_printer_is_changed_field_by_field_and_deleted_with_its_jobs(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    async with StandIn().on() as printer:
        kept = await stored(client, preset="roll-50x30")
        path = f"{PRINTERS}/{kept['printer_id']}"
        batch = await plant.prepared(2, units_per_case=2)
        await plant.pack(batch, station="line-1")
        changed = (await client.patch(path, json={"address": printer.address, "preset": None})).json()
        assert changed == kept | {
            "address": printer.address, "ip": printer.host, "preset": None, "waiting_count": 1,
            "updated_at": changed["updated_at"],
        }  # fmt: skip
        await plant.work("print_job")
        assert len(printer.labels) == 1, "what waited is printed on the printer as it is now"
        assert (await client.delete(path)).json() == {"success": True, "printer_id": kept["printer_id"]}
        assert (await client.get(PRINT_JOBS)).json()["print_jobs"] == []
        for answer in (await client.delete(path), await client.patch(path, json={"dpi": 600})):
            assert answer.status_code == 404
    events = await plant.sql("SELECT action, details FROM trace_events WHERE action LIKE 'printer.%' ORDER BY id")
    assert [event.action for event in events] == ["printer.added", "printer.changed", "printer.deleted"]
    assert [event.details["address"] for event in events] == [kept["address"], printer.address, printer.address]


async def test_two_printers_of_an_organisation_cannot_have_one_name(client: httpx2.AsyncClient) -> None:
    await stored(client)
    other = await stored(client, name="Line 2")
    again = {"name": "Line 1", "address": f"{own_host()}:9100"}
    for answer in (
        await client.post(PRINTERS, json=again),
        await client.patch(f"{PRINTERS}/{other['printer_id']}", json={"name": "Line 1"}),
    ):
        assert (answer.status_code, slug(answer)) == (409, "printer-name-taken")


async def test_a_format_that_a_printer_uses_stays_one_that_it_can_print(client: httpx2.AsyncClient) -> None:
    """Otherwise the labels of its next cases would fail."""
    path = "/api/manufacturer/label-formats/mine"
    assert (await client.put(path, json=ROLL)).is_success
    kept = await stored(client, preset="mine")
    for answer in (await client.put(path, json=SHEET), await client.delete(path)):
        assert (answer.status_code, slug(answer)) == (409, "format-in-use")
        assert "Line 1" in answer.json()["detail"]
    assert (await client.put(path, json=ROLL | {"height": 40})).is_success
    assert (await client.patch(f"{PRINTERS}/{kept['printer_id']}", json={"preset": None})).is_success
    assert (await client.put(path, json=SHEET)).is_success
    await client.patch(f"{PRINTERS}/{kept['printer_id']}", json={"format": "pdf", "preset": "mine"})
    assert (await client.put(path, json=SHEET)).is_success, "a PDF printer prints sheets as well"
    assert slug(await client.delete(path)) == "format-in-use"


async def test_a_format_is_deleted_or_given_to_a_printer_and_never_both(client: httpx2.AsyncClient) -> None:
    path = "/api/manufacturer/label-formats/mine"
    printer = f"{PRINTERS}/{(await stored(client))['printer_id']}"
    for _ in range(10):
        assert (await client.put(path, json=ROLL)).is_success
        given, deleted = await asyncio.gather(client.patch(printer, json={"preset": "mine"}), client.delete(path))
        assert {given.status_code, deleted.status_code} in ({200, 409}, {200, 422})
        assert given.is_success != deleted.is_success
        assert (await client.patch(printer, json={"preset": None})).is_success


async def test_an_organisation_has_room_for_so_many_printers(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.services.labels.printers.PRINTERS_OF_ORGANISATION", 2)
    new = [{"name": f"Line {number}", "address": f"{own_host()}:9100"} for number in range(4)]
    answers = await asyncio.gather(*(client.post(PRINTERS, json=one) for one in new))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 422, 422]
    assert len(await plant.sql("SELECT id FROM printers")) == 2


async def test_printers_are_those_of_the_organisation(client: httpx2.AsyncClient, sign_in: Any, plant: Plant) -> None:
    kept = await stored(client)
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, station="line-1")
    other = sign_in(Caller("other", uuid4(), frozenset({Role.MANAGER})))
    assert (await other.get(PRINTERS)).json()["printers"] == []
    assert (await other.get(PRINT_JOBS)).json()["print_jobs"] == []
    theirs = await stored(other)
    asked = {"batch_id": str(batch.batch_id), "case_number": 1}
    for answer in (
        await other.post(f"{PRINTERS}/{kept['printer_id']}/print", json=asked),
        await other.post(f"{PRINTERS}/{theirs['printer_id']}/print", json=asked),
        await other.post(f"{PRINTERS}/{theirs['printer_id']}/print", json={"label_job_id": await completed(plant)}),
    ):
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("file_format", list(FileFormat))
async def test_the_file_of_a_label_job_comes_out_whole(
    client: httpx2.AsyncClient, plant: Plant, file_format: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtrack.services.labels.drawing.PART_BYTES", 256)
    async with StandIn(answers=file_format is FileFormat.ZPL).on() as printer:
        kept = await stored(client, printer.address, format=file_format)
        job_id = await completed(plant, file_format=file_format)
        [job] = await plant.sql("SELECT part_count, file_bytes FROM label_jobs")
        assert job.part_count > 2
        answer = await client.post(f"{PRINTERS}/{kept['printer_id']}/print", json={"label_job_id": job_id})
        await plant.work("print_job")
        sent = (await client.get(answer.json()["status_url"])).json()
        assert (sent["status"], sent["label_job_id"], sent["sent_bytes"]) == ("completed", job_id, job.file_bytes)
        printed = printer.labels[0]
        units = (
            payloads_of(printed)
            if file_format is FileFormat.PDF
            else [data for _, _, symbol, data in read_zpl(printed.decode()) if symbol]
        )
        assert len(units) == 4
        rows = await plant.sql("SELECT details FROM trace_events WHERE action = 'label_job.completed'")
        assert [row.details["first_prints"] for row in rows] == [4], "the label job marked them, once"


async def test_units_that_were_sent_to_a_printer_are_sent_again_with_a_reason_only(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    kept, other = await stored(client), await stored(client, name="Line 2")
    job_id = await completed(plant, file_format=FileFormat.ZPL)
    path = f"{PRINTERS}/{kept['printer_id']}/print"
    answers = await asyncio.gather(*(client.post(path, json={"label_job_id": job_id}) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409]
    again = await client.post(f"{PRINTERS}/{other['printer_id']}/print", json={"label_job_id": job_id})
    assert (slug(again), again.json()["printed_count"]) == ("already-printed", 4)
    reprint = await client.post(path, json={"label_job_id": job_id, "reason": "Roll torn"})
    job = (await client.get(reprint.json()["status_url"])).json()
    assert (job["reason"], job["status"]) == ("Roll torn", "queued")
    events = await plant.sql(
        "SELECT reason, unit_count FROM trace_events WHERE action = 'print_job.ordered' ORDER BY id"
    )
    assert [tuple(event) for event in events] == [(None, 4), ("Roll torn", 4)]
    [unit] = await plant.sql("SELECT code FROM qr_codes WHERE sequence_number = 1")
    trace = (await client.get(f"/api/manufacturer/trace/{unit.code}")).json()
    last = trace["events"][-1]
    assert (last["action"], last["details"]["printer_name"]) == ("print_job.ordered", "Line 1")


async def test_a_job_that_was_cancelled_before_it_was_sent_needs_no_reason_to_be_printed(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    kept, job_id = await stored(client), await completed(plant, file_format=FileFormat.ZPL)
    path = f"{PRINTERS}/{kept['printer_id']}/print"
    first = (await client.post(path, json={"label_job_id": job_id})).json()["status_url"]
    assert (await client.post(f"{first}/cancel")).json()["status"] == "cancelled"
    again = await client.post(f"{first}/cancel")
    assert (again.status_code, slug(again)) == (409, "invalid-state")
    assert (await client.post(path, json={"label_job_id": job_id})).status_code == 202


async def test_an_operator_confirms_once_that_an_unknown_label_was_printed(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    """Two operators press at once: one is recorded. Then neither the printer nor the list asks for it any more."""
    kept, batch = await stored(client), await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, station="line-1")
    [job] = (await client.get(PRINT_JOBS)).json()["print_jobs"]
    confirm = f"{PRINT_JOBS}/{job['print_job_id']}/confirm"
    early = await client.post(confirm)
    assert (slug(early), early.json()["state"]) == ("invalid-state", "queued")
    await plant.sql(f"UPDATE print_jobs SET {UNKNOWN}, error_message = 'The connection broke.'")
    assert (await client.get(PRINTERS)).json()["printers"][0]["unknown_count"] == 1

    answers = await asyncio.gather(*(client.post(confirm) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert {slug(answer) for answer in answers if answer.status_code == 409} == {"invalid-state"}
    after = (await client.get(f"{PRINT_JOBS}/{job['print_job_id']}")).json()
    assert (after["status"], after["error_message"]) == ("completed", None)
    assert (await client.get(PRINTERS)).json()["printers"][0]["unknown_count"] == 0
    assert (await client.get(PRINT_JOBS, params={"status": "unknown"})).json()["print_jobs"] == []
    events = await plant.sql("SELECT actor, details FROM trace_events WHERE action = 'print_job.confirmed'")
    assert [(event.actor, event.details["print_job_id"]) for event in events] == [
        (plant.caller.user_id, job["print_job_id"])
    ]
    trace = (await client.get(f"/api/manufacturer/trace/{batch.master_codes[0]}")).json()
    assert trace["events"][-1]["details"]["printer_name"] == kept["name"]


async def test_a_printer_counts_no_unknown_label_that_was_printed_again(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    async with StandIn().on() as printer:
        kept, batch = await stored(client, printer.address), await plant.prepared(2, units_per_case=2)
        await plant.pack(batch, station="line-1")
        await plant.sql(f"UPDATE print_jobs SET {UNKNOWN}")
        asked = {"batch_id": str(batch.batch_id), "case_number": 1}
        await client.post(f"{PRINTERS}/{kept['printer_id']}/print", json=asked)
        await plant.work("print_job")
    assert (await client.get(PRINTERS)).json()["printers"][0]["unknown_count"] == 0


async def test_a_label_job_that_the_printer_cannot_print_is_refused(client: httpx2.AsyncClient, plant: Plant) -> None:
    kept, pdf = await stored(client), await completed(plant)
    path = f"{PRINTERS}/{kept['printer_id']}/print"
    refused = await client.post(path, json={"label_job_id": pdf})
    assert pointers(refused) == [("/label_job_id", "other_format")]
    finer = await completed(plant, file_format=FileFormat.ZPL, dpi=300)
    refused = await client.post(path, json={"label_job_id": finer})
    assert refused.json()["errors"][0]["params"] == {"value": "zpl 300", "expected": "zpl 203"}
    waiting = str(await plant.label(await plant.batch(2, serial_prefix="WAI"), file_format=FileFormat.ZPL))
    assert slug(await client.post(path, json={"label_job_id": waiting})) == "label-file-not-ready"
    batch_id = str((await plant.sql("SELECT batch_id FROM label_jobs LIMIT 1"))[0].batch_id)
    both = {"label_job_id": pdf, "batch_id": batch_id, "case_number": 1}
    assert pointers(await client.post(path, json=both)) == [
        ("/batch_id", "exactly_one_of"), ("/case_number", "exactly_one_of"),
    ]  # fmt: skip
    assert (await client.post(path, json={"batch_id": batch_id, "case_number": 99})).status_code == 404


async def test_a_file_that_waits_is_not_sent_to_a_printer_of_another_format(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    async with StandIn().on() as printer:
        kept, job_id = await stored(client, printer.address), await completed(plant, file_format=FileFormat.ZPL)
        path = f"{PRINTERS}/{kept['printer_id']}"
        queued = await client.post(f"{path}/print", json={"label_job_id": job_id})
        assert (await client.patch(path, json={"format": "pdf"})).status_code == 200
        await plant.work("print_job")
        job = (await client.get(queued.json()["status_url"])).json()
        assert (job["status"], printer.connections) == ("failed", 0)
        assert job["error_message"] == "The printer takes pdf now, and the file is zpl 203."


async def test_root_keys_that_a_printer_gets_are_traced_and_those_that_were_forgotten_are_not_printed(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    async with StandIn().on() as printer:
        kept = await stored(client, printer.address)
        job_id = await completed(plant, file_format=FileFormat.ZPL, with_root_key=True)
        queued = await client.post(f"{PRINTERS}/{kept['printer_id']}/print", json={"label_job_id": job_id})
        assert queued.status_code == 202, queued.text
        events = await plant.sql("SELECT actor, unit_count FROM trace_events WHERE action = 'keys.revealed'")
        assert [(event.actor, event.unit_count) for event in events] == [(plant.caller.user_id, 4)]
        [row] = await plant.sql("SELECT batch_id FROM label_jobs")
        await plant.work("hashing")
        await forget_keys(plant.runtime.database, caller=plant.caller, batch_id=row.batch_id)
        await plant.work("print_job")
        job = (await client.get(queued.json()["status_url"])).json()
        assert (job["status"], job["sent_bytes"], printer.connections) == ("failed", 0, 0)
        assert "deleted" in job["error_message"]


async def test_an_operator_prints_cases_and_no_label_jobs(
    sign_in: Any, client: httpx2.AsyncClient, plant: Plant
) -> None:
    kept, job_id = await stored(client), await completed(plant, file_format=FileFormat.ZPL)
    operator = sign_in(Caller("o", plant.caller.organisation_id, frozenset({Role.OPERATOR})))
    path = f"{PRINTERS}/{kept['printer_id']}/print"
    assert slug(await operator.post(path, json={"label_job_id": job_id})) == "missing-role"
    batch_id = str((await plant.sql("SELECT batch_id FROM label_jobs"))[0].batch_id)
    assert (await operator.post(path, json={"batch_id": batch_id, "case_number": 1})).status_code == 202
    assert (await operator.get(PRINT_JOBS)).json()["print_jobs"][0]["created_by"] == "o"


async def test_print_jobs_that_need_a_person_are_listed_with_advice(client: httpx2.AsyncClient, plant: Plant) -> None:
    async with StandIn(breaks_after=100).on() as printer:
        await stored(client, printer.address)
        batch = await plant.prepared(4, units_per_case=2)
        await plant.pack(batch, 0, station="line-1")
        await plant.pack(batch, 1, station="line-1")
        await plant.work("print_job")
        first = (await client.get(PRINT_JOBS, params={"status": "unknown", "limit": 1})).json()
        then = {"status": "unknown", "limit": 1, "cursor": first["next_cursor"]}
        second = (await client.get(PRINT_JOBS, params=then)).json()
        assert [page["print_jobs"][0]["case_number"] for page in (first, second)] == [2, 1]
        assert second["next_cursor"] is None
        assert first["print_jobs"][0]["error_message"].endswith(
            "Look whether the label was printed. If not, reprint it."
        )
        [listed] = (await client.get(PRINTERS)).json()["printers"]
        assert (listed["waiting_count"], listed["unknown_count"]) == (0, 2)


async def test_why_a_label_waits_is_shown_at_its_printer(client: httpx2.AsyncClient, plant: Plant) -> None:
    kept = await stored(client)
    batch = await plant.prepared(2, units_per_case=2)
    await plant.pack(batch, station="line-1")
    await plant.work("print_job")
    [listed] = (await client.get(PRINTERS)).json()["printers"]
    assert listed["error_message"] == f"{kept['address']} cannot be reached: connection refused."
    [job] = (await client.get(PRINT_JOBS)).json()["print_jobs"]
    assert (job["status"], job["attempts"], job["sending_at"]) == ("queued", 1, None)
    assert job["next_attempt_at"] > job["created_at"]
