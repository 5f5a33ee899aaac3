import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrtrack.domain.errors import NAMED_ERRORS, NAMED_THINGS, FieldError, InvalidInput
from qrtrack.domain.packing.code_lists import UnitOfOtherBatch, foreign_scans, parse_code, parse_codes, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, code_ranges
from qrtrack.domain.packing.numbering import serial

UNIQ = "ABCDEFGHJKLM"


def parsed(*elements: str, limit: int = 100_000) -> list[str]:
    return parse_codes(elements, field="exclude_codes", limit=limit).codes


def refused(*elements: str, limit: int = 100_000) -> tuple[FieldError, ...]:
    with pytest.raises(InvalidInput) as caught:
        parsed(*elements, limit=limit)
    return caught.value.errors


def test_an_empty_paste_names_no_code() -> None:
    assert parsed() == parsed("", " ,;\n") == []


def test_elements_are_split_at_white_space_comma_and_semicolon() -> None:
    assert parsed("A1 B2\tC3\r\nD4,E5;F6, G7\u00a0H8") == ["A1", "B2", "C3", "D4", "E5", "F6", "G7", "H8"]


def test_codes_are_upper_cased_and_repeats_dropped_in_order_of_first_appearance() -> None:
    assert parsed("ska000002", "SKA000001 ska000002 SKA000001", "Ska000001") == ["SKA000002", "SKA000001"]


def test_codes_of_other_systems_may_have_dots_hyphens_and_underscores() -> None:
    assert parsed("ab-12", "1.x_9") == ["AB-12", "1.X_9"]


@pytest.mark.parametrize(
    "typed", ["SKA000009-SKA000011", "SKA000009 - SKA000011", "ska000009 -ska000011", "SKA000009-\tSKA000011"]
)
def test_a_range_is_expanded_with_or_without_blanks(typed: str) -> None:
    assert parsed(f"A1,{typed};B2") == ["A1", "SKA000009", "SKA000010", "SKA000011", "B2"]


def test_a_range_grows_from_six_to_seven_digits() -> None:
    assert parsed("SKA999999-SKA1000000") == ["SKA999999", "SKA1000000"]


def test_overlapping_ranges_name_each_code_once() -> None:
    assert parsed("X000003", "X000002-X000004", "X000001-X000005 X000002-X000004", "Y000002-Y000002") == [
        "X000003", "X000002", "X000004", "X000001", "X000005", "Y000002",
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12)), max_size=8))
def test_ranges_name_the_same_codes_as_counting_one_by_one(spans: list[tuple[int, int]]) -> None:
    plain = [serial("K", number) for first, more in spans for number in range(first, first + more + 1)]
    ranges = [f"{serial('K', first)}-{serial('K', first + more)}" for first, more in spans]
    assert parsed(*ranges) == list(dict.fromkeys(plain))


def test_a_backward_range_is_refused() -> None:
    (error,) = refused("SKA000020-SKA000010")
    assert "backwards" in error.detail


def test_a_range_over_two_prefixes_is_refused() -> None:
    (error,) = refused("SKA000010 - PCK000020")
    assert "two prefixes" in error.detail


@pytest.mark.parametrize("code", ["SKA000010-20", "SKA000010-SKA20", "SKA00010-SKA00020"])
def test_a_hyphen_belongs_to_the_code_unless_it_joins_two_serials(code: str) -> None:
    assert parsed(code) == [code]


def test_a_lonely_hyphen_is_refused() -> None:
    assert refused("SKA000010 - B7")[0].pointer == "/exclude_codes/0"


def test_a_huge_range_is_refused_by_its_count_alone() -> None:
    (error,) = refused("SKA000001-SKA9999999")
    assert "9,999,999" in error.detail


def test_a_list_may_name_exactly_its_limit() -> None:
    assert len(parsed("A000001-A000005", "A000003-A000010", "a000001", limit=10)) == 10


@pytest.mark.parametrize("elements", [("A000001-A000010", "B1"), ("B1", "A000001-A000010"), ("A B C D E F G H I J K",)])
def test_a_list_over_its_limit_is_refused_as_a_whole(elements: tuple[str, ...]) -> None:
    (error,) = refused(*elements, limit=10)
    assert error.pointer == "/exclude_codes"
    assert "more than 10 codes" in error.detail


