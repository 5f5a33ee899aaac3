import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.packing.numbering import (
    CODE_PATTERN,
    PREFIX_PATTERN,
    parse_serial,
    random_tail_length,
    random_tails,
    serial,
    uniq_code,
)
from qrtrack.domain.root_keys import ALPHABET

PREFIXES = st.from_regex(PREFIX_PATTERN.removesuffix("$"), fullmatch=True)
NUMBERS = st.integers(1, 10**12 - 1)


@pytest.mark.parametrize("prefix", ["A", "SKA", "1A", "ABCDEFGH", "2024PCKX"])
def test_a_prefix_is_up_to_eight_characters_ending_in_a_letter(prefix: str) -> None:
    assert re.fullmatch(PREFIX_PATTERN, prefix)


@pytest.mark.parametrize("prefix", ["", "SKA1", "ABCDEFGHI", "ska", "SK-A", "SKÄ", "SKA\n", "٣A"])
def test_any_other_prefix_is_refused(prefix: str) -> None:
    assert not re.fullmatch(PREFIX_PATTERN, prefix)


@pytest.mark.parametrize(
    ("number", "code"), [(1, "SKA000001"), (100, "SKA000100"), (999_999, "SKA999999"), (1_000_000, "SKA1000000")]
)
def test_a_serial_has_six_digits_and_grows_past_999_999(number: int, code: str) -> None:
    assert serial("SKA", number) == code


@pytest.mark.parametrize("number", [0, -1, 10**12])
def test_a_number_out_of_range_makes_no_serial(number: int) -> None:
    with pytest.raises(ValueError, match="run from"):
        serial("SKA", number)


@given(PREFIXES, NUMBERS)
def test_a_serial_parses_back_to_its_prefix_and_number(prefix: str, number: int) -> None:
    assert parse_serial(serial(prefix, number)) == (prefix, number)


@given(PREFIXES, NUMBERS)
def test_every_serial_is_an_acceptable_code(prefix: str, number: int) -> None:
    assert re.fullmatch(CODE_PATTERN, serial(prefix, number))


@given(st.text("SKA019", max_size=12))
def test_a_parsed_serial_is_written_back_unchanged(code: str) -> None:
    parsed = parse_serial(code)
    assert parsed is None or serial(*parsed) == code


@pytest.mark.parametrize(
    "code", ["SKA1", "SKA00001", "SKA0000001", "SKA000000", "ska000001", "000001", "SKA000001\n", ""]
)
def test_a_number_written_another_way_is_no_serial(code: str) -> None:
    assert parse_serial(code) is None


@given(st.integers(1, 10**9))
def test_a_guessed_tail_hits_less_than_once_in_10_000_and_no_shorter_would_do(live_codes: int) -> None:
    length = random_tail_length(live_codes)
    assert live_codes * 10_000 < 24 * 32 ** (length - 1)
    assert length == 6 or live_codes * 10_000 >= 24 * 32 ** (length - 2)


def test_random_tails_have_at_least_six_characters() -> None:
    assert random_tail_length(1) == 6


def test_random_tails_are_distinct_and_end_in_any_of_24_letters() -> None:
    tails = random_tails(10_000, 6)
    assert len(set(tails)) == len(tails) == 10_000
    assert {len(tail) for tail in tails} == {6}
    assert set("".join(tails)) == set(ALPHABET)
    assert {tail[-1] for tail in tails} == set(ALPHABET) - set("23456789")


def test_all_tails_of_a_length_can_be_drawn_and_no_more() -> None:
    assert len(set(random_tails(24, 1))) == 24
    with pytest.raises(ValueError, match="fewer than 25"):
        random_tails(25, 1)


@given(PREFIXES)
def test_a_random_code_is_never_a_serial(prefix: str) -> None:
    assert all(parse_serial(prefix + tail) is None for tail in random_tails(20, 6))


def test_a_uniq_code_has_twelve_characters_of_the_alphabet() -> None:
    assert re.fullmatch(f"[{ALPHABET}]{{12}}", uniq_code())
    assert uniq_code() != uniq_code()
