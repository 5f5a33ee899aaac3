"""Parses lists of codes as people paste and scan them. Other modules check whether a code exists."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Protocol
from urllib.parse import unquote

from qrtrack.domain.errors import NAMED_ERRORS, FieldError, InvalidInput, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.packing.batches import SerialMode
from qrtrack.domain.packing.numbering import CODE_PATTERN, parse_serial, serial
from qrtrack.domain.root_keys import ALPHABET

CODES_LIMIT = 100_000
TOKEN_LIMIT = 200

_CODE = re.compile(CODE_PATTERN)
# ASCII only: upper-casing would turn the long s, the dotless i or a ligature into a letter of a code.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,19}")
_VISIBLE = re.compile(r"[!-~ \t]+")
_SERIAL = r"[A-Za-z0-9]{0,7}[A-Za-z](?:[0-9]{6}|[1-9][0-9]{6,11})"
# A range may have blanks around its hyphen. Other blanks end a token. The separators 1C to 1F do not, although Python
# counts them as blanks: scanners send one of them (GS), and splitting there would turn parts of a damaged scan into
# codes.
_BETWEEN = r" \t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000,;"
_TOKEN = re.compile(rf"{_SERIAL}[ \t]*+-[ \t]*+{_SERIAL}(?![^{_BETWEEN}])|[^{_BETWEEN}]++")
_URL = re.compile(r"https?://[^/?#]+([^?#]*)(?:[?#].*)?", re.IGNORECASE)
_UNIQ = f"[{ALPHABET}]{{12}}"
_UNIT_PATH = re.compile(
    rf"(?:/q/(?P<uniq>{_UNIQ})|/01/(?P<gtin>[0-9]{{8,14}})(?:/22/[^/]+)?(?:/10/(?P<lot>[^/]+))?/21)/(?P<code>[^/]+)/?\Z",
    re.IGNORECASE,
)
_BATCH_PATH = re.compile(rf"(?:/q/{_UNIQ}|/01/[0-9]{{8,14}}(?:/22/[^/]+)?(?:/10/[^/]+)?)/?\Z", re.IGNORECASE)


class _Range(NamedTuple):
    """Serials of one prefix, both ends included."""

    prefix: str
    first: int
    last: int


class Scan(NamedTuple):
    """A scanned URL of a unit: its code, and what the URL says about the unit's batch."""

    pointer: str
    code: str
    uniq_code: str | None
    gtin: str | None
    lot: str | None

    def refusal(self) -> FieldError:
        detail = f"The QR of {self.code} names another batch."
        return FieldError(self.pointer, detail, FieldCode.OF_OTHER_BATCH, {"value": self.code})


@dataclass(frozen=True, slots=True)
class PastedCodes:
    """The codes of a list. `codes`: in upper case, without repeats, in order of first appearance. `scans`: the codes
    that came as URLs.
    """

    codes: list[str]
    scans: Sequence[Scan] = ()


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


class UnitOfOtherBatch(InvalidInput):
    """The scanned unit belongs to another batch, which has a unit with the same serial: its QR names that batch."""

    slug: ClassVar[str] = "unit-of-other-batch"
    title: ClassVar[str] = "A unit of another batch"

    def __init__(self, scans: Sequence[Scan]) -> None:
        super().__init__(
            f"{scans[0].code} was scanned from a unit whose QR names another batch. Nothing was changed: put that unit "
            "aside. If it is only mislabelled, type its code instead of scanning it.",
            errors=[scan.refusal() for scan in scans[:NAMED_ERRORS]],
            error_count=len(scans),
        )


def foreign_scans(scans: Iterable[Scan], batch: LabelledBatch) -> list[Scan]:
    """Returns the scans of units of other batches. A serial is unique only within one organisation, so the code alone
    proves nothing.

    GTIN and lot are compared only if the batch has them. The uniq code is compared only if the batch was not imported:
    imported labels were printed before the batch got its uniq code.
    """
    uniq_code = None if batch.serial_mode == SerialMode.IMPORTED else batch.uniq_code
    return [
        scan
        for scan in scans
        if _differs(scan.uniq_code, uniq_code) or _differs(scan.gtin, batch.gtin) or _differs(scan.lot, batch.lot)
    ]


def refuse_foreign(scans: Iterable[Scan], batch: LabelledBatch) -> None:
    """Raises UnitOfOtherBatch."""
    if foreign := foreign_scans(scans, batch):
        raise UnitOfOtherBatch(foreign)


def _differs(said: str | None, known: str | None) -> bool:
    return said is not None and known is not None and said != known


def parse_codes(elements: Sequence[Any], *, field: str, limit: int = CODES_LIMIT) -> PastedCodes:
    """Expands ranges, and reduces scanned URLs to their codes.

    Raises one InvalidInput with the first NAMED_ERRORS bad tokens, each with the pointer `/{field}/{index}`. Returns
    only possible codes: no control character, NUL or surrogate reaches the database.
    """
    pasted = _Pasted(limit)
    errors: list[FieldError] = []
    for index, element in enumerate(elements):
        pointer = f"/{field}/{index}"
        if not isinstance(element, str):
            errors.append(FieldError(pointer, "A code is text.", FieldCode.WRONG_TYPE, {"expected": "string"}))
        elif _PLAIN.fullmatch(element):
            pasted.codes[element.upper()] = None
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
        self.scans: list[Scan] = []
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
            if _PLAIN.fullmatch(token):
                self.codes[token.upper()] = None
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
            self.codes[named.code] = None
            self.scans.append(named._replace(pointer=pointer))
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
    if len(token) > TOKEN_LIMIT:
        detail = (
            f"The text that begins with {token[:20]!a} is longer than {TOKEN_LIMIT} characters: not a possible code."
        )
        raise _Mistake(detail, FieldCode.TOO_LONG, max=TOKEN_LIMIT)
    if not _VISIBLE.fullmatch(token):
        raise _Mistake(f"{token!a} has characters that no code has.", FieldCode.NOT_A_CODE, value=token)
    if url := _URL.fullmatch(token):
        return _unit_of(url[1], token)
    if span := _range_of("".join(token.upper().split())):
        return _checked(span, limit)
    return _possible_code(token)


def _unit_of(path: str, url: str) -> Scan:
    if unit := _UNIT_PATH.search(path):
        return Scan(
            pointer="",
            code=_possible_code(unquote(unit["code"])),
            uniq_code=unit["uniq"] and unit["uniq"].upper(),
            gtin=unit["gtin"] and unit["gtin"].zfill(14),
            lot=unit["lot"] and unquote(unit["lot"]),
        )
    if _BATCH_PATH.search(path):
        detail = f"{url} is the QR of the whole batch, not of a unit: scan or type the code of the unit."
        raise _Mistake(detail, FieldCode.BATCH_QR, value=url)
    raise _Mistake(f"{url} is not the QR of a unit.", FieldCode.NOT_A_UNIT_QR, value=url)


def reads_as_range(code: str) -> bool:
    """True for a code with a hyphen that a list of codes would read as a range."""
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


def _possible_code(token: str) -> str:
    code = token.upper() if token.isascii() else token
    if not _CODE.fullmatch(code):
        detail = f"{token!a} is not a possible code: type it as it is printed on the unit."
        raise _Mistake(detail, FieldCode.NOT_A_CODE, value=token)
    return code
