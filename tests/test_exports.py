"""How files are exported: long tables, clients that hang up, limits, and no files left behind."""

import asyncio
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Event

import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from plant import Plant
from qrtrack.domain.exports import Column, FileType, Kind, unquoted
from qrtrack.exports import OPEN_EXPORTS, Cell, Exports, Spool, Stopped, Table, write_workbook
from qrtrack.limits.heavy_work import TooMuchWork
from qrtrack.services.packing.exports import Wanted, export_codes

COLUMNS = (Column("code", Kind.CODE), Column("number", Kind.NUMBER), Column("note", Kind.FREE_TEXT))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def never() -> bool:
    return False


def test_a_table_that_is_longer_than_a_sheet_goes_on_on_the_next() -> None:
    rows: list[list[Cell]] = [[f"C{number}", number, "x"] for number in range(1, 8)]
    target = io.BytesIO()
    write_workbook(target, [Table("codes", COLUMNS, rows)], is_stopped=never, rows_of_a_sheet=4)
    book = openpyxl.load_workbook(target)
    assert [sheet.title for sheet in book] == ["codes", "codes 2", "codes 3"]
    read = [list(sheet.iter_rows(values_only=True)) for sheet in book]
    assert {sheet[0] for sheet in read} == {("code", "number", "note")}
    assert [list(row) for sheet in read for row in sheet[1:]] == rows
    assert max(map(len, read)) == 4


NASTY: list[Cell] = [
    "=1+1", "http://evil.example", "mailto:a@b.example", "internal:x!A1", "0012", "123456789012345678", "1e5", "{=A1}",
    "_x0041_", " a ", "<b>&\"'", "Süß 黄金 😀", "", None, "\x07", "TRUE", "2026-11-26",
]  # fmt: skip


def test_every_text_comes_back_as_it_was(folder: Path) -> None:
    target = io.BytesIO()
    write_workbook(target, [Table("t", COLUMNS, [[cell, None, cell] for cell in NASTY])], is_stopped=never)
    [sheet] = openpyxl.load_workbook(target).worksheets
    read = list(sheet.iter_rows(min_row=2))
    assert [row[0].value and unescape(str(row[0].value)) for row in read] == [cell or None for cell in NASTY]
    assert {row[0].data_type for row in read if row[0].value is not None} <= {"s", "inlineStr"}
    assert list(folder.iterdir()) == []


def test_a_number_is_a_number(folder: Path) -> None:
    target = io.BytesIO()
    write_workbook(target, [Table("t", COLUMNS, [["a", "7", None], ["b", 2**31 - 1, None]])], is_stopped=never)
    [sheet] = openpyxl.load_workbook(target).worksheets
    assert [cell.value for cell in sheet["B"]] == ["number", 7, 2**31 - 1]


AMOUNTS = ["150000", "0", "-0.5", "999999999999.999", "123456789012345", "1234567890123456", "0.1234567890123456"]


def test_an_amount_that_a_spreadsheet_cannot_keep_is_text() -> None:
    target, columns = io.BytesIO(), [Column("amount", Kind.MONEY)]
    rows: list[list[Cell]] = [[Decimal(amount)] for amount in AMOUNTS]
    write_workbook(target, [Table("t", columns, rows)], is_stopped=never)
    [sheet] = openpyxl.load_workbook(target).worksheets
    read = [cell.value for cell in sheet["A"][1:]]
    assert [str(value) for value in read] == AMOUNTS
    assert [isinstance(value, str) for value in read] == [False] * 5 + [True] * 2


@pytest.mark.parametrize("cell", ["'=1", "''=1", "' -1", "'@x"])
def test_one_apostrophe_before_a_formula_is_dropped(cell: str) -> None:
    assert unquoted(cell) == cell[1:]


@pytest.mark.parametrize("cell", ["=1", "'", "'90s", "it's", ""])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert unquoted(cell) == cell


def test_a_workbook_that_nobody_waits_for_is_given_up_and_leaves_no_file(folder: Path) -> None:
    seen: list[bool] = []

    def rows() -> Iterator[list[Cell]]:
        for number in range(10_000):
            yield [str(number), number, "x" * 100]
        seen.append(bool(list(folder.iterdir())))
        yield ["last", 0, ""]

    with pytest.raises(Stopped):
        write_workbook(io.BytesIO(), [Table("t", COLUMNS, rows())], is_stopped=lambda: bool(seen))
    assert seen == [True], "it was in the middle of its temporary files"
    assert list(folder.iterdir()) == []


def spooled(lines: str = "a,1,x\n") -> Spool:
    spool = Spool(COLUMNS, quotes_formulas=True)
    spool.target.write(lines.encode())
    return spool


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_caller_who_hangs_up_frees_the_thread_and_the_files(folder: Path, *, is_running: bool) -> None:
    """The client hangs up in the middle of the rows, or while its export waits for a thread."""
    with ThreadPoolExecutor(1) as threads:
        made, begun, go = Exports(threads), Event(), Event()

        def slowly(rows: Iterator[list[str]]) -> Iterator[list[str]]:
            for row in rows:
                begun.set()
                while True:
                    yield row

        if not is_running:
            threads.submit(go.wait)
        spool = spooled()
        task = asyncio.create_task(made.finish(spool, COLUMNS, file_type=FileType.XLSX, name="t", derive=slowly))
        await asyncio.to_thread(begun.wait) if is_running else await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        [*_] = await asyncio.gather(asyncio.wrap_future(threads.submit(int)))
        assert spool.file.closed
    assert list(folder.iterdir()) == []


async def test_an_organisation_with_too_many_exports_is_refused_and_others_are_not() -> None:
    with ThreadPoolExecutor(1) as threads:
        made = Exports(threads)
        places = [made.place("greedy") for _ in range(OPEN_EXPORTS)]
        for place in places:
            place.__enter__()
        with pytest.raises(TooMuchWork), made.place("greedy"):
            pass
        with made.place("modest"):
            pass
        places[0].__exit__(None, None, None)
        with made.place("greedy"):
            pass
        for place in places[1:]:
            place.__exit__(None, None, None)
        assert not made._open


async def test_files_of_one_organisation_are_made_one_after_the_other(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five exports at once take only one connection of the pool, so that packing is not blocked."""
    batch, most = await plant.batch(50), 0
    original = Spool._write

    def watched(self: Spool, rows: bytes) -> None:
        nonlocal most
        most = max(most, plant.runtime.database.pool_use()["main"]["in_use"])
        original(self, rows)

    monkeypatch.setattr(Spool, "_write", watched)

    async def export() -> bytes:
        file = await export_codes(
            plant.runtime.database,
            plant.runtime.exports,
            caller=plant.caller,
            batch_id=batch.batch_id,
            wanted=Wanted(FileType.CSV),
        )
        with file.content as content:
            return content.read()

    files = await asyncio.gather(*[export() for _ in range(5)])
    assert most == 1
    assert len(set(files)) == 1
    assert files[0].count(b"\r\n") == 51
