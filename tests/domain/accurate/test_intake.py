import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.accurate.intake import (
    MOST_ELEMENTS,
    MOST_VALUES,
    MOST_VALUES_OF_ONE,
    TOO_DEEP,
    TOO_LONG,
    Element,
    TooManyElements,
    UnreadableBody,
    parse,
    split_body,
    without_mark,
)

EVENT = {"databaseId": 7, "type": "CUSTOMER", "timestamp": "21/11/2026 10:00:00", "uuid": "c-1", "data": []}


def the_only(body: bytes) -> Element:
    (element,) = split_body(body)
    return element


def read(value: object) -> Element:
    return the_only(json.dumps(value).encode())


def test_elements_keep_their_json_text() -> None:
    body = b' [ {"type": "ITEM",  "b":1.50} ,\n{"type":"CUSTOMER"}, 5 ]\n'
    assert [element.payload for element in split_body(body)] == [
        '{"type": "ITEM",  "b":1.50}',
        '{"type":"CUSTOMER"}',
        "5",
    ]


def test_a_single_object_is_the_only_element() -> None:
    element = read(EVENT)
    assert (element.type, element.database_id, element.uuid, element.error) == ("CUSTOMER", 7, "c-1", None)


def test_an_empty_array_has_no_elements() -> None:
    assert list(split_body(b" [ ] ")) == []


def test_a_byte_order_mark_is_ignored() -> None:
    assert len(list(split_body(b"\xef\xbb\xbf[1]"))) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"no json", b"[", b"[1", b"[1,", b"[1,]", b"[1 2]", b"[1] 2", b"{} {}", b"[NaN]", b"[Infinity]",
        b'["\xff"]', b'[{"a": 1]', b'["open', b"\x00", b"[01]", b"[[[" * 100_000,
        b'["\x00"]', b"[1]\x00", b'[{"type": "ITEM", "d": ' + b"[" * 5000 + b'"\x00"' + b"]" * 5000 + b"}]",
        b"[" * 5000 + b'"' + b'\\"' * 1_000_000,
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        list(split_body(body))


@pytest.mark.parametrize(
    ("value", "error"),
    [(5, "It is not a JSON object."), ("text", "It is not a JSON object."), ([], "It is not a JSON object."),
     (None, "It is not a JSON object."), ({}, "It has no type."), ({"type": 5}, "It has no type."),
     ({"type": ""}, "It has no type."), ({"type": "A\x00B"}, "It has no type.")],
)  # fmt: skip
def test_an_element_that_is_not_an_event_has_a_reason(value: object, error: str) -> None:
    (element,) = split_body(json.dumps([value]).encode())
    assert element.error == error


@pytest.mark.parametrize("uuid", [None, "", 5, 5.5, True, [], {}, "x" * 256, "a\x00b", "\ud800"])
def test_a_missing_or_unusable_uuid_is_none(uuid: Any) -> None:
    element = read({**EVENT, "uuid": uuid})
    assert (element.uuid, element.error) == (None, None)
    assert (element.note is None) == (uuid in (None, ""))


@pytest.mark.parametrize(
    ("database_id", "read_as"),
    [
        (7, 7),
        ("7", 7),
        (None, None),
        (-7, None),
        (7.5, None),
        ("seven", None),
        (2**70, None),
        (True, None),
        ("٣", None),
    ],
)
def test_the_database_id_is_a_bigint_or_none(database_id: Any, read_as: int | None) -> None:
    assert read({**EVENT, "databaseId": database_id}).database_id == read_as


def test_the_content_hash_ignores_key_order_white_space_and_escapes() -> None:
    one = b'{"type": "ITEM", "data": [{"a": 1, "b": "x"}]}'
    other = b'{"data":[{"b":"\\u0078","a":1}],"type":"ITEM"}'
    assert the_only(one).content_hash == the_only(other).content_hash


@pytest.mark.parametrize("other", [b'{"a": "1"}', b'{"a": 2}', b'{"a": 1.0}', b'{"a": 1, "b": null}', b"{}"])
def test_other_values_change_the_content_hash(other: bytes) -> None:
    assert the_only(b'{"a": 1}').content_hash != the_only(other).content_hash


