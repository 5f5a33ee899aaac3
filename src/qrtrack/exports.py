"""Files for download. A plain CSV file is what PostgreSQL's COPY wrote. A thread writes XLSX files, and CSV files with
derived columns.

COPY spools the rows to a temporary file first: they are of one snapshot, memory stays constant, and no transaction
waits for a thread or for the client. Short tables (reports, reconciliations) are written from memory instead. Temporary
files have no name and end with the process, except those of XlsxWriter: the thread that writes them deletes them.
"""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from functools import partial
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Self, TypeAlias
from weakref import WeakValueDictionary

import structlog
from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.worksheet import Worksheet

from qrtrack.domain.exports import Column, FileType, Kind, NoRoomForFile
from qrtrack.domain.stopping import StopSignal
from qrtrack.limits.heavy_work import TooMuchWork
from qrtrack.limits.shares import counted
from qrtrack.repositories.copying import CopyTarget

BYTE_ORDER_MARK: Final = "\ufeff"
ROWS_OF_A_SHEET: Final = 1_048_576
# Excel keeps 15 digits of a number. Longer amounts are written as text.
DIGITS_OF_A_NUMBER: Final = 15
# An organisation may have this many exports in one process that wait, are being made or are being downloaded. Each
# needs a temporary file.
OPEN_EXPORTS: Final = 8
COLUMN_WIDTH: Final = 20

Delimiter = Literal[",", ";"]
Cell: TypeAlias = str | int | Decimal | None
Rows: TypeAlias = Iterable[Sequence[Cell]]
Derive: TypeAlias = Callable[[Iterator[list[str]]], Rows]
"""A function that derives the rows of the file from the copied rows. It runs in the export's thread."""

log = structlog.get_logger(__name__)


class Table(NamedTuple):
    """The columns and rows of one sheet. `name` is the name of the sheet."""

    name: str
    columns: Sequence[Column]
    rows: Rows


class ExportedFile(NamedTuple):
    name: str
    content: BinaryIO
    size: int

    @property
    def file_type(self) -> FileType:
        return FileType(self.name.rpartition(".")[2])


class Stopped(Exception):
    """The export was given up before its file was made: the client hung up, or the process is stopping."""


