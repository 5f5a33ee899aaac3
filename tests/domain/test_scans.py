import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final
from urllib.parse import quote

import pytest
from biip import ParseError
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_messages import GS1Message
from hypothesis import assume, example, given
from hypothesis import strategies as st

from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.gs1 import GS
from qrtrack.domain.packing.code_lists import parse_code, parse_codes
from qrtrack.domain.packing.numbering import LAST_NUMBER, serial
from qrtrack.domain.qr import batch_payload, has_check_digit, printed, unit_payload
from qrtrack.domain.root_keys import ALPHABET
from qrtrack.domain.scans import (
    SCAN_LIMIT,
    Scan,
    ScanKind,
    plain_code,
    read_master_code,
    read_scan,
    reads_as_twice,
    unwrap,
)

UNIQ: Final = "ABCDEFGHJKLM"
GTIN: Final = "09506000134352"
SSCC: Final = "095212340000000013"
CHARACTER_SET_82: Final = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
LOTS = st.text(CHARACTER_SET_82, min_size=1, max_size=20).filter(lambda lot: lot not in {".", ".."})
SERIALS = st.builds(serial, st.from_regex(r"[A-Z0-9]{0,7}[A-Z]", fullmatch=True), st.integers(1, LAST_NUMBER))
CODES = SERIALS | st.from_regex(r"[A-Z0-9][A-Z0-9._-]{0,19}", fullmatch=True).filter(
    lambda code: not reads_as_twice(code)
)
UNIQ_CODES = st.text(ALPHABET, min_size=12, max_size=12)
BASES = st.sampled_from(
    ["https://verify.example.com", "http://10.0.0.7:8000", "https://example.com/goods/01", "https://[2001:db8::1]/"]
)
WRAPPINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "as it is": str,
    "CR LF": lambda text: f"{text}\r\n",
    "Tab": lambda text: f"{text}\t",
    "blanks": lambda text: f" {text} \u00a0",
    "STX and ETX": lambda text: f"\x02{text}\x03",
    "AIM identifier": lambda text: f"]Q1{text}",
    "AIM identifier, Caps Lock": lambda text: f"]q1{text}\r",
    "Caps Lock": str.swapcase,
    "lower case": str.lower,
    "upper case": str.upper,
    "twice at once": lambda text: text + text,
    "twice at once, with identifiers": lambda text: f"]Q1{text}]Q1{text}",
    "two lines": lambda text: f"{text}\r\n{text}\r\n",
    "Code 39": lambda text: f"*{text}*",
}
ADDRESS_WRAPPINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "no scheme": lambda text: text.partition("://")[2],
    "fragment": lambda text: f"{text}#top",
    "percent-encoded": lambda text: quote(text, safe=""),
}
wrapped = st.sampled_from([*WRAPPINGS.values()])
address_wrapped = st.sampled_from([*WRAPPINGS.values(), *ADDRESS_WRAPPINGS.values()])


def spelled_alike(said: str | None, meant: str | None) -> bool:
    return said == meant or (said is not None and meant is not None and said.upper() == meant.upper())


@pytest.mark.parametrize("wrap", [*WRAPPINGS.values()], ids=[*WRAPPINGS])
@pytest.mark.parametrize("code", ["SKA000001", "SK000001", "PREFIXAB1000000"])
def test_a_code_is_read_under_whatever_a_scanner_adds(code: str, wrap: Callable[[str], str]) -> None:
    scan = read_scan(wrap(code))
    assert (scan.kind, scan.code, scan.text) == (ScanKind.CODE, code, code)
    assert parse_code(wrap(code), field="first_code").codes == parse_codes([wrap(code)], field="codes").codes == [code]


@pytest.mark.parametrize("wrap", [*WRAPPINGS.values()], ids=[*WRAPPINGS])
def test_a_master_code_is_read_under_whatever_a_scanner_adds(wrap: Callable[[str], str]) -> None:
    assert read_master_code(wrap(f"{UNIQ}-C0042")) == f"{UNIQ}-C0042"
    assert read_master_code(wrap(f"{UNIQ}-C1000000")) == f"{UNIQ}-C1000000"


@given(BASES, UNIQ_CODES, CODES, address_wrapped, st.sampled_from([str, printed]))
@example("https://verify.example.com", UNIQ, "SKA000001", str, printed)
def test_every_unit_symbol_reads_back_to_its_exact_code(
    base: str, uniq_code: str, code: str, wrap: Callable[[str], str], spell: Callable[[str], str]
) -> None:
    payload = wrap(spell(unit_payload(base, uniq_code, code)))
    scan = read_scan(payload)
    assert (scan.kind, scan.code, scan.uniq_code) == (ScanKind.UNIT, code, uniq_code)
    assert parse_codes([payload], field="codes").codes == [code]


