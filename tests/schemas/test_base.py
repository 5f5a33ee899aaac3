from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from qrtrack.domain.errors import InvalidInput
from qrtrack.schemas.base import Answer, Body, Cursor, Limit, Note, RowId, Text
from qrtrack.schemas.cursors import decode_cursor, encode_cursor

BATCH = UUID("0190a000-0000-7000-8000-00000000000a")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Submit(Body):
    exclude_codes: list[Text] = Field(default_factory=list)


def is_accepted(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def test_a_mistyped_field_is_an_error() -> None:
    with pytest.raises(ValidationError, match="exclude_code"):
        Submit.model_validate({"exclude_code": ["SKA000007"]})


def test_errors_of_bodies_do_not_show_the_input() -> None:
    with pytest.raises(ValidationError) as refusal:
        Submit.model_validate({"exclude_codes": "hunter2"})
    assert "hunter2" not in str(refusal.value)


def test_the_front_ends_own_fields_are_taken() -> None:
    body = Submit.model_validate({"manufacturer_org_id": str(BATCH), "user_id": "u-1"})
    assert (body.manufacturer_org_id, body.user_id) == (BATCH, "u-1")


def test_an_answer_says_that_it_succeeded() -> None:
    assert Answer().model_dump() == {"success": True}
    assert "success" in Answer.model_json_schema(mode="serialization")["required"]


@pytest.mark.parametrize("text", ["SKA000001", "Größe 7 – 字", "👍🏽", "a" * 255])
def test_text_of_people_is_accepted(text: str) -> None:
    assert is_accepted(Text, text)


@pytest.mark.parametrize(
    "text", ["", "a" * 256, "a\0", "a\n", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800"]
)
def test_text_that_chokes_or_misleads_is_refused(text: str) -> None:
    assert not is_accepted(Text, text)


@pytest.mark.parametrize(("text", "verdict"), [("a\r\n\tb", True), ("", True), ("a\0", False), ("a" * 2001, False)])
def test_notes_may_have_lines(text: str, *, verdict: bool) -> None:
    assert is_accepted(Note, text) is verdict


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        (Limit, 1, True),
        (Limit, 1000, True),
        (Limit, 0, False),
        (Limit, 1001, False),
        (RowId, 2**63 - 1, True),
        (RowId, 2**63, False),
        (RowId, 0, False),
    ],
)
def test_numbers_have_bounds(kind: Any, value: int, *, verdict: bool) -> None:
    assert is_accepted(kind, value) is verdict


def test_a_cursor_brings_its_values_back() -> None:
    cursor = encode_cursor(MOMENT, BATCH, 7, "SKA/ü")
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor, datetime, UUID, int, str) == (MOMENT, BATCH, 7, "SKA/ü")


def test_a_cursor_of_the_longest_name_is_taken_back() -> None:
    assert is_accepted(Cursor, encode_cursor(MOMENT, "👍" * 255))


@pytest.mark.parametrize(
    ("cursor", "kinds"),
    [
        ("", (int,)),
        ("!", (int,)),
        ("é", (int,)),
        ("\ud800", (int,)),
        ("bm90IGpzb24", (int,)),
        ("W1tbW1tb" * 100, (int,)),
        ("e30", (int,)),
        ("Nw", (int,)),
        (encode_cursor(1), (int, int)),
        (encode_cursor(1, 2), (int,)),
        (encode_cursor("x"), (int,)),
        ("W3RydWVd", (int,)),
        (encode_cursor(2**63), (int,)),
        (encode_cursor(1), (str,)),
        (encode_cursor("nul\0"), (str,)),
        (encode_cursor("\ud800"), (str,)),
        (encode_cursor("x"), (UUID,)),
        (encode_cursor("x"), (datetime,)),
        (encode_cursor("2026-01-02T03:04:05"), (datetime,)),
        (encode_cursor("0001-01-01T00:00:00+14:00"), (datetime,)),
    ],
)
def test_any_other_cursor_is_bad_input(cursor: str, kinds: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode_cursor(cursor, *kinds)
    assert refusal.value.errors[0].pointer == "/query/cursor"


@given(st.text(max_size=50))
def test_no_text_breaks_the_reading_of_cursors(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(cursor, UUID, UUID)
