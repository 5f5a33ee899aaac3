"""Parses CSV files of codes that were printed before this service was in use."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from qrtrack.domain.errors import NAMED_ERRORS, FieldError, InvalidInput
from qrtrack.domain.exports import unquoted
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.batches import Variant
from qrtrack.domain.packing.code_lists import reads_as_range
from qrtrack.domain.packing.exports import CODES, PAYLOAD
from qrtrack.domain.packing.numbering import CODE_PATTERN, parse_serial
from qrtrack.domain.scans import reads_as_twice

ROWS_LIMIT = 1_000_000
VARIANTS_LIMIT = 1_000
COLUMNS = ("code", "root_key", "variant")
# The other columns of an export of codes. They are ignored, so that an exported file can be imported as it is.
EXPORTED = frozenset(column.name for column in (*CODES, PAYLOAD)).difference(COLUMNS)
SHOWN_LENGTH = 40

# The first bytes of files that are not CSV, whatever their file names say. Excel calls UTF-16 "Unicode text".
NOT_CSV = (
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another ZIP file"),
    (b"PK\x05\x06", "an empty ZIP file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls) or another old Office file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"{\\rtf", "an RTF document"),
    (b"<", "an HTML or XML file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
LONGEST_BEGINNING = max(len(beginning) for beginning, _ in NOT_CSV)

_CODE = re.compile(CODE_PATTERN)
_ROOT_KEY = re.compile(r"[A-Z0-9]{4,32}")
_VARIANT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")


@dataclass(frozen=True, slots=True)
class ImportedCodes:
    """The rows of a file in the order of their sequence numbers: variant by variant, each in the order of the file.

    `lines` has the line number of each row; the header is line 1. `highest_numbers` has for each prefix the highest
    number among codes that look like serials of this service. `mistakes` has the first mistakes with their lines, and
    `mistake_count` counts all. If there are mistakes, nothing may be imported, and `codes` are only those that could be
    read.
    """

    codes: Sequence[str]
    root_keys: Sequence[str | None]
    lines: Sequence[int]
    variants: Sequence[Variant]
    highest_numbers: dict[str, int]
    mistakes: Sequence[tuple[int, FieldError]]
    mistake_count: int

    def refusal(self, taken: Iterable[str]) -> InvalidInput:
        """Builds the refusal, which names the first bad rows in the order of the file, and counts all. `taken` are the
        codes that exist already.
        """
        line_of = dict(zip(self.codes, self.lines, strict=True))
        lines = sorted((line_of[code], code) for code in taken)
        named = [(line, _taken(line, code)) for line, code in lines[:NAMED_ERRORS]]
        errors = [error for _, error in sorted([*self.mistakes, *named], key=lambda named: named[0])]
        remedy = "correct the lines named in errors, or delete them from the file, and send it again."
        if len(errors) == 1 and errors[0].pointer == "/file":
            remedy = errors[0].detail
        count = self.mistake_count + len(lines)
        return InvalidInput(f"Nothing was imported: {remedy}", errors=errors[:NAMED_ERRORS], error_count=count)


def _taken(line: int, code: str) -> FieldError:
    detail = f"Line {line}, {code}: this code exists already, or is reserved for a batch of this service."
    return FieldError(f"/file/{line}/code", detail, FieldCode.CODE_EXISTS, {"line": line, "value": code})


class _Unreadable(Exception):
    """The file cannot be read from this line on."""

    def __init__(self, pointer: str, detail: str, code: FieldCode, **params: Any) -> None:
        super().__init__(detail)
        self.error = FieldError(pointer, detail, code, params)


def read_codes(file: BinaryIO) -> ImportedCodes:
    """Parses a CSV file with the header `code[,root_key][,variant]`. The result contains the mistakes."""
    checked, line = _Checked(), 0
    try:
        _refuse_other_formats(file)
        rows = _rows_of(file)
        _, header = next(rows, (1, []))
        columns = _columns(header)
        for line, row in rows:
            if any(row):
                checked.take(line, row, columns)
            if len(checked.rows) > ROWS_LIMIT:
                detail = f"The file has too many rows: at most {ROWS_LIMIT:,} codes a batch."
                raise _Unreadable("/file", detail, FieldCode.TOO_MANY, max=ROWS_LIMIT)
    except _Unreadable as end:
        checked.add(line, end.error)
    return checked.finish()


def _refuse_other_formats(file: BinaryIO) -> None:
    beginning = file.read(LONGEST_BEGINNING)
    file.seek(0)
    found = next((name for known, name in NOT_CSV if beginning.startswith(known)), None)
    if found is None and b"\0" in beginning[:2]:
        found = "UTF-16 text"
    if found is not None:
        detail = f"The file is {found}, not CSV: open it, save it as CSV UTF-8, and send that file."
        raise _Unreadable("/file", detail, FieldCode.NOT_A_CSV_FILE)


def _rows_of(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each row. Reads the file row by row, never all at once."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        delimiter = ";" if ";" in text.readline() else ","
        text.seek(0)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        detail = "The file is not UTF-8 text. Save it as CSV UTF-8 and send it again."
        raise _Unreadable("/file", detail, FieldCode.NOT_UTF8) from error
    except csv.Error as error:
        line = reader.line_num
        detail = f"Line {line} is not CSV: {error}."
        raise _Unreadable(f"/file/{line}", detail, FieldCode.NOT_CSV, line=line) from error
    finally:
        text.detach()


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Returns the place of each named column. Columns without a name, which spreadsheets add, are ignored."""
    names = [cell.lower() for cell in header]
    unknown = next((name for name in names if name and name not in {*COLUMNS, *EXPORTED}), None)
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if "code" not in names:
        wrong = "The column code is missing."
    elif unknown is not None:
        wrong = f"{_shortened(unknown)} is none of them."
    elif twice is not None:
        wrong = f"It names {twice} twice."
    else:
        return {name: place for place, name in enumerate(names) if name}
    detail = f"The first line must name the columns: code, and also root_key and variant if the file has them. {wrong}"
    raise _Unreadable("/file/1", detail, FieldCode.BAD_HEADER)


