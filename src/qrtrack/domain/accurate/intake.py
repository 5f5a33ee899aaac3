"""What an Accurate request holds: its elements with their own text, read without trusting any of them."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

TEXT_LENGTH: Final = 255
LARGEST_ID: Final = 2**63 - 1
# Stands before the digits of a JSON number, which stay text: neither a huge integer nor a long fraction costs anything,
# and the number 1 is not the string "1".
NUMBER: Final = "\0"

BLANK: Final = re.compile(r"[ \t\n\r]*")
# What matters for finding where an element ends: strings whole, so that a bracket inside one does not count. Nothing is
# tried twice (`++`, `*+`), and a string that never ends is met once: else its quotes would cost their square.
STEP: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|(?P<open>\Z))|[\[{]+|[\]}]+', re.DOTALL)
# Far more than Accurate sends at once.
MOST_ELEMENTS: Final = 10_000
# Commas and opening brackets, in strings too. One call of the JSON decoder keeps the interpreter to itself, for half a
# microsecond a value: 16 MiB of brackets were 5.7 s. An event has tens of values, a long invoice thousands.
MOST_VALUES: Final = 1_000_000
MOST_VALUES_OF_ONE: Final = 20_000
# Where an element has too many values, so many levels are named as the reason.
DEEP: Final = 1000
TOO_DEEP: Final = "It is nested too deeply to be read."
TOO_LONG: Final = f"It has more than {MOST_VALUES_OF_ONE:,} values: too many to be read."


class UnreadableBody(Exception):
    """The body is not JSON: there is no element that could be kept."""


class TooManyElements(Exception):
    """More elements, or values in them, than one request may hold."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Stands for the value of an element that was not parsed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the request as it is kept. `error` says why it is no event; `note`, what was left out of it.

    `content_hash` is the same for the same content, whatever its white space and the order of its keys.
    """

    payload: str
    content_hash: bytes
    type: str = ""
    database_id: int | None = None
    uuid: str | None = None
    error: str | None = None
    note: str | None = None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_int=NUMBER.__add__, parse_float=NUMBER.__add__, parse_constant=_no_constant)
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def split_body(body: bytes) -> Iterator[Element]:
    """The elements in their order; one that is no array is its only element. Raises UnreadableBody or TooManyElements,
    where it is met.
    """
    values = sum(map(body.count, (b",", b"[", b"{")))
    if values > MOST_VALUES:
        raise TooManyElements
    try:
        text = body.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("a NUL stands nowhere in JSON")
        for place, (begin, end, value) in enumerate(_spans(text, may_be_long=values > MOST_VALUES_OF_ONE)):
            if place == MOST_ELEMENTS:
                raise TooManyElements
            yield _element(text, begin, end, value)
    except ValueError as error:
        raise UnreadableBody(str(error)) from error


def parse(payload: str) -> Any:
    """The value of a kept payload, its numbers as marked text. Raises ValueError or RecursionError."""
    return _decoder.decode(payload)


def content_hash(payload: str) -> bytes:
    """The same for the same content, whatever its white space and the order of its keys."""
    try:
        canonical = _encoder.encode(parse(payload))
    except (ValueError, RecursionError):
        canonical = payload
    return _hash(canonical)


def without_mark(value: object) -> object:
    """A parsed number as its digits; anything else as it is."""
    return value[1:] if isinstance(value, str) and value.startswith(NUMBER) else value


def stored_text(value: object) -> str | None:
    """Text that fits a column and an index; a number, NUL or a lone surrogate does not."""
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_LENGTH or "\0" in value:
        return None
    return value if value.isascii() or _is_unicode(value) else None


def _spans(text: str, *, may_be_long: bool) -> Iterator[tuple[int, int, Any]]:
    """Begin, end and value of each element. `may_be_long`: an element may have too many values to be parsed."""
    read = _checked_value if may_be_long else _value
    place = _blank(text, 0)
    if text[place : place + 1] != "[":
        end, value = read(text, place)
        _expect_end(text, end)
        yield place, end, value
        return
    place = _blank(text, place + 1)
    if text[place : place + 1] == "]":
        _expect_end(text, place + 1)
        return
    while True:
        end, value = read(text, place)
        yield place, end, value
        place = _blank(text, end)
        if text[place : place + 1] == "]":
            _expect_end(text, place + 1)
            return
        if text[place : place + 1] != ",":
            raise ValueError("an array goes on with a comma or ends")
        place = _blank(text, place + 1)


def _value(text: str, begin: int) -> tuple[int, Any]:
    try:
        value, end = _decoder.raw_decode(text, begin)
    except RecursionError:
        return _end_of_nested(text, begin)[0], Unread(TOO_DEEP)
    return end, value


def _checked_value(text: str, begin: int) -> tuple[int, Any]:
    if text[begin : begin + 1] not in ("[", "{"):
        return _value(text, begin)
    end, depth = _end_of_nested(text, begin)
    if sum(text.count(sign, begin, end) for sign in ",[{") > MOST_VALUES_OF_ONE:
        return end, Unread(TOO_DEEP if depth > DEEP else TOO_LONG)
    return _value(text, begin)


def _end_of_nested(text: str, begin: int) -> tuple[int, int]:
    """Where the array or object ends that begins there, and how many levels it has, by counting brackets alone. Raises
    ValueError.
    """
    depth = deepest = 0
    for step in STEP.finditer(text, begin):
        if step["open"] is not None:
            break
        length = step.end() - step.start()
        if text[step.start()] in "[{":
            depth += length
            deepest = max(deepest, depth)
        elif text[step.start()] in "]}":
            depth -= length
            if depth <= 0:
                return step.end() + depth, deepest
    raise ValueError("brackets that never close")


def _blank(text: str, place: int) -> int:
    found = BLANK.match(text, place)
    assert found is not None
    return found.end()


def _expect_end(text: str, place: int) -> None:
    if _blank(text, place) != len(text):
        raise ValueError("text after the end")


def _element(text: str, begin: int, end: int, value: Any) -> Element:
    payload = text[begin:end]
    try:
        canonical = payload if isinstance(value, Unread) else _encoder.encode(value)
    except RecursionError:
        canonical, value = payload, Unread(TOO_DEEP)
    hashed = _hash(canonical)
    if isinstance(value, Unread):
        return Element(payload, hashed, error=value.reason)
    if not isinstance(value, dict):
        return Element(payload, hashed, error="It is not a JSON object.")
    return _event(payload, hashed, value)


def _hash(canonical: str) -> bytes:
    return hashlib.sha256(canonical.encode()).digest()


def _event(payload: str, hashed: bytes, value: dict[str, Any]) -> Element:
    kind, uuid = stored_text(value.get("type")), stored_text(value.get("uuid"))
    return Element(
        payload,
        hashed,
        type=kind or "",
        database_id=_database_id(value.get("databaseId")),
        uuid=uuid,
        error=None if kind else "It has no type.",
        note=None if uuid or value.get("uuid") in (None, "") else "Its uuid is no usable text: it was left out.",
    )


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _database_id(value: object) -> int | None:
    digits = without_mark(value)
    if isinstance(digits, str) and digits.isascii() and digits.isdigit() and len(digits) < len(str(LARGEST_ID)):
        return int(digits)
    return None
