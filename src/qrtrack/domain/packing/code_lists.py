"""Parses lists of codes as people paste and scan them. Other modules check whether a code exists."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from qrtrack.domain.errors import NAMED_ERRORS, FieldError, InvalidInput, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.code_ranges import not_in_batch
from qrtrack.domain.packing.numbering import parse_serial, serial
from qrtrack.domain.scans import SCAN_LIMIT, Scan, ScanKind, plain_code, read_scan

CODES_LIMIT = 100_000
# A refusal shows this many characters of a token: 100 refused tokens of the greatest length would fill an answer of 1
# MiB.
SHOWN_LENGTH = 200

_SERIAL = r"[A-Za-z0-9]{0,7}[A-Za-z](?:[0-9]{6}|[1-9][0-9]{6,11})"
# A range may have blanks around its hyphen. Other blanks end a token, except the separators 1C to 1F, which Python
# counts as blanks: scanners send one of them (GS), and splitting there would turn parts of a damaged scan into codes.
_BLANK = r" \t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_BETWEEN = f"{_BLANK},;"
# The data of a GS1 symbol may hold commas and semicolons.
_GS1_DATA = (
    r"(?:\x1d|\](?:C1|e0|d2|Q3|J1)|\([0-9]{2,4}\))"
    rf"(?:[^{_BETWEEN}]++|[,;](?!\]|\([0-9]{{2}}|[{_BETWEEN}]|\Z))*+"
)
_TOKEN = re.compile(rf"{_SERIAL}[ \t]*+-[ \t]*+{_SERIAL}(?![^{_BETWEEN}])|{_GS1_DATA}|[^{_BETWEEN}]++")


class _Range(NamedTuple):
    """Serials of one prefix, both ends included."""

    prefix: str
    first: int
    last: int


class ListedScan(NamedTuple):
    """The code of a unit whose symbol was scanned, what else the symbol says, and where it stands in the request."""

    pointer: str
    code: str
    scan: Scan

    def refusal(self) -> FieldError:
        detail = f"The QR of {self.code} names another batch."
        return FieldError(self.pointer, detail, FieldCode.OF_OTHER_BATCH, {"value": self.code})


@dataclass(frozen=True, slots=True)
class PastedCodes:
    """`codes` are upper-case, without repeats, in order of first appearance. `scans` are those that came as symbols of
    units.
    """

    codes: list[str]
    scans: Sequence[ListedScan] = ()


class LabelledBatch(Protocol):
    """What the QR symbols of a batch's units say about the batch."""

    @property
    def uniq_code(self) -> str: ...
    @property
    def gtin(self) -> str | None: ...
    @property
    def lot(self) -> str | None: ...
    @property
    def serial_mode(self) -> str: ...


class UnknownCodes(InvalidInput):
    """Some of the codes are not in the batch; in a recall: not in the organisation. Nothing was changed."""

    slug = "unknown-codes"
    title = "Unknown codes"

    def __init__(self, codes: Sequence[str], *, place: str = "in this batch") -> None:
        super().__init__(
            f"{len(codes)} of the codes are not {place}. Nothing was changed: correct the list.",
            **not_in_batch(codes, field="codes", place=place),
        )


class UnitOfOtherBatch(InvalidInput):
    """The QR of a scanned unit names another batch than this one, whatever batch its code belongs to."""

    slug = "unit-of-other-batch"
    title = "A unit of another batch"

    def __init__(self, scans: Sequence[ListedScan]) -> None:
        super().__init__(
            f"{scans[0].code} was scanned from a unit whose QR names another batch. Nothing was changed: put that unit "
            "aside. If it is only mislabelled, type its code instead of scanning it.",
            errors=[scan.refusal() for scan in scans[:NAMED_ERRORS]],
            error_count=len(scans),
        )