def _shortened(cell: str) -> str:
    """Shortens the text of a cell for an error message."""
    return cell if len(cell) <= SHOWN_LENGTH else f"{cell[:SHOWN_LENGTH]}…"


class _Checked:
    """The rows read so far, and their mistakes."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str | None, str | None]] = []
        self.mistakes: list[tuple[int, FieldError]] = []
        self.mistake_count = 0
        self._codes: dict[str, int] = {}
        self._keys: dict[str, int] = {}

    def take(self, line: int, row: Sequence[str], columns: dict[str, int]) -> None:
        def cell(name: str) -> str:
            place = columns.get(name)
            return row[place] if place is not None and place < len(row) else ""

        code, key, variant = (
            _upper(cell("code")),
            _upper("".join(cell("root_key").split())),
            unquoted(cell("variant")).strip(),
        )
        beyond = [(place, cell) for place, cell in enumerate(row, 1) if cell and place - 1 not in columns.values()]
        if beyond:
            place, nameless = beyond[0]
            detail = f"has {_shortened(nameless)} in column {place}, which the first line does not name."
            self._refuse(line, "", detail, FieldCode.TOO_MANY_CELLS)
        elif not _CODE.fullmatch(code) or reads_as_range(code) or reads_as_twice(code):
            detail = "has no valid code: 1 to 20 of A-Z, 0-9, dot, underscore, hyphen; no range, no serial twice in it."
            self._refuse(line, "code", detail, FieldCode.BAD_CODE_CELL)
        elif (first := self._codes.setdefault(code, line)) != line:
            self._refuse(line, "code", f"has the code of line {first}.", FieldCode.REPEATED_CELL, first_line=first)
        else:
            self.rows.append((line, code, key or None, variant or None))
            self._check_rest(line, key, variant)

    def _check_rest(self, line: int, key: str, variant: str) -> None:
        if key and not _ROOT_KEY.fullmatch(key):
            detail = "has a root key that is not 4 to 32 of A-Z, 0-9."
            self._refuse(line, "root_key", detail, FieldCode.BAD_ROOT_KEY_CELL)
        elif key and (first := self._keys.setdefault(key, line)) != line:
            detail = f"has the root key of line {first}."
            self._refuse(line, "root_key", detail, FieldCode.REPEATED_CELL, first_line=first)
        elif variant and not _VARIANT.fullmatch(variant):
            detail = "has a variant with more than 64 characters, or with unprintable ones."
            self._refuse(line, "variant", detail, FieldCode.BAD_VARIANT_CELL)

    def _refuse(self, line: int, column: str, detail: str, code: FieldCode, **params: Any) -> None:
        pointer = f"/file/{line}/{column}".rstrip("/")
        self.add(line, FieldError(pointer, f"Line {line} {detail}", code, {"line": line, **params}))

    def add(self, line: int, mistake: FieldError) -> None:
        """Keeps only the first mistakes, since there may be a million. Mistakes of the whole file (line 0) are always
        kept.
        """
        self.mistake_count += 1
        if line == 0 or len(self.mistakes) < NAMED_ERRORS:
            self.mistakes.append((line, mistake))

    def finish(self) -> ImportedCodes:
        quantities: dict[str | None, int] = {}
        for _, _, _, variant in self.rows:
            quantities[variant] = quantities.get(variant, 0) + 1
        self._check_file(quantities)
        order = {variant: place for place, variant in enumerate(quantities)}
        rows = sorted(self.rows, key=lambda row: order[row[3]])
        return ImportedCodes(
            codes=[row[1] for row in rows],
            root_keys=[row[2] for row in rows],
            lines=[row[0] for row in rows],
            variants=[Variant(variant, quantity) for variant, quantity in quantities.items()],
            highest_numbers=_highest(row[1] for row in rows),
            mistakes=self.mistakes,
            mistake_count=self.mistake_count,
        )

    def _check_file(self, quantities: dict[str | None, int]) -> None:
        """Adds the mistakes of the whole file, which are listed first."""
        if not self.rows and not self.mistakes:
            self._refuse_file("There is no code in the file.", FieldCode.TOO_FEW, min=1)
        if len(quantities) > VARIANTS_LIMIT:
            self._refuse_file(f"At most {VARIANTS_LIMIT:,} variants a batch.", FieldCode.TOO_MANY, max=VARIANTS_LIMIT)
        if len(quantities) > 1 and None in quantities:
            self._refuse_file("Either every row has a variant or none has.", FieldCode.VARIANT_MISSING)

    def _refuse_file(self, detail: str, code: FieldCode, **params: Any) -> None:
        self.add(0, FieldError("/file", detail, code, params))


def _upper(cell: str) -> str:
    """Upper-cases ASCII only: upper-casing would turn the long s or a ligature into a letter of a code."""
    return cell.upper() if cell.isascii() else cell


def _highest(codes: Iterable[str]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for prefix, number in filter(None, map(parse_serial, codes)):
        highest[prefix] = max(number, highest.get(prefix, 0))
    return highest
