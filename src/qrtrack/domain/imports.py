"""Files of codes that were printed before this service was there."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qrtrack.domain.batches import Variant
from qrtrack.domain.code_lists import reads_as_range
from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.numbering import CODE_PATTERN, parse_serial

ROWS_LIMIT = 1_000_000
VARIANTS_LIMIT = 1_000
COLUMNS = ("code", "root_key", "variant")

_CODE = re.compile(CODE_PATTERN)
_ROOT_KEY = re.compile(r"[A-Z0-9]{4,32}")
_VARIANT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")


@dataclass(frozen=True, slots=True)
class ImportedCodes:
    """The rows of a file in the order of their sequence numbers: variant by variant, inside one as in the file.

    `lines` are the rows' places in the file, the header being line 1. `highest_numbers`: by prefix, of the codes that
    look like serials of this service.
    """

    codes: Sequence[str]
    root_keys: Sequence[str | None]
    lines: Sequence[int]
    variants: Sequence[Variant]
    highest_numbers: dict[str, int]

    def errors_of(self, codes: Iterable[str], detail: str) -> list[FieldError]:
        line_of = dict(zip(self.codes, self.lines, strict=True))
        return [
            FieldError(f"/file/{line}/code", f"Line {line}, {code}: {detail}")
            for line, code in sorted((line_of[code], code) for code in codes)
        ]


def read_codes(data: bytes) -> ImportedCodes:
    """A CSV file with the header `code[,root_key][,variant]`. Raises one InvalidInput that names every bad row."""
    rows = _rows_of(data)
    _, header = next(rows, (1, []))
    columns = _columns(header)
    checked = _Checked()
    for line, row in rows:
        if any(row):
            checked.take(line, row, columns)
        if len(checked.rows) > ROWS_LIMIT:
            raise InvalidInput(
                "The file has too many rows.", errors=[FieldError("/file", f"At most {ROWS_LIMIT:,} codes a batch.")]
            )
    return checked.finish()


def _rows_of(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "The file is not UTF-8 text: save it as CSV UTF-8.", errors=[FieldError("/file", "Not UTF-8.")]
        ) from error
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        detail = f"Line {reader.line_num} is not CSV: {error}."
        raise InvalidInput(detail, errors=[FieldError(f"/file/{reader.line_num}", detail)]) from error


def _columns(header: Sequence[str]) -> dict[str, int]:
    columns = {cell.lower(): place for place, cell in enumerate(header)}
    unknown = [name for name in columns if name not in COLUMNS]
    if "code" not in columns or unknown or len(columns) < len(header):
        raise InvalidInput(
            "The first line must name the columns: code, and if there are any root_key and variant.",
            errors=[FieldError("/file/1", "The header must be code[,root_key][,variant].")],
        )
    return columns


class _Checked:
    """The rows read so far, and what is wrong with them."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str | None, str | None]] = []
        self.errors: list[FieldError] = []
        self._codes: dict[str, int] = {}
        self._keys: dict[str, int] = {}

    def take(self, line: int, row: Sequence[str], columns: dict[str, int]) -> None:
        def cell(name: str) -> str:
            place = columns.get(name)
            return row[place] if place is not None and place < len(row) else ""

        code, key, variant = _upper(cell("code")), _upper("".join(cell("root_key").split())), cell("variant")
        if len(row) > len(columns):
            self._refuse(line, "", "has more cells than the header.")
        elif not _CODE.fullmatch(code) or reads_as_range(code):
            self._refuse(line, "code", "is not a code: 1 to 20 of A-Z, 0-9, dot, underscore, hyphen, and no range.")
        elif (first := self._codes.setdefault(code, line)) != line:
            self._refuse(line, "code", f"has the code of line {first}.")
        elif key and not _ROOT_KEY.fullmatch(key):
            self._refuse(line, "root_key", "has a root key that is not 4 to 32 of A-Z, 0-9.")
        elif key and (first := self._keys.setdefault(key, line)) != line:
            self._refuse(line, "root_key", f"has the root key of line {first}.")
        elif variant and not _VARIANT.fullmatch(variant):
            self._refuse(line, "variant", "has a variant of more than 64 or of unprintable characters.")
        else:
            self.rows.append((line, code, key or None, variant or None))

    def _refuse(self, line: int, column: str, detail: str) -> None:
        self.errors.append(FieldError(f"/file/{line}/{column}".rstrip("/"), f"Line {line} {detail}"))

    def finish(self) -> ImportedCodes:
        quantities: dict[str | None, int] = {}
        for _, _, _, variant in self.rows:
            quantities[variant] = quantities.get(variant, 0) + 1
        if not self.rows and not self.errors:
            self.errors.append(FieldError("/file", "There is no code in the file."))
        if len(quantities) > VARIANTS_LIMIT:
            self.errors.append(FieldError("/file", f"At most {VARIANTS_LIMIT:,} variants a batch."))
        if len(quantities) > 1 and None in quantities:
            self.errors.append(FieldError("/file", "Either every row has a variant or none has."))
        if self.errors:
            raise InvalidInput("The file has mistakes and nothing was imported. Correct them.", errors=self.errors)
        order = {variant: place for place, variant in enumerate(quantities)}
        rows = sorted(self.rows, key=lambda row: order[row[3]])
        return ImportedCodes(
            codes=[row[1] for row in rows],
            root_keys=[row[2] for row in rows],
            lines=[row[0] for row in rows],
            variants=[Variant(variant, quantity) for variant, quantity in quantities.items()],
            highest_numbers=_highest(row[1] for row in rows),
        )


def _upper(cell: str) -> str:
    """Left alone where it is not ASCII: upper-casing would turn the long s or a ligature into letters of a code."""
    return cell.upper() if cell.isascii() else cell


def _highest(codes: Iterable[str]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for prefix, number in filter(None, map(parse_serial, codes)):
        highest[prefix] = max(number, highest.get(prefix, 0))
    return highest
