"""The base classes of requests and responses, the allowed texts, and the pages of lists."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, LiteralString, TypeVar
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from qrtrack.domain.akselgate.dispatches import ACCOUNT, REFERENCE
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.instants import rfc3339
from qrtrack.domain.labels.formats import NAME_PATTERN as FORMAT_NAME_PATTERN
from qrtrack.domain.labels.printers import ADDRESS_PATTERN as PRINTER_ADDRESS_PATTERN
from qrtrack.domain.notifications import EMAIL
from qrtrack.domain.packing.gtin_owners import PREFIX_PATTERN as COMPANY_PREFIX_PATTERN
from qrtrack.domain.packing.numbering import PREFIX_PATTERN
from qrtrack.domain.qr import LOT_PATTERN
from qrtrack.domain.scans import read_code, read_master_code
from qrtrack.schemas.cursors import LARGEST_ROW_ID, CursorValue, decode_cursor, encode_cursor

# PostgreSQL refuses NUL. The other characters mislead a person at a terminal or in a spreadsheet: control characters,
# line separators, and marks that change the writing direction. Pydantic's core runs this regular expression, so 100,000
# codes take milliseconds. Any constrained string already refuses lone surrogates.
ONE_LINE: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]*$"
MANY_LINES: Final = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]*$"
PRINTABLE: Final = r"^[ -~]*$"
EMAIL_ADDRESS: Final = f"^{EMAIL.pattern}$"
HOOK_ADDRESS: Final = r"^https://[!-~]+$"
# ASCII only: look-alike or invisible characters would make another settlement for us, and perhaps the same one for the
# bank.
SETTLEMENT_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
ACCOUNT_PATTERN: Final = f"^{ACCOUNT.pattern}$"
REFERENCE_PATTERN: Final = f"^{REFERENCE.pattern}$"
# Years 2000 to 2099: PostgreSQL, Python and JavaScript agree about them.
MOMENT: Final = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
PATTERNS: Final[Mapping[str, tuple[FieldCode, str]]] = {
    ONE_LINE: (FieldCode.CONTROL_CHARACTERS, "Text may not hold line breaks, control characters or invisible marks"),
    MANY_LINES: (FieldCode.CONTROL_CHARACTERS, "Text may not hold control characters or invisible marks"),
    SETTLEMENT_PATTERN: (FieldCode.NOT_PRINTABLE_ASCII, "Only printable ASCII characters are taken here"),
    PRINTABLE: (FieldCode.NOT_PRINTABLE_ASCII, "Only printable ASCII characters are taken here"),
    PREFIX_PATTERN: (FieldCode.BAD_PREFIX, "A prefix is 1 to 8 of A-Z and 0-9, and ends in a letter"),
    COMPANY_PREFIX_PATTERN: (FieldCode.BAD_COMPANY_PREFIX, "A company prefix has 4 to 12 digits"),
    EMAIL_ADDRESS: (FieldCode.BAD_EMAIL, "This is not one plain e-mail address"),
    HOOK_ADDRESS: (
        FieldCode.BAD_HTTPS_ADDRESS,
        "An address begins with https:// and has no blanks and no letters beyond ASCII",
    ),
    ACCOUNT_PATTERN: (FieldCode.BAD_ACCOUNT, "An account has 5 to 34 digits"),
    REFERENCE_PATTERN: (
        FieldCode.BAD_REFERENCE,
        "A reference has 1 to 15 printable ASCII characters, without blanks around it",
    ),
    FORMAT_NAME_PATTERN: (
        FieldCode.BAD_FORMAT_NAME,
        "A name has 1 to 40 of a-z, 0-9 and hyphens, and does not begin with a hyphen",
    ),
    MOMENT: (FieldCode.BAD_INSTANT, "Write the time as 2031-01-31T08:00:00+07:00"),
    PRINTER_ADDRESS_PATTERN: (
        FieldCode.BAD_PRINTER_ADDRESS,
        "An address is host:port, with a port from 9100 to 9109, such as 192.0.2.7:9100",
    ),
    LOT_PATTERN: (FieldCode.BAD_LOT, "A lot has 1 to 20 letters, digits and signs of the GS1 set, without blanks"),
}
"""What is wrong with text that does not match."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=ONE_LINE)]
Note = Annotated[str, StringConstraints(max_length=2000, pattern=MANY_LINES)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=ONE_LINE)]
"""What a person or a scanner enters in one line; blanks around it are dropped."""


def scanned(read: Callable[[str], str]) -> BeforeValidator:
    """Reads what a scanner sends before length and characters are checked."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


ScannedCode = Annotated[Name, scanned(read_code)]
"""One code, typed or scanned: see domain/scans.py."""
MasterCode = Annotated[
    Name,
    scanned(read_master_code),
    Field(description="The master code in the case's QR.", examples=["K7QWZ4MHT2XA-C0042"]),
]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=MANY_LINES)]

Money = Annotated[
    Decimal,
    # PostgreSQL's driver may return 150000 as 1.5E+5, which people cannot read as an amount.
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str),
    Field(description="Exact, as text."),
]

Instant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""UTC, always with six digits of a second: see `rfc3339`."""


def written_as(pattern: str, complaint: PydanticCustomError) -> BeforeValidator:
    """Accepts text in one spelling only. Pydantic alone would also accept `1_000`, `+5`, `1.0`, `on`, and `0` as a
    date.
    """
    spelling = re.compile(pattern, re.ASCII)

    def check(value: object) -> object:
        if isinstance(value, str) and not spelling.fullmatch(value):
            raise complaint
        return value

    return BeforeValidator(check)