def foreign_scans(scans: Iterable[ListedScan], batch: LabelledBatch) -> list[ListedScan]:
    """Returns the scans whose symbols name another batch. A serial is unique within one organisation only, so the code
    alone does not prove the batch.

    GTIN and lot are compared only if the batch has them. The uniq code is compared only if the batch was not imported:
    imported labels were printed before the batch got its uniq code.
    """
    uniq_code = None if batch.serial_mode == SerialMode.IMPORTED else batch.uniq_code
    return [
        listed
        for listed in scans
        if _differs(listed.scan.uniq_code, uniq_code)
        or _differs(listed.scan.gtin, batch.gtin)
        or _differs(listed.scan.lot, batch.lot)
    ]


def refuse_foreign(scans: Iterable[ListedScan], batch: LabelledBatch) -> None:
    """Raises UnitOfOtherBatch."""
    if foreign := foreign_scans(scans, batch):
        raise UnitOfOtherBatch(foreign)


def _differs(said: str | None, known: str | None) -> bool:
    """Compares without regard to case, because Caps Lock inverts the letters of a scanned lot."""
    return said is not None and known is not None and said.upper() != known.upper()


def parse_codes(elements: Sequence[Any], *, field: str, limit: int = CODES_LIMIT) -> PastedCodes:
    """Expands ranges, and reduces scanned symbols to their codes.

    Raises one InvalidInput with the first NAMED_ERRORS bad tokens, each with the pointer `/{field}/{index}`. Returns
    only possible codes: no control character, NUL or surrogate reaches the database.
    """
    pasted = _Pasted(limit)
    errors: list[FieldError] = []
    for index, element in enumerate(elements):
        pointer = f"/{field}/{index}"
        if not isinstance(element, str):
            errors.append(FieldError(pointer, "A code is text.", FieldCode.WRONG_TYPE, {"expected": "string"}))
        elif code := plain_code(element):
            pasted.codes[code] = None
        else:
            mistakes = islice(pasted.read(element, pointer), NAMED_ERRORS - len(errors))
            errors += (FieldError(pointer, str(mistake), mistake.code, mistake.params) for mistake in mistakes)
        if len(errors) >= NAMED_ERRORS or len(pasted.codes) > limit:
            break
    if len(pasted.codes) > limit:
        more = f"The list names more than {limit:,} codes: send it in parts."
        errors.append(FieldError(f"/{field}", more, FieldCode.TOO_MANY, {"max": limit}))
    if errors:
        raise InvalidInput("The list of codes has mistakes. Correct them and send it again.", errors=errors)
    return PastedCodes(list(pasted.codes), pasted.scans)


def parse_code(text: str, *, field: str) -> PastedCodes:
    """Returns the one code that was scanned or typed. Raises InvalidInput for none and for several."""
    try:
        parsed = parse_codes([text], field=field, limit=1)
    except InvalidInput as error:
        errors = [replace(mistake, pointer=f"/{field}") for mistake in error.errors]
        raise InvalidInput("This is not one code. Scan the unit again.", errors=errors) from error
    if not parsed.codes:
        raise invalid_field(f"/{field}", "There is no code. Scan or type the code of a unit.", FieldCode.REQUIRED)
    return PastedCodes(parsed.codes, [scan._replace(pointer=f"/{field}") for scan in parsed.scans])


class _Mistake(ValueError):
    """A token that is not a code, range or unit."""

    def __init__(self, detail: str, code: FieldCode, **params: Any) -> None:
        super().__init__(detail)
        self.code, self.params = code, params