def test_numbers_of_any_size_cost_nothing_and_keep_their_digits() -> None:
    digits = "9" * 100_000
    (element,) = split_body(f'{{"type": "ITEM", "n": {digits}, "f": 1e999999}}'.encode())
    assert without_mark(parse(element.payload)["n"]) == digits


def test_an_element_nested_too_deeply_is_invalid_alone() -> None:
    deep = '{"type": "ITEM", "data": ' + '["]",' * 50_000 + "1" + "]" * 50_000 + "}"
    first, bad, last = split_body(f'[{{"type": "ITEM"}}, {deep}, {{"type": "CUSTOMER"}}]'.encode())
    assert (first.error, last.error) == (None, None)
    assert bad.error == "It is nested too deeply to be read."
    assert bad.payload == deep


def test_the_number_of_elements_is_limited() -> None:
    assert len(list(split_body(b"[" + b"5," * (MOST_ELEMENTS - 1) + b"5]"))) == MOST_ELEMENTS
    with pytest.raises(TooManyElements):
        list(split_body(b"[" + b"5," * MOST_ELEMENTS + b"5]"))


MIB = 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (16 * MIB),
        b"[" * (8 * MIB) + b"]" * (8 * MIB),
        b"[[" + b"[]," * (5 * MIB) + b"1]]",
        b'[{"a":' + b'{"a":' * (3 * MIB),
        b"[[" + b"1," * (7 * MIB) + b"1]]",
        b"[" + (b"[" * 1500 + b"]" * 1500 + b",") * 5000 + b"1]",
    ],
    ids=["open", "deep", "empty lists", "objects", "numbers", "many deep ones"],
)
def test_a_body_of_mostly_brackets_is_refused_before_parsing(body: bytes) -> None:
    with patch("qrtrack.domain.accurate.intake._spans") as spans, pytest.raises(TooManyElements):
        list(split_body(body))
    assert not spans.called


def test_the_number_of_values_is_limited() -> None:
    list_of_most = b"[" + b",".join([b"1"] * (MOST_VALUES_OF_ONE // 2)) + b"]"
    elements = list(split_body(b"[" + b",".join([list_of_most] * (2 * MOST_VALUES // MOST_VALUES_OF_ONE - 1)) + b"]"))
    assert {element.error for element in elements} == {"It is not a JSON object."}
    with pytest.raises(TooManyElements):
        list(split_body(b"[" + b",".join([list_of_most] * (2 * MOST_VALUES // MOST_VALUES_OF_ONE + 1)) + b"]"))


def test_an_element_with_too_many_values_is_invalid_alone() -> None:
    event = json.dumps({**EVENT, "note": 'a ] and a " in a text'})
    long = '{"type": "ITEM", "data": [' + "[],{}," * (MOST_VALUES_OF_ONE // 2) + '"]"]}'
    deep = "[" * (MOST_VALUES_OF_ONE + 1) + "]" * (MOST_VALUES_OF_ONE + 1)
    elements = list(split_body(f"[{event}, {long},{deep} , {event}]".encode()))
    assert [element.error for element in elements] == [None, TOO_LONG, TOO_DEEP, None]
    assert [element.payload for element in elements] == [event, long, deep, event]


def test_a_long_body_is_split_like_a_short_one() -> None:
    """A long body is split by counting brackets before it is parsed."""
    values: list[Any] = [{**EVENT, "n": n, "text": '[{"' * (n % 3)} for n in range(9_000)]
    elements = list(split_body(json.dumps(values).encode()))
    assert [json.loads(element.payload) for element in elements] == values


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_kept_word_for_word(value: Any) -> None:
    text = json.dumps(value)
    payloads = [element.payload for element in split_body(text.encode())]
    assert [json.loads(payload) for payload in payloads] == (value if isinstance(value, list) else [value])


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_unreadable(body: bytes) -> None:
    with suppress(UnreadableBody):
        list(split_body(body))