@pytest.mark.parametrize(
    "url",
    [
        f"https://qr.example.com/q/{UNIQ}/SKA000007",
        f"HTTP://127.0.0.1:8000/base/Q/{UNIQ.lower()}/ska000007/",
        f"https://qr.example.com/q/{UNIQ}/SKA%3000007?x=1#top",
        "https://id.example.com/01/09506000134352/21/SKA000007",
        "https://id.example.com/01/09506000134352/10/LOT%2F7/21/SKA000007?17=270131",
        "https://id.example.com/x/01/9506000134352/22/2A/10/L1/21/ska000007/#a",
    ],
)
def test_a_scanned_unit_url_is_reduced_to_its_code(url: str) -> None:
    assert parsed(f"A1 {url}") == ["A1", "SKA000007"]


@dataclass(frozen=True)
class Batch:
    """What the QR symbols of a batch's units say of it."""

    uniq_code: str = UNIQ
    gtin: str | None = "09506000134352"
    lot: str | None = "LOT/7"
    serial_mode: str = "sequential"


def foreign(url: str, batch: Batch) -> list[str]:
    return [scan.pointer for scan in foreign_scans(parse_codes(["A1", url], field="codes").scans, batch)]


OF_THE_BATCH = [
    f"https://x/q/{UNIQ}/SKA000007",
    f"https://x/Q/{UNIQ.lower()}/ska000007",
    "https://x/01/9506000134352/21/SKA000007",
    "https://x/01/09506000134352/10/LOT%2F7/21/SKA000007",
    "SKA000007",
]
OF_ANOTHER = [
    f"https://x/q/{UNIQ[::-1]}/SKA000007",
    "https://x/01/04006381333931/21/SKA000007",
    "https://x/01/09506000134352/10/LOT%2F8/21/SKA000007",
]


@pytest.mark.parametrize("url", OF_THE_BATCH)
def test_a_unit_of_the_batch_is_not_foreign(url: str) -> None:
    assert foreign(url, Batch()) == []


@pytest.mark.parametrize("url", OF_ANOTHER)
def test_a_unit_whose_qr_names_another_batch_is_foreign_whatever_its_code(url: str) -> None:
    assert foreign(url, Batch()) == foreign(f"SKA000007 {url}", Batch()) == ["/codes/1"]


@pytest.mark.parametrize("url", OF_ANOTHER)
def test_only_what_the_batch_knows_of_itself_is_compared_with_a_scan(url: str) -> None:
    assert foreign(url, Batch(gtin=None, lot=None, serial_mode="imported")) == []


def test_the_refusal_names_every_foreign_unit_where_it_was_pasted() -> None:
    pasted = parse_codes([OF_THE_BATCH[0], OF_ANOTHER[0], "A1", f"B2 {OF_ANOTHER[1]}"], field="codes")
    with pytest.raises(UnitOfOtherBatch) as refused:
        refuse_foreign(pasted.scans, Batch())
    assert [error.pointer for error in refused.value.errors] == ["/codes/1", "/codes/3"]
    (listed,) = parse_code(OF_ANOTHER[0], field="last_code").scans
    assert (listed.pointer, listed.code) == ("/last_code", "SKA000007")


@pytest.mark.parametrize("path", [f"q/{UNIQ}", f"q/{UNIQ}/", "01/09506000134352", "01/09506000134352/10/L1?17=270131"])
def test_the_qr_of_a_whole_batch_is_refused_by_name(path: str) -> None:
    (error,) = refused("A1", f"https://qr.example.com/{path}")
    assert error.pointer == "/exclude_codes/1"
    assert "whole batch" in error.detail


@pytest.mark.parametrize(
    "url", ["https://example.com", "https://example.com/q/SHORT/SKA000007", f"https://e.com/q/{UNIQ}/A1/B2"]
)
def test_any_other_url_is_refused(url: str) -> None:
    assert "not the QR of a unit" in refused(url)[0].detail


def test_an_impossible_code_in_a_url_is_refused() -> None:
    assert "not the QR of a unit" in refused(f"https://example.com/q/{UNIQ}/A%00B")[0].detail