class _Pasted:
    """The codes that were read so far. It stops growing just above the limit, however many codes the ranges name."""

    def __init__(self, limit: int) -> None:
        self.codes: dict[str, None] = {}
        self.scans: list[ListedScan] = []
        self._limit = limit
        self._following: dict[str, dict[int, int]] = {}

    def read(self, element: str, pointer: str) -> Iterator[_Mistake]:
        """Adds the codes of one element, and yields its mistakes."""
        seen: set[str] = set()
        for match in _TOKEN.finditer(element):
            token = match.group()
            if token in seen:
                continue
            seen.add(token)
            if code := plain_code(token):
                self.codes[code] = None
            else:
                try:
                    self._take(_named_by(token, self._limit), pointer)
                except _Mistake as mistake:
                    yield mistake
            if len(self.codes) > self._limit:
                return

    def _take(self, named: str | _Range | Scan, pointer: str) -> None:
        if isinstance(named, str):
            self.codes[named] = None
        elif isinstance(named, Scan):
            assert named.code is not None
            self.codes[named.code] = None
            self.scans.append(ListedScan(pointer, named.code, named))
        else:
            self.codes.update(dict.fromkeys(self._expanded(named)))

    def _expanded(self, named: _Range) -> Iterator[str]:
        """Yields each serial only once over all ranges: a thousand overlapping ranges cost no more than one.

        `following` maps a yielded serial to a later one that may still be new (a disjoint-set with path compression).
        """
        following = self._following.setdefault(named.prefix, {})
        number = named.first
        while number <= named.last:
            if number in following:
                number = _skip(following, number)
            else:
                following[number] = number + 1
                yield serial(named.prefix, number)
                number += 1


def _skip(following: dict[int, int], number: int) -> int:
    end = number
    while end in following:
        end = following[end]
    while number != end:
        following[number], number = end, following[number]
    return end


def _named_by(token: str, limit: int) -> str | _Range | Scan:
    """Raises _Mistake for a token that names no code, range or unit."""
    if len(token) > SCAN_LIMIT:
        detail = (
            f"The text that begins with {token[:20]!a} is longer than {SCAN_LIMIT} characters: not a possible code."
        )
        raise _Mistake(detail, FieldCode.TOO_LONG, max=SCAN_LIMIT)
    if span := _range_of("".join(token.upper().split())):
        return _checked(span, limit)
    scan = read_scan(token)
    if scan.kind == ScanKind.UNIT:
        return scan
    if scan.kind == ScanKind.CODE and scan.code is not None:
        return scan.code
    detail, code = _WITHOUT_UNIT[scan.kind]
    shown = token[:SHOWN_LENGTH]
    raise _Mistake(detail.format(ascii(shown)), code, value=shown)


_WITHOUT_UNIT: Final = {
    ScanKind.BATCH: (
        "{} is the QR of the whole batch and names no unit: scan or type the code of the unit.", FieldCode.BATCH_QR,
    ),
    ScanKind.LOGISTIC_UNIT: (
        "{} is the SSCC of a box or pallet and names no unit: scan the unit.", FieldCode.NOT_A_UNIT_QR,
    ),
    ScanKind.ADDRESS: ("{} is not the QR of a unit.", FieldCode.NOT_A_UNIT_QR),
    ScanKind.TEXT: (
        "{} is not a possible code: type it as it is printed on the unit.", FieldCode.NOT_A_CODE,
    ),
}  # fmt: skip


def reads_as_range(code: str) -> bool:
    """Returns whether a list of codes would read this code, which contains a hyphen, as a range."""
    return _range_of(code) is not None


def _range_of(token: str) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Returns the two serials of a range. None means that the hyphen is part of an imported code."""
    first, hyphen, last = token.partition("-")
    ends = parse_serial(first), parse_serial(last)
    return (ends[0], ends[1]) if hyphen and ends[0] and ends[1] else None


def _checked(span: tuple[tuple[str, int], tuple[str, int]], limit: int) -> _Range:
    (prefix, first), (last_prefix, last) = span
    shown = f"{serial(prefix, first)}-{serial(last_prefix, last)}"
    if prefix != last_prefix:
        detail = f"The range {shown} has two prefixes: give both ends the same prefix."
        raise _Mistake(detail, FieldCode.RANGE_OF_TWO_PREFIXES, value=shown)
    if first > last:
        detail = f"The range {shown} runs backwards: put the lower code first."
        raise _Mistake(detail, FieldCode.RANGE_BACKWARDS, value=shown)
    if last - first >= limit:
        detail = f"The range {shown} names {last - first + 1:,} codes, and a list may name {limit:,}: send it in parts."
        raise _Mistake(detail, FieldCode.RANGE_TOO_LONG, value=shown, max=limit)
    return _Range(prefix, first, last)