@given(BASES, CODES, st.none() | LOTS, st.none() | st.dates(date(2000, 1, 1)), address_wrapped)
def test_every_digital_link_reads_back_to_its_exact_code(
    base: str, code: str, lot: str | None, expires_on: date | None, wrap: Callable[[str], str]
) -> None:
    payload = wrap(printed(unit_payload(base, UNIQ, code, gtin=GTIN, lot=lot, expires_on=expires_on)))
    scan = read_scan(payload)
    assert (scan.kind, scan.code, scan.gtin) == (ScanKind.UNIT, code, GTIN)
    assert spelled_alike(scan.lot, lot)
    if len(payload) <= SCAN_LIMIT:
        assert parse_codes([payload], field="codes").codes == [code]


@given(BASES, UNIQ_CODES, address_wrapped)
def test_every_batch_symbol_reads_back_to_its_uniq_code(base: str, uniq_code: str, wrap: Callable[[str], str]) -> None:
    scan = read_scan(wrap(printed(batch_payload(base, uniq_code))))
    assert (scan.kind, scan.uniq_code, scan.code) == (ScanKind.BATCH, uniq_code, None)


@pytest.mark.parametrize("mark", ["]C1", "]e0", "]d2", "]Q3", "]J1", "]c1", "]q3", GS, "{FNC1}", "]d2<GS>"])
@pytest.mark.parametrize("separator", [GS, "<GS>", "{GS}", "[gs]", "^]", "<FNC1>", "\\x1D", "\u241d"])
def test_element_strings_are_read_with_every_mark_and_spelling_of_gs(mark: str, separator: str) -> None:
    scan = read_scan(f"{mark}01{GTIN}17310131{separator}10LOT,7;A{separator}21ska000001\r\n")
    assert scan[:1] + scan[2:] == (ScanKind.UNIT, "SKA000001", None, GTIN, "LOT,7;A", None)
    assert read_scan(f"{mark}01{GTIN}21SKA000001{separator}10LOT,7;A{separator}") == scan


@given(CODES, st.none() | LOTS, st.permutations(["lot", "serial", "expiry", "count"]))
def test_element_strings_are_read_in_any_order(code: str, lot: str | None, order: Sequence[str]) -> None:
    parts = {
        "lot": f"10{lot}{GS}" if lot else "",
        "serial": f"21{code}{GS}",
        "expiry": "17310131",
        "count": f"3012{GS}",
    }
    message = f"]d201{GTIN}" + "".join(parts[name] for name in order)
    scan = read_scan(message)
    assert (scan.code, scan.gtin, scan.lot) == (code, GTIN, lot)
    assume(not re.search(r"[,;]\([0-9]{2}", message))  # There a list begins the next scan.
    assert parse_codes([f"X1 {message} X2"], field="codes").codes == ["X1", code, "X2"]


@pytest.mark.parametrize(
    ("text", "lot"),
    [
        (f"(01){GTIN}(21)SKA000001", None),
        (f"(01){GTIN}(10)L-1(17)310131(21)ska000001", "L-1"),
        (f"(01){GTIN}(10)A(B)C(21)SKA000001", "A(B)C"),
        (f"(01){GTIN}(235)X(10)L-1{GS}(21)SKA000001\r\n", "L-1"),
        (f"(01){GTIN}(21)SKA000001(01){GTIN}(21)SKA000001", None),
    ],
)
def test_the_text_under_a_symbol_is_read(text: str, lot: str | None) -> None:
    scan = read_scan(text)
    assert (scan.kind, scan.code, scan.gtin, scan.lot) == (ScanKind.UNIT, "SKA000001", GTIN, lot)


@pytest.mark.parametrize(
    "text",
    [
        SSCC, f"00{SSCC}", f"(00){SSCC}", f"]C100{SSCC}\r\n", f"]C100{SSCC}02{GTIN}3712", f"(00){SSCC}(02){GTIN}(37)12",
        f"https://id.example.com/00/{SSCC}", f"HTTPS://ID.EXAMPLE.COM/X/00/{SSCC}?02={GTIN}&37=12&10=A", SSCC * 2,
    ],
)  # fmt: skip
def test_an_sscc_is_read_with_and_without_its_key(text: str) -> None:
    assert read_scan(text).sscc == read_master_code(text) == SSCC