@pytest.mark.parametrize(
    "token",
    [
        "SKA00$1",
        "A\0B",
        "\x1d21SKA000001",
        "A\x1cB",
        "A\udc80",
        "STRA\u00dfE",
        "\u017fka",
        "\ufeffA1",
        "-",
        ".A",
        "A" * 21,
        "A" * 201,
    ],
)
def test_a_token_that_cannot_be_a_code_is_refused(token: str) -> None:
    (error,) = refused("A1", token)
    assert error.pointer == "/exclude_codes/1"
    assert error.detail.isascii()
    assert error.detail.isprintable()


def test_all_mistakes_of_all_elements_are_named_at_once() -> None:
    errors = refused("A1", "B$ C%", "OK", "B000002-B000001 -")
    assert [error.pointer for error in errors] == [f"/exclude_codes/{index}" for index in (1, 1, 3, 3)]


def test_only_the_first_mistakes_are_named() -> None:
    bad = [f"${number}" for number in range(NAMED_ERRORS * 2)]
    assert len(refused(*bad)) == len(refused(" ".join(bad))) == NAMED_ERRORS


@given(st.lists(st.text(st.characters() | st.sampled_from("A0-,; \x1d\0"), max_size=30), max_size=5))
def test_any_pasted_text_gives_only_clean_codes(elements: list[str]) -> None:
    codes: list[str] = []
    with contextlib.suppress(InvalidInput):
        codes = parsed(*elements, limit=50)
    assert all(code.isascii() and code.isprintable() and code == code.upper() for code in codes)


def test_numbers_become_closed_ranges() -> None:
    assert as_ranges([7, 1, 2, 3, 5, 6, 2]) == [(1, 3), (5, 7)]
    assert as_ranges([]) == []


@given(st.sets(st.integers(-50, 50)))
def test_ranges_hold_exactly_the_numbers_and_never_touch(numbers: set[int]) -> None:
    runs = as_ranges(numbers)
    assert {number for first, last in runs for number in range(first, last + 1)} == numbers
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(runs))


@pytest.mark.parametrize(
    "scan", ["ska000001", " SKA000001\r\n", f"https://x/q/{UNIQ}/SKA000001", "SKA000001 SKA000001"]
)
def test_one_scan_names_one_code(scan: str) -> None:
    assert parse_code(scan, field="first_code").codes == ["SKA000001"]


@pytest.mark.parametrize("scan", ["", " ,", "A1 B2", "SKA000001-SKA000002", f"https://x/q/{UNIQ}", "\0", "\ud800"])
def test_a_scan_that_is_not_one_code_is_refused_at_its_field(scan: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_code(scan, field="first_code")
    assert {error.pointer for error in caught.value.errors} == {"/first_code"}


def test_consecutive_codes_become_ranges_that_a_list_accepts() -> None:
    codes = [
        "SKA000001",
        "SKA000002",
        "SKA000003",
        "SKB000003",
        "SKA000009",
        "SKA000010",
        "X-1",
        "ZZ999999",
        "ZZ1000000",
    ]
    named = code_ranges(codes)
    assert named == ["SKA000001-SKA000003", "SKB000003", "SKA000009", "SKA000010", "ZZ999999", "ZZ1000000", "X-1"]
    assert sorted(parse_codes(named, field="codes").codes) == sorted(codes)


def test_ranges_are_read_no_further_than_they_are_shown() -> None:
    read: list[int] = []

    def every_other() -> Iterator[str]:
        for number in range(1, 200_000, 2):
            read.append(number)
            yield f"SKA{number:06d}"

    assert len(code_ranges(every_other())) == NAMED_THINGS
    assert len(read) == NAMED_THINGS + 1
    assert code_ranges(f"SKA{number:06d}" for number in range(1, 100_000)) == ["SKA000001-SKA099999"]


@pytest.mark.parametrize("element", [0, None, True, 1.5, [], {}])
def test_elements_that_are_not_text_are_refused_and_the_first_are_named(element: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_codes(["SKA000001", *[element] * 200], field="exclude_codes")
    errors = refusal.value.errors
    assert (len(errors), errors[0].pointer, errors[0].code) == (NAMED_ERRORS, "/exclude_codes/1", "wrong_type")