class Spool:
    """A temporary CSV file: a header, then the rows that COPY sends. Use it as a context around the copying: if the
    copying fails, the file is closed. Raises NoRoomForFile.
    """

    def __init__(self, columns: Sequence[Column], delimiter: Delimiter = ",", *, quotes_formulas: bool) -> None:
        with _full_disk_refused():
            self.file: BinaryIO = TemporaryFile()  # noqa: SIM115 - whoever finishes the spool closes it
        self.delimiter: Final = delimiter
        self.target: Final = CopyTarget(self._write, delimiter, quotes_formulas)
        header = delimiter.join(column.name for column in columns)
        self.file.write(f"{BYTE_ORDER_MARK}{header}\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as failed:
            failed.callback(self._discard)
            if kind is None:
                with _full_disk_refused():
                    self.file.flush()
                failed.pop_all()

    def _discard(self) -> None:
        # Closing flushes the buffer, which fails again on a full disk.
        with suppress(OSError):
            self.file.close()

    def _write(self, rows: bytes) -> None:
        with _full_disk_refused():
            self.file.write(rows.replace(b"\n", b"\r\n"))

    def rows(self) -> Iterator[list[str]]:
        """Yields the rows without the header. Closes the file at the end."""
        self.file.seek(0)
        with io.TextIOWrapper(self.file, "utf-8-sig", newline="") as text:
            rows = csv.reader(text, delimiter=self.delimiter)
            next(rows)
            yield from rows


class Exports:
    """Runs the exports of this process, and limits those of each organisation (a share)."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._open: Counter[Hashable] = Counter()
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @contextmanager
    def place(self, share: Hashable) -> Iterator[None]:
        """Counts one export of the share as open until the block ends, when the file is sent. Raises TooMuchWork if the
        share has OPEN_EXPORTS open exports already.
        """
        if self._open[share] >= OPEN_EXPORTS:
            raise TooMuchWork
        with counted(self._open, share):
            yield

    def lock(self, share: Hashable) -> asyncio.Lock:
        """Returns the lock of the share. Its files are made one after the other, so that a share uses one connection
        and one thread.
        """
        return self._locks.setdefault(share, asyncio.Lock())

    async def finish(
        self, spool: Spool, columns: Sequence[Column], *, file_type: FileType, name: str, derive: Derive | None = None
    ) -> BinaryIO:
        """Makes the file from the spooled rows. A plain CSV file is the spool's own file; in all other cases the spool
        is closed.
        """
        if file_type is FileType.CSV and derive is None:
            return spool.file
        table = Table(name, columns, spool.rows() if derive is None else derive(spool.rows()))
        write = partial(_write_csv, delimiter=spool.delimiter) if file_type is FileType.CSV else write_workbook
        return await self._write(write, [table], spool.file)

    async def write_xlsx(self, tables: Sequence[Table]) -> BinaryIO:
        """Makes a workbook with a sheet for each table; a table that is longer than a sheet gets several."""
        return await self._write(write_workbook, tables)

    async def _write(
        self, write: Callable[..., None], tables: Sequence[Table], source: BinaryIO | None = None
    ) -> BinaryIO:
        """Runs in a thread, and closes the source. When it is cancelled it stops the work in the thread, since the next
        export needs the thread.
        """
        stop = StopSignal()

        def run() -> BinaryIO:
            with _full_disk_refused(), ExitStack() as unneeded:
                target = unneeded.enter_context(TemporaryFile())
                write(target, tables, is_stopped=stop.is_set)
                unneeded.pop_all()
            return target

        future = self._threads.submit(run)
        if source is not None:
            future.add_done_callback(lambda _: source.close())
        try:
            return await asyncio.wrap_future(future)
        finally:
            stop.set()


def exported(name: str, content: BinaryIO) -> ExportedFile:
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    return ExportedFile(name, content, size)


@contextmanager
def _full_disk_refused() -> Iterator[None]:
    """Raises NoRoomForFile."""
    try:
        yield
    except (OSError, FileCreateError) as error:
        log.warning("no temporary file can be written: set TMPDIR to a folder with room", reason=str(error))
        raise NoRoomForFile from error


def _write_csv(
    target: BinaryIO, tables: Sequence[Table], *, delimiter: Delimiter, is_stopped: Callable[[], bool]
) -> None:
    text = io.TextIOWrapper(target, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    text.write(BYTE_ORDER_MARK)
    for table in tables:
        writer.writerow(column.name for column in table.columns)
        writer.writerows(_until(is_stopped, table.rows))
    text.detach()


def write_workbook(
    target: BinaryIO,
    tables: Sequence[Table],
    *,
    is_stopped: Callable[[], bool],
    rows_of_a_sheet: int = ROWS_OF_A_SHEET,
) -> None:
    """Writes every cell as text or number, so that none becomes a formula or a link. Each row is flushed to disk:
    memory stays constant.
    """
    with TemporaryDirectory(prefix="qrtrack-export-") as folder:
        options = {
            "constant_memory": True,
            "tmpdir": folder,
            "strings_to_numbers": False,
            "strings_to_formulas": False,
            "strings_to_urls": False,
        }
        workbook = Workbook(target, options)
        try:
            for table in tables:
                _write_table(workbook, table, is_stopped, rows_of_a_sheet)
            workbook.close()
        finally:
            for sheet in workbook.worksheets():
                sheet._opt_close()  # noqa: SLF001 - XlsxWriter has no public way to give up a workbook


def _write_table(workbook: Workbook, table: Table, is_stopped: Callable[[], bool], rows_of_a_sheet: int) -> None:
    sheet = _add_sheet(workbook, table, 1)
    writers = _writers(sheet, table.columns)
    line, number = 0, 1
    for row in _until(is_stopped, table.rows):
        line += 1
        if line == rows_of_a_sheet:
            line, number = 1, number + 1
            sheet = _add_sheet(workbook, table, number)
            writers = _writers(sheet, table.columns)
        for place, write in writers:
            cell = row[place]
            if cell is not None and cell != "":
                write(line, place, cell)


def _add_sheet(workbook: Workbook, table: Table, number: int) -> Worksheet:
    sheet = workbook.add_worksheet(table.name if number == 1 else f"{table.name} {number}")
    sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
    sheet.set_column(0, len(table.columns) - 1, COLUMN_WIDTH)
    sheet.freeze_panes(1, 0)
    for place, column in enumerate(table.columns):
        sheet.write_string(0, place, column.name)
    return sheet


def _writers(sheet: Worksheet, columns: Sequence[Column]) -> list[tuple[int, Callable[[int, int, Any], Any]]]:
    def write_number(line: int, place: int, cell: str | int) -> None:
        sheet.write_number(line, place, int(cell))

    def write_money(line: int, place: int, amount: Decimal) -> None:
        if len(amount.as_tuple().digits) <= DIGITS_OF_A_NUMBER:
            sheet.write_number(line, place, amount)
        else:
            sheet.write_string(line, place, format(amount, "f"))

    by_kind = {Kind.NUMBER: write_number, Kind.MONEY: write_money}
    return [(place, by_kind.get(column.kind, sheet.write_string)) for place, column in enumerate(columns)]


def _until(is_stopped: Callable[[], bool], rows: Rows) -> Iterator[Sequence[Cell]]:
    for row in rows:
        if is_stopped():
            raise Stopped
        yield row