@pytest.mark.parametrize(
    "link",
    [
        f"https://id.example.com/01/{GTIN}/21/SKA000001",
        f"http://id.example.com/any/path/01/{GTIN}/22/2A/10/L1/21/SKA000001/",
        f"https://id.example.com/01/{GTIN}/21/SKA000001/235/TPX",
        f"https://id.example.com/01/{GTIN[1:]}/21/SKA000001",
        f"https://id.example.com/00/faux/01/{GTIN}/10/01/21/SKA000001?17=310131&linkType=all;x#a",
        f"HTTPS://ID.EXAMPLE.COM:443/01/{GTIN}/21/SKA%3000001",
        f"id.example.com/01/{GTIN}/21/SKA000001",
        f"/01/{GTIN}/21/SKA000001",
    ],
)
def test_digital_links_are_read_in_every_form_that_the_standard_allows(link: str) -> None:
    scan = read_scan(link)
    assert (scan.kind, scan.code, scan.gtin) == (ScanKind.UNIT, "SKA000001", GTIN)


@pytest.mark.parametrize(
    "text",
    [
        f"https://id.example.com/01/{GTIN[:-1]}9/21/SKA000001",  # a wrong check digit
        f"https://id.example.com/01/{GTIN}/21/SKA000001/10/L1",  # keys in a wrong order
        f"https://id.example.com/01/{GTIN}/10/L1?21=SKA000001",  # a key that belongs into the path
        f"https://id.example.com/01/{GTIN}/10/L1/21/SKA000001?10=L2",  # a key twice
        f"https://id.example.com/01/{GTIN}/10/L1/21/SKA000001/x",  # a key without a value
        f"https://id.example.com/01/{GTIN}/10/A%20B/21/SKA000001",  # not of GS1's characters
        f"https://id.example.com/01/{GTIN}/21/SKA%2F1",  # not a code of ours
        f"https://id.example.com/q/{UNIQ}/SKA%C2%A01",
        "https://id.example.com/q/SHORT/SKA000001",
        f"https://id.example.com/q/{UNIQ}/SKA000001/more",
        f"(01){GTIN[:-1]}9(21)SKA000001",
        f"(01){GTIN}(21)SKA000001(21)SKA000002",
        f"]C1010{GTIN}21SKA000001",
        f"]C101{GTIN}0521SKA000001",  # no AI begins with 05
        f"]C101{GTIN}17311",  # cut off
        "]C121SKA000001",  # a serial without its product
        "]C1SKA000001",
        f"(00){SSCC[:-1]}4",
        f"]C101{GTIN}21SKA/1",
        f"see (01){GTIN}(21)SKA000001",
        "A\0B", "A\x1cB", ".A", "-", "A" * 21, "\u017fka", "STRA\u00dfE", "\ufeffA1", "A\udc80", "Gold 1/2 g",
        "SKA000001" * 3,
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_scan_names_no_unit(text: str) -> None:
    scan = read_scan(text)
    assert scan.kind in {ScanKind.TEXT, ScanKind.ADDRESS}
    assert scan[2:] == (None,) * 5
    with pytest.raises(InvalidInput):
        parse_code(text, field="first_code")


def test_a_code_that_may_be_one_is_not_halved() -> None:
    assert [read_scan(code).code for code in ("ABAB", "1212", "A000001A000001")] == ["ABAB", "1212", "A000001A000001"]
    assert plain_code("ABAB") is None, "left to read_scan"
    assert [reads_as_twice(code) for code in ("SKA000001SKA000001", "SKA000001", "ABAB")] == [True, False, False]


def test_a_list_keeps_the_commas_of_a_lot_together_and_ends_a_scan_at_the_next_one() -> None:
    one, other = f"(01){GTIN}(10)A,B;C(21)SKA000001", f"]C101{GTIN}10A,7{GS}21SKA000002"
    listed = parse_codes([f"{one},{other}, SKA000003;SKA000004 {one}\n]Q1SKA000005,SKA000006"], field="codes")
    assert listed.codes == [f"SKA{number:06d}" for number in range(1, 7)]
    assert [(scan.code, scan.scan.lot) for scan in listed.scans] == [("SKA000001", "A,B;C"), ("SKA000002", "A,7")]


texts = st.text(st.characters() | st.sampled_from("]C1Q3\x1d(01)21<GS>^/:%*\r\n\t\0 A0"), max_size=60)
pieces = st.lists(
    st.sampled_from(
        ["SKA000001", "]C1", "]Q1", "\r\n", GS, "<GS>", "^]", f"01{GTIN}", f"(01){GTIN}", "(21)", "21", "10", SSCC,
         f"https://x.example/q/{UNIQ}/", f"/01/{GTIN}", "/21/", "%2F", "%", "?", "#", "*", "-", "\0", "A", "a", "é"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(texts | pieces | pieces.map(lambda text: text + text))
@example("]C1]Q1\r\n")
@example("*" * 30)
@example("A" * 64)
def test_reading_a_second_time_changes_nothing(text: str) -> None:
    scan = read_scan(text)
    assert unwrap(unwrap(text)) == unwrap(text)
    assert read_scan(scan.text) == scan
    assert read_master_code(read_master_code(text)) == read_master_code(text)
    assert scan.code is None or (scan.code == scan.code.upper() and scan.code.isascii())


@given(texts | pieces)
def test_junk_raises_nothing_but_a_refusal(text: str) -> None:
    refused: list[InvalidInput] = []
    try:
        parse_codes([text], field="codes")
        parse_code(text, field="code")
    except InvalidInput as error:
        refused.append(error)
    details = [mistake.detail for refusal in refused for mistake in refusal.errors]
    assert all(detail.isascii() and detail.isprintable() for detail in details)


JUNK: Final = [
    "A", "]C1", "]Q1\x1d", "*", "\r\n", " ", "\x1d", "<GS>", "^]", "(01)", "(21)A", "https://x/q/", "/01/", "%2F", "((",
    f"01{GTIN}", "SKA000001-", "A-", "A\r", "]C1,", "(21),;", f"/q/{UNIQ}", "https%3A%2F%2F", "{", "A000000000", "\0",
]  # fmt: skip


@pytest.mark.parametrize("piece", JUNK)
def test_the_work_for_junk_grows_with_its_length_only(piece: str) -> None:
    """64 KiB take 0.1 s at most; with a pattern that tries every pair of places they take more than 10 s."""
    text = piece * (64 * 1024 // len(piece))
    began = time.process_time()
    for junk in (text, f"{text}~", f"A{text}"):
        read_scan(junk)
        read_master_code(junk)
        with contextlib.suppress(InvalidInput):
            parse_codes([junk], field="codes")
    assert time.process_time() - began < 5


@given(CODES, st.none() | LOTS)
def test_the_library_of_gs1_reads_the_same_from_a_message(code: str, lot: str | None) -> None:
    message = f"01{GTIN}17310131" + (f"10{lot}{GS}" if lot else "") + f"21{code}"
    theirs = {element.ai.ai: element.value for element in GS1Message.parse(message).element_strings}
    ours = read_scan(GS + message)
    assert (ours.gtin, ours.lot, ours.code) == (theirs["01"], theirs.get("10"), theirs["21"])


ELEMENTS: Final = [
    "21SKA000001", "21ska000002", "10LOT", "17310131", "11310101", "3103000195", "3012", "2412X", f"422360{GS}", "235T",
    f"8008310101120000{GS}", "99ABC", "05", "13", "A", "0", GS, GS,
]  # fmt: skip


@given(st.lists(st.sampled_from(ELEMENTS), max_size=5).map("".join))
@example(f"235T{'21SKA000001' * 2}8008310101120000{GS}")
def test_a_message_that_names_a_unit_names_the_same_one_for_the_library_of_gs1(rest: str) -> None:
    """Each refuses what the other one reads: the library knows every AI, and we insist on separators. The library ends
    a value that is too long without one, and reads the rest as the next element.
    """
    message = f"01{GTIN}{rest}"
    ours = read_scan(GS + message)
    try:
        elements = GS1Message.parse(message).element_strings
    except ParseError:
        return
    separated = [f"{element.ai.ai}{element.value}{GS}" for element in elements if element.ai.separator_required]
    assume(all(each in message + GS for each in separated))
    theirs = {element.ai.ai: element.value for element in elements}
    if ours.kind != ScanKind.TEXT and len(theirs) == len(elements):
        assert ours.code == (theirs["21"].upper() if "21" in theirs else None)
        assert (ours.gtin, ours.lot) == (GTIN, theirs.get("10"))


@given(CODES, st.none() | LOTS, st.none() | st.dates(date(2000, 1, 1), date(2049, 12, 31)))
def test_the_library_of_gs1_reads_the_same_from_a_digital_link(
    code: str, lot: str | None, expires_on: date | None
) -> None:
    link = unit_payload("https://id.example.com", UNIQ, code, gtin=GTIN, lot=lot, expires_on=expires_on)
    theirs = {element.ai.ai: element.value for element in GS1DigitalLinkURI.parse(link).element_strings}
    ours = read_scan(link)
    assert (ours.gtin, ours.lot, ours.code) == (theirs["01"], theirs.get("10"), theirs["21"])


@given(st.integers(0, 10**17 - 1))
def test_exactly_one_check_digit_fits_an_sscc(number: int) -> None:
    assert sum(has_check_digit(f"{number:017d}{check}", digits=18) for check in range(10)) == 1
    assert has_check_digit(SSCC, digits=18)
    assert not has_check_digit(SSCC, digits=14)


def test_a_scan_of_nothing_is_empty() -> None:
    assert read_scan(" \r\n]Q1\x1d") == Scan(ScanKind.TEXT, "")
