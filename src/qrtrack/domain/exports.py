"""Exports: the columns of an exported table, and the name of the file. `qrtrack.exports` writes the files."""

import re
import unicodedata
from enum import StrEnum
from typing import Final, NamedTuple

from qrtrack.domain.errors import Unavailable


class NoRoomForFile(Unavailable):
    """The server cannot write its temporary files: their disk is full."""

    slug = "no-room-for-file"
    title = "No room for the file"
    message = "The server has no room to make the file: tell the operator of the service, and try again later."


class Kind(StrEnum):
    """The kind of values in a column. FREE_TEXT is what people typed; only such a value can look like a formula."""

    CODE = "code"
    FREE_TEXT = "free text"
    INSTANT = "instant"
    NUMBER = "number"
    MONEY = "money"


class Column(NamedTuple):
    name: str
    kind: Kind


class FileType(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"


# Matches a cell that a spreadsheet would execute as a formula when it opens the CSV file, also after blanks and in
# full-width characters. It also matches such a cell behind apostrophes: so every quoted cell is restored by dropping
# one apostrophe. PostgreSQL interprets the pattern in the same way.
FORMULA_PATTERN: Final = r"^['\s]*[-=+@\t\r\n＝＋－＠]"
QUOTED_FORMULA: Final = re.compile(rf"'(?={FORMULA_PATTERN[1:]})")

# Characters that file systems refuse in names (Windows refuses most), and blanks.
NOT_IN_NAMES: Final = re.compile(r"[^\w.-]+")
LONGEST_PART: Final = 60


def unquoted(cell: str) -> str:
    """Returns the cell of an exported CSV file as it was before the export quoted it."""
    return cell[1:] if QUOTED_FORMULA.match(cell) else cell


def file_name(*parts: str, file_type: FileType) -> str:
    """Joins the parts with hyphens. Letters of any language are kept."""
    names = (NOT_IN_NAMES.sub("-", unicodedata.normalize("NFC", part)).strip("-.")[:LONGEST_PART] for part in parts)
    return f"{'-'.join(filter(None, names))}.{file_type}"
