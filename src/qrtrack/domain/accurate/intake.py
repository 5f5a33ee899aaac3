"""Splits the body of an Accurate request into elements, each with its own JSON text. Nothing in the body is trusted."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

TEXT_LENGTH: Final = 255
LARGEST_ID: Final = 2**63 - 1
# Marks the digits of a parsed JSON number. Digits stay text, so huge numbers cost nothing, and the number 1 differs
# from the string "1".
NUMBER: Final = "\0"

BLANK: Final = re.compile(r"[ \t\n\r]*")
# The parts that decide where an element ends. A string is one part, so that brackets inside it do not count. Possessive
# quantifiers (`++`, `*+`) never backtrack: without them, an unterminated string of quotes costs quadratic time.
STEP: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|(?P<open>\Z))|[\[{]+|[\]}]+', re.DOTALL)
# Accurate sends far fewer at once.
MOST_ELEMENTS: Final = 10_000
# Values are counted as commas and opening brackets, also inside strings. One call of the JSON decoder blocks the
# interpreter for 0.5 µs a value: 5.7 s for 16 MiB of brackets. An event has tens of values, a long invoice thousands.
MOST_VALUES: Final = 1_000_000
MOST_VALUES_OF_ONE: Final = 20_000
# With more levels than this, an element with too many values is reported as TOO_DEEP.
DEEP: Final = 1000
TOO_DEEP: Final = "It is nested too deeply to be read."
TOO_LONG: Final = f"It has more than {MOST_VALUES_OF_ONE:,} values: too many to be read."


class UnreadableBody(Exception):
    """The body is not JSON, so there are no elements to store."""


class TooManyElements(Exception):
    """The request has more elements, or more values in them, than allowed."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Takes the place of a value that was not parsed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the request. `error`: why it is not an event. `note`: what was ignored in it.

    White space and the order of keys do not change `content_hash`, except in an element that was not parsed.
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
    """Yields the elements in order. A body that is not an array is one element. Raises UnreadableBody or
    TooManyElements, possibly after it has yielded some elements.
    """
    values = sum(map(body.count, (b",", b"[", b"{")))
    if values > MOST_VALUES:
        raise TooManyElements
    try:
        text = body.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("JSON holds no NUL")
        for place, (begin, end, value) in enumerate(_spans(text, may_be_long=values > MOST_VALUES_OF_ONE)):
            if place == MOST_ELEMENTS:
                raise TooManyElements
            yield _element(text, begin, end, value)
    except ValueError as error:
        raise UnreadableBody(str(error)) from error


def parse(payload: str) -> Any:
    """Parses a stored payload; its numbers become marked text. Raises ValueError or RecursionError."""
    return _decoder.decode(payload)


def content_hash(payload: str) -> bytes:
    """Returns the hash of a stored payload, equal to `Element.content_hash`."""
    try:
        canonical = _encoder.encode(parse(payload))
    except (ValueError, RecursionError):
        canonical = payload
    return _hash(canonical)


def without_mark(value: object) -> object:
    """Returns the digits of a parsed number, and any other value unchanged."""
    return value[1:] if isinstance(value, str) and value.startswith(NUMBER) else value


def stored_text(value: object) -> str | None:
    """Returns the value if PostgreSQL can store and index it (text, not too long, no NUL, no lone surrogate), otherwise
    None.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_LENGTH or "\0" in value:
        return None
    return value if value.isascii() or _is_unicode(value) else None


def _spans(text: str, *, may_be_long: bool) -> Iterator[tuple[int, int, Any]]:
    """Yields begin, end and value of each element. `may_be_long`: the values of an element are counted before it is
    parsed.
    """
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
            raise ValueError("a comma or the end of the array is missing")
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
    """Returns the end and the depth of the array or object that begins at this place, by counting brackets. Raises
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
    raise ValueError("a bracket is not closed")


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
        note=None if uuid or value.get("uuid") in (None, "") else "Its uuid is not usable text: it was ignored.",
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
