"""Exports of the packing line over HTTP: columns, cells, names, roles, keys."""

import asyncio
import csv
import io
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import httpx2
import openpyxl
import pytest
from fastapi import FastAPI

from plant import MadeBatch, Plant, ska
from qrtrack import exports
from qrtrack.exports import OPEN_EXPORTS, Stopped
from qrtrack.runtime import Runtime
from routers.conftest import ClientOf, SignIn

API = "/api/manufacturer"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CODES = ["code", "sequence_number", "variant", "status", "case_number", "master_code"]


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def lines_of(answer: httpx2.Response, delimiter: str = ",") -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-length"] == str(len(answer.content))
    text = answer.content.decode()
    assert text.startswith("\ufeff")
    assert text.count("\r\n") == text.count("\n") == text.count("\r")
    return list(csv.reader(io.StringIO(text[1:], newline=""), delimiter=delimiter))


def sheets_of(answer: httpx2.Response) -> dict[str, list[list[Any]]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XLSX
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    return {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}


def of(batch: MadeBatch, name: str) -> str:
    return f"{API}/batches/{batch.batch_id}/{name}"


async def packed(plant: Plant, **asked: Any) -> MadeBatch:
    """Five units in cases of two; the first case is packed, the third unit excluded."""
    batch = await plant.prepared(5, [f"{asked.get('serial_prefix', 'SKA')}000003"], units_per_case=2, **asked)
    await plant.pack(batch, station="Line 1")
    return batch


async def test_codes_come_in_serial_order_with_their_cases(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await packed(plant)
    expected = [
        [code, number, None, "packed" if number < 3 else "generated", case, case and batch.master_codes[0]]
        for code, number, case in zip(ska(1, 2, 3, 4, 5), range(1, 6), (1, 1, None, None, None), strict=True)
    ]
    header, *rows = lines_of(await client.get(of(batch, "codes.csv")))
    assert header == CODES
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in expected]
    assert sheets_of(await client.get(of(batch, "codes.xlsx"))) == {"codes": [CODES, *expected]}


async def test_cases_say_what_is_in_them_and_when_they_were_packed(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await packed(plant)
    listed = (await client.get(of(batch, "cases"))).json()["cases"]
    columns = [
        "case_number", "master_code", "status", "units", "first_code", "last_code", "completeness", "packed_at",
        "station",
    ]  # fmt: skip
    expected = [[case["actual_units" if name == "units" else name] for name in columns] for case in listed]
    assert expected[0][2:7] == ["packed", 2, "SKA000001", "SKA000002", "inferred"]
    header, *rows = lines_of(await client.get(of(batch, "cases.csv")))
    assert header == columns
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in expected]
    assert sheets_of(await client.get(of(batch, "cases.xlsx"))) == {"cases": [columns, *expected]}


async def test_prepared_codes_come_in_the_order_of_the_queue(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await packed(plant)
    [job] = await plant.sql("SELECT id FROM qr_reverse_jobs")
    query = {"job_id": str(job.id)}
    listed = (await client.get(f"{API}/reverse-job/prepared", params=query)).json()["prepared_codes"]
    columns = ["sequence_number", "code", "status", "consumed_at"]
    expected = [[found[name] for name in columns] for found in listed]
    assert [row[1:3] for row in expected] == [
        [code, status] for code, status in zip(ska(1, 2, 4, 5), ["consumed"] * 2 + ["prepared"] * 2, strict=True)
    ]
    answer = await client.get(f"{API}/reverse-job/prepared.csv", params=query)
    assert lines_of(answer) == [columns, *([str(cell or "") for cell in row] for row in expected)]
    assert f"prepared-Gold-1-g-{batch.uniq_code}-{job.id}.csv" in answer.headers["content-disposition"]
    answer = await client.get(f"{API}/reverse-job/prepared.xlsx", params=query)
    assert sheets_of(answer) == {"prepared": [columns, *expected]}


async def test_the_reconciliation_adds_up_in_the_sheet(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await packed(plant)
    counted = (await client.get(of(batch, "reconciliation"))).json()
    sheets = sheets_of(await client.get(of(batch, "reconciliation.xlsx")))
    header, *rows = sheets["reconciliation"]
    assert header == ["uniq_code", "product_name", "place", "units"]
    assert {tuple(row[:2]) for row in rows} == {(batch.uniq_code, "Gold 1 g")}
    assert {place: units for _, _, place, units in rows} == {
        name: value for name, value in counted.items() if name not in ("success", "batch_id", "differences")
    }
    assert sheets["differences"] == [["code"]]


async def test_a_semicolon_stands_between_cells_where_it_is_asked_for(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(variants=[("10,5; g", 1)])
    [_, row] = lines_of(await client.get(of(batch, "codes.csv"), params={"delimiter": ";"}), ";")
    assert row[:3] == ["SKA000001", "1", "10,5; g"]
    answer = await client.get(of(batch, "codes.csv"), params={"delimiter": "|"})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/delimiter"]


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://evil.example")', "'=1", " =1", "＝1", "'", "a=b"]


async def formulas(plant: Plant) -> tuple[MadeBatch, list[str]]:
    batch = await plant.batch(variants=[(f"v{place}", 1) for place, _ in enumerate(FORMULAS)])
    for place, formula in enumerate(FORMULAS):
        values = {"batch": batch.batch_id, "old": f"v{place}", "new": formula}
        for table in ("qr_codes", "qr_batch_variants"):
            await plant.sql(f"UPDATE {table} SET variant = :new WHERE batch_id = :batch AND variant = :old", **values)
    return batch, FORMULAS


async def test_a_cell_that_a_spreadsheet_would_execute_begins_with_an_apostrophe(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    batch, variants = await formulas(plant)
    await plant.sql("UPDATE qr_master_codes SET station = '@cmd'")
    _, *rows = lines_of(await client.get(of(batch, "codes.csv")))
    assert [row[2] for row in rows] == [f"'{text}" if text not in ("'", "a=b") else text for text in variants]
    _, *cases = lines_of(await client.get(of(batch, "cases.csv")))
    assert {case[8] for case in cases} == {"'@cmd"}


async def test_a_workbook_holds_text_and_neither_formula_nor_link(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch, variants = await formulas(plant)
    await plant.sql("UPDATE qr_codes SET code = '007'  WHERE sequence_number = 1")
    await plant.sql("UPDATE qr_codes SET code = '123456789012345678'  WHERE sequence_number = 2")
    answer = await client.get(of(batch, "codes.xlsx"), params={"payload": "true"})
    _, *rows = sheets_of(answer)["codes"]
    assert [row[2] for row in rows] == variants
    assert [row[0] for row in rows[:3]] == ["007", "123456789012345678", "SKA000003"]
    assert all(row[6].lower().startswith("http") for row in rows)
    with ZipFile(io.BytesIO(answer.content)) as book:
        assert not [name for name in book.namelist() if "rels" in name and "sheet" in name]
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet.lower().replace("=hyperlink(", "")


async def test_a_payload_is_what_the_symbol_says(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(1)
    gtin = await plant.batch(1, gtin="04006381333931", lot="L/1", serial_prefix="GTA")
    query = {"payload": "true"}
    [header, row] = lines_of(await client.get(of(batch, "codes.csv"), params=query))
    assert (header, row[6]) == ([*CODES, "payload"], f"HTTP://127.0.0.1:8000/Q/{batch.uniq_code}/SKA000001")
    [_, row] = lines_of(await client.get(of(gtin, "codes.csv"), params=query))
    assert row[6] == "HTTP://127.0.0.1:8000/01/04006381333931/10/L%2F1/21/GTA000001"


async def test_root_keys_leave_only_when_they_are_asked_for_and_leave_a_trace(
    client: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await plant.batch(3)
    shown = (await client.get(of(batch, "codes"), params={"reveal": "root_key"})).json()["codes"]
    keys = [code["root_key"] for code in shown]
    before = await plant.events(batch)
    plain = await client.get(of(batch, "codes.csv"))
    assert not any(key in plain.text for key in keys)
    assert await plant.events(batch) == before
    for ending in ("csv", "xlsx"):
        answer = await client.get(of(batch, f"codes.{ending}"), params={"reveal": "root_key", "payload": "true"})
        header, *rows = lines_of(answer) if ending == "csv" else sheets_of(answer)["codes"]
        assert header == [*CODES, "root_key", "payload"]
        assert [row[6] for row in rows] == keys
        assert "no-store" in answer.headers["cache-control"]
        assert "codes-with-root-keys" in answer.headers["content-disposition"]
    traced = await plant.sql("SELECT action, actor, unit_count FROM trace_events ORDER BY id DESC LIMIT 2")
    assert {tuple(row) for row in traced} == {("keys.revealed", plant.caller.user_id, 3)}
    await plant.sql("UPDATE qr_codes SET root_key_sealed = NULL")
    [_, *rows] = lines_of(await client.get(of(batch, "codes.csv"), params={"reveal": "root_key"}))
    assert [row[6] for row in rows] == ["", "", ""]


async def test_a_key_that_does_not_open_is_a_refusal_and_no_half_file(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(3)
    await plant.sql("UPDATE qr_codes SET root_key_sealed = '\\x00' WHERE sequence_number = 3")
    answer = await client.get(of(batch, "codes.csv"), params={"reveal": "root_key"})
    assert (answer.status_code, slug(answer)) == (503, "seal-broken")


@pytest.mark.parametrize(
    ("product", "plain", "extended"),
    [
        ("Gold 1 g", "codes-Gold-1-g-{}.csv", None),
        ("Kopi «Süß» 1/2", "codes-Kopi-Su-1-2-{}.csv", "codes-Kopi-S%C3%BC%C3%9F-1-2-{}.csv"),
        ("黄金", "codes--{}.csv", "codes-%E9%BB%84%E9%87%91-{}.csv"),
        ('../"; x=', "codes-x-{}.csv", None),
    ],
)
async def test_the_name_says_what_the_file_is(
    client: httpx2.AsyncClient, plant: Plant, product: str, plain: str, extended: str | None
) -> None:
    batch = await plant.batch(1)
    await plant.sql("UPDATE qr_batches SET product_name = :product", product=product)
    said = (await client.get(of(batch, "codes.csv"))).headers["content-disposition"]
    expected = f'attachment; filename="{plain.format(batch.uniq_code)}"'
    if extended is not None:
        expected += f"; filename*=UTF-8''{extended.format(batch.uniq_code)}"
    assert said == expected


async def test_an_exported_file_can_be_imported_as_it_is(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, plant: Plant
) -> None:
    batch, variants = await formulas(plant)
    variants = [text.strip() for text in variants]
    asked = {"reveal": "root_key", "payload": "true"}
    for delimiter in (",", ";"):
        file = (await client.get(of(batch, "codes.csv"), params={**asked, "delimiter": delimiter})).content
        form = {"order_id": str(uuid4()), "product_name": "Gold 1 g"}
        made = await stranger.post(f"{API}/batches/import", data=form, files={"file": ("codes.csv", file)})
        assert made.status_code == 202, made.text
        query = {"reveal": "root_key"}
        theirs, ours = [
            (await whose.get(f"{API}/batches/{batch_id}/codes", params=query)).json()["codes"]
            for whose, batch_id in ((stranger, made.json()["batch_id"]), (client, batch.batch_id))
        ]
        assert [code["root_key"] for code in theirs] == [code["root_key"] for code in ours]
        assert [(code["code"], code["variant"]) for code in theirs] == list(
            zip([code["code"] for code in ours], variants, strict=True)
        )
        await plant.sql("DELETE FROM qr_codes WHERE batch_id = :id", id=UUID(made.json()["batch_id"]))


async def test_half_a_batch_is_not_exported(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch_id = (await plant.order(5)).batch_id
    for name in ("codes.csv", "codes.xlsx", "cases.csv", "cases.xlsx", "reconciliation.xlsx"):
        answer = await client.get(f"{API}/batches/{batch_id}/{name}")
        assert (answer.status_code, slug(answer)) == (409, "batch-not-ready")


async def test_an_operator_exports_nothing_and_a_stranger_finds_nothing(
    operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, plant: Plant
) -> None:
    batch = await packed(plant)
    [job] = await plant.sql("SELECT id FROM qr_reverse_jobs")
    paths = [of(batch, name) for name in ("codes.csv", "codes.xlsx", "cases.csv", "cases.xlsx", "reconciliation.xlsx")]
    paths += [f"{API}/reverse-job/prepared.{ending}?job_id={job.id}" for ending in ("csv", "xlsx")]
    for path in paths:
        assert slug(await operator.get(path)) == "missing-role"
        assert (await stranger.get(path)).status_code == 404


class Hanging:
    """A client that stops reading, or hangs up: in the middle of the body, or before it begins."""

    def __init__(self, client: httpx2.AsyncClient, path: str) -> None:
        url = client.base_url.join(path)
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": url.path, "raw_path": url.raw_path, "query_string": url.query,
            "headers": [(b"authorization", client.headers["Authorization"].encode())], "server": ("test", 80),
        }  # fmt: skip
        self.is_reading, self.has_hung_up = asyncio.Event(), asyncio.Event()
        self.is_asked = False

    async def receive(self) -> dict[str, Any]:
        if not self.is_asked:
            self.is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.has_hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.is_reading.set()
            await asyncio.Event().wait()


async def test_a_slow_client_holds_no_connection_and_one_who_hangs_up_no_file(
    app: FastAPI, client: httpx2.AsyncClient, plant: Plant, runtime: Runtime
) -> None:
    batch = await packed(plant)
    slow = Hanging(client, of(batch, "codes.xlsx"))
    answering = asyncio.create_task(app({**slow.scope, "state": {"runtime": runtime}}, slow.receive, slow.send))
    await slow.is_reading.wait()
    assert runtime.database.pool_use()["main"]["in_use"] == 0
    assert runtime.exports._open == {plant.caller.organisation_id: 1}
    lines_of(await client.get(of(batch, "codes.csv")))
    slow.has_hung_up.set()
    await answering
    assert not runtime.exports._open


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Whether a workbook is being written, which takes until it is given up; and whether it was."""
    monkeypatch.setattr("qrtrack.routers.downloads.LOOK_SECONDS", 0.01)
    begun, stopped = threading.Event(), threading.Event()

    def write(_target: object, _tables: object, *, is_stopped: Callable[[], bool]) -> None:
        begun.set()
        while not is_stopped():
            time.sleep(0.001)
        stopped.set()
        raise Stopped

    monkeypatch.setattr(exports, "write_workbook", write)
    return begun, stopped


async def test_a_client_who_hangs_up_while_the_file_is_made_ends_the_work(
    app: FastAPI,
    client: httpx2.AsyncClient,
    plant: Plant,
    runtime: Runtime,
    endless: tuple[threading.Event, threading.Event],
) -> None:
    begun, stopped = endless
    gone = Hanging(client, of(await packed(plant), "codes.xlsx"))
    answering = asyncio.create_task(app({**gone.scope, "state": {"runtime": runtime}}, gone.receive, gone.send))
    await asyncio.to_thread(begun.wait)
    gone.has_hung_up.set()
    await answering
    await asyncio.to_thread(stopped.wait)
    assert not runtime.exports._open
    assert runtime.database.pool_use()["main"]["in_use"] == 0


async def test_a_process_that_stops_does_not_wait_for_a_long_workbook(
    client: httpx2.AsyncClient, plant: Plant, runtime: Runtime, endless: tuple[threading.Event, threading.Event]
) -> None:
    begun, stopped = endless
    asked = asyncio.create_task(client.get(of(await packed(plant), "codes.xlsx")))
    await asyncio.to_thread(begun.wait)
    runtime.stopping.set()
    answer = await asked
    assert (answer.status_code, slug(answer)) == (503, "unavailable")
    await asyncio.to_thread(stopped.wait)
    assert not runtime.exports._open


async def test_too_many_exports_at_once_are_refused_with_a_time_to_come_again(
    client: httpx2.AsyncClient, plant: Plant, runtime: Runtime
) -> None:
    batch = await packed(plant)
    with ExitStack() as places:
        for _ in range(OPEN_EXPORTS):
            places.enter_context(runtime.exports.place(plant.caller.organisation_id))
        answer = await client.get(of(batch, "codes.csv"))
        assert (answer.status_code, slug(answer), answer.headers["retry-after"]) == (503, "too-much-work", "5")
    lines_of(await client.get(of(batch, "codes.csv")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is a full disk")
@pytest.mark.parametrize(("codes", "sound"), [(5, 0), (500, 0), (5, 1)])
async def test_a_full_disk_is_a_refusal_and_the_connection_goes_on(
    client: httpx2.AsyncClient, plant: Plant, monkeypatch: pytest.MonkeyPatch, codes: int, sound: int
) -> None:
    """At the end of the rows, where few are written at once; in the middle of them; in the thread, which writes a
    second file.
    """
    batch = await plant.batch(codes)
    sound_files = iter([tempfile.TemporaryFile] * sound)

    def open_file() -> Any:
        return next(sound_files, partial(open, "/dev/full", "w+b"))()

    with monkeypatch.context() as full:
        full.setattr(exports, "TemporaryFile", open_file)
        answer = await client.get(of(batch, "codes.csv"), params={"payload": "true"})
    assert (answer.status_code, slug(answer)) == (503, "no-room-for-file")
    assert len(lines_of(await client.get(of(batch, "codes.csv")))) == codes + 1
    assert not plant.runtime.exports._open


async def test_payloads_leave_only_where_they_lead_somewhere(
    sign_in: SignIn, client_of: ClientOf, plant: Plant, runtime: Runtime, app: FastAPI
) -> None:
    """In production, PUBLIC_BASE_URL must be set before symbols are printed."""
    batch = await packed(plant)
    production = runtime.settings.model_copy(update={"qrtrack_env": "production"})
    client = client_of(app, replace(runtime, settings=production))
    client.headers.update(sign_in(plant.caller).headers)
    answer = await client.get(of(batch, "codes.csv"), params={"payload": "true"})
    assert (answer.status_code, slug(answer)) == (409, "public-base-url-is-loopback")
    lines_of(await client.get(of(batch, "codes.csv")))