def only(kind: type, complaint: PydanticCustomError) -> BeforeValidator:
    """Accepts only JSON's own type. Pydantic would also convert other types."""

    def check(value: object) -> object:
        if not isinstance(value, kind):
            raise complaint
        return value

    return BeforeValidator(check)


def wrong_type(expected: str, complaint: LiteralString) -> PydanticCustomError:
    return PydanticCustomError(FieldCode.WRONG_TYPE, complaint, {"expected": expected})


# For values that arrive as text: in queries, paths and forms.
DIGITS: Final = written_as(r"-?(0|[1-9][0-9]*)", wrong_type("integer", "Write a whole number in digits, such as 20"))
DECIMAL: Final = written_as(
    r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", wrong_type("number", "Write a number in digits, such as 20 or 2.5")
)
Flag = Annotated[bool, written_as("true|false", wrong_type("boolean", "Write true or false"))]

# For types that JSON does not have. They arrive as text in a body, and a Body is strict.
Id = Annotated[UUID, Field(strict=False)]
NO_DAY: Final = PydanticCustomError(FieldCode.BAD_DATE, "Write the date as YYYY-MM-DD")
Day = Annotated[date, Field(strict=False), written_as("[0-9]{4}-[0-9]{2}-[0-9]{2}", NO_DAY), only(str, NO_DAY)]

NO_MOMENT: Final = PydanticCustomError(FieldCode.BAD_INSTANT, "Write the time as 2031-01-31T08:00:00+07:00")
Moment = Annotated[
    AwareDatetime,
    Field(strict=False),
    written_as(MOMENT, NO_MOMENT),
    only(str, NO_MOMENT),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": MOMENT}),
]
"""An instant in a request, with its offset."""

LARGEST_SEQUENCE: Final = 2**31 - 1
RowId = Annotated[int, DIGITS, Field(ge=1, le=LARGEST_ROW_ID)]

DEFAULT_LIMIT: Final = 100
LONGEST_PAGE: Final = 1000
Limit = Annotated[int, DIGITS, Field(ge=1, le=LONGEST_PAGE, description="How many to return at most.")]
Cursor = Annotated[
    str, Field(max_length=5000, description="`next_cursor` of the previous page. Leave it out to begin.")
]


LONGEST_WAIT: Final = 30
Wait = Annotated[
    float, DECIMAL, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait for a change since the request arrived.")
]

Row = TypeVar("Row")


class Part(BaseModel):
    """Base of objects in request bodies. An unknown field is an error: a mistyped `exclude_code` must not lead to a
    packed damaged unit. Values have JSON's own types: `"1"`, `1.0` and `true` are not the number 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


class Body(Part):
    """Base of request bodies.

    The existing front end also sends these two fields. The router compares them with the token before a service runs,
    so nothing else reads them.
    """

    manufacturer_org_id: Id | None = Field(None, description="If given, it must be the organisation of the token.")
    user_id: Text | None = Field(None, description="If given, it must be the user of the token.")


class View(BaseModel):
    """Base of what answers show: built from rows, and with all its members every time."""

    model_config = ConfigDict(
        from_attributes=True, populate_by_name=True, json_schema_serialization_defaults_required=True
    )


class Answer(View):
    """Base of response bodies."""

    success: Literal[True] = True


class Page(Answer):
    """Base of lists. A subclass adds the rows, in a field named after them."""

    next_cursor: str | None = Field(None, description="Pass it as `cursor` for the next page; null on the last one.")


class Query(BaseModel):
    """Base of query strings. A mistyped filter is an error here too: without it, the route would list everything."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WaitQuery(Query):
    """How long to wait for a change."""

    wait: Wait = 0


class ListQuery(Query):
    """One page of a list."""

    cursor: Cursor | None = None
    limit: Limit = DEFAULT_LIMIT

    @property
    def one_more(self) -> int:
        """Returns how many rows to read: one more than the page shows, which tells whether there is another page."""
        return self.limit + 1

    def after_number(self, largest: int = LARGEST_ROW_ID) -> int:
        """Returns the number of the last row that was seen (0 at the beginning), limited to what its column can hold.
        Raises InvalidInput.
        """
        return 0 if self.cursor is None else min(max(decode_cursor(self.cursor, int)[0], 0), largest)

    def before_number(self) -> int | None:
        """Returns the number of the last row that was seen. Raises InvalidInput."""
        return None if self.cursor is None else int(decode_cursor(self.cursor, int)[0])

    def before_id(self) -> UUID | None:
        """Returns the id of the last row that was seen. Raises InvalidInput."""
        return None if self.cursor is None else UUID(str(decode_cursor(self.cursor, UUID)[0]))

    def page(
        self, name: str, rows: Sequence[Row], key: Callable[[Row], CursorValue | tuple[CursorValue, ...]]
    ) -> dict[str, Any]:
        """Builds the members of a page from `one_more` rows. `key` returns the value, or values, by which the list is
        sorted.
        """
        shown = rows[: self.limit]
        if len(rows) == len(shown):
            return {name: shown, "next_cursor": None}
        last = key(shown[-1])
        return {name: shown, "next_cursor": encode_cursor(*last) if isinstance(last, tuple) else encode_cursor(last)}

    def full_page(self, name: str, rows: Sequence[Row], key: Callable[[Row], CursorValue]) -> dict[str, Any]:
        """Builds a page like `page`, but from `limit` rows: a full page always has a next one, which may be empty."""
        return {name: rows, "next_cursor": encode_cursor(key(rows[-1])) if len(rows) == self.limit else None}
