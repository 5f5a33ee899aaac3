import io
import re
from datetime import date
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.packing.code_lists import parse_codes
from qrtrack.domain.qr import (
    AddressNotPublic,
    ErrorLevel,
    batch_payload,
    check_lot,
    check_printable,
    draw_png,
    draw_svg,
    normalise_gtin,
    unit_payload,
    valid_gtin14,
)

BASE = "https://qr.example.com"
UNIQ = "ABCDEFGHJKLM"
GTIN = "09506000134352"
CHARACTER_SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
LOTS = st.text(CHARACTER_SET_82, min_size=1, max_size=20).filter(lambda lot: lot not in {".", ".."})


def read_back(pixels: Any) -> str:
    (symbol,) = zxingcpp.read_barcodes(pixels)
    return str(symbol.text)


def rendered(svg: bytes) -> Any:
    """The pixels of one of our SVGs, 8 a module: the dark modules are one path of horizontal strokes."""
    text = svg.decode()
    side = int(re.findall(r'width="(\d+)"', text)[0])
    pixels = np.full((side, side), 255, np.uint8)
    x, y = 0.0, 0.0
    path = re.findall(r'class="qrline"[^>]* d="([^"]+)"', text)[0]
    for command, first, second in re.findall(r"([MmhH])(-?[\d.]+)(?:[ ,]?(-?[\d.]+))?", path):
        if command == "h":
            pixels[int((y - 0.5) * 8) : int((y + 0.5) * 8), int(x * 8) : int((x + float(first)) * 8)] = 0
            x += float(first)
        else:
            x, y = (float(first), float(second)) if command == "M" else (x + float(first), y + float(second))
    return pixels


def test_the_qr_of_a_batch_leads_to_its_uniq_code() -> None:
    assert batch_payload(f"{BASE}/", UNIQ) == f"{BASE}/q/{UNIQ}"


def test_the_qr_of_a_unit_adds_its_code() -> None:
    assert unit_payload(BASE, UNIQ, "SKA000001", lot="L1") == f"{BASE}/q/{UNIQ}/SKA000001"


def test_with_a_gtin_the_qr_of_a_unit_is_a_digital_link() -> None:
    assert unit_payload(BASE, UNIQ, "SKA000001", gtin="9506000134352") == f"{BASE}/01/{GTIN}/21/SKA000001"


def test_a_digital_link_shows_lot_and_expiry_in_the_order_of_the_standard() -> None:
    payload = unit_payload(f"{BASE}/", UNIQ, "SKA000001", gtin=GTIN, lot="A/7", expires_on=date(2027, 1, 31))
    assert payload == f"{BASE}/01/{GTIN}/10/A%2F7/21/SKA000001?17=270131"


@given(LOTS)
def test_any_lot_of_the_gs1_set_survives_the_encoding(lot: str) -> None:
    path = unit_payload(BASE, UNIQ, "SKA000001", gtin=GTIN, lot=lot).removeprefix(BASE)
    encoded = path.split("/")[4]
    assert unquote(encoded) == lot
    assert re.fullmatch(r"(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+", encoded)


@given(st.none() | LOTS, st.none() | st.dates(date(2000, 1, 1)), st.sampled_from([None, GTIN]))
def test_a_scanned_unit_is_understood_as_its_code(lot: str | None, expires_on: date | None, gtin: str | None) -> None:
    payload = unit_payload(BASE, UNIQ, "SKA-00.1_X", gtin=gtin, lot=lot, expires_on=expires_on)
    pasted = parse_codes([payload], field="codes")
    assert pasted.codes == ["SKA-00.1_X"]
    ((_, _, scan),) = pasted.scans
    assert (scan.uniq_code, scan.gtin, scan.lot) == ((UNIQ, None, None) if gtin is None else (None, gtin, lot))


@pytest.mark.parametrize("lot", ["", "A B", "Ä", ".", "..", "A" * 21, "A\n", "A#1"])
def test_a_lot_outside_the_gs1_set_is_refused(lot: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        unit_payload(BASE, UNIQ, "SKA000001", gtin=GTIN, lot=lot)
    assert [error.pointer for error in caught.value.errors] == ["/lot"]


@pytest.mark.parametrize("gtin", ["96385074", "036000291452", "9506000134352", "19506000134359"])
def test_shorter_gtins_are_filled_up_to_14_digits(gtin: str) -> None:
    assert normalise_gtin(gtin) == gtin.zfill(14)


@pytest.mark.parametrize(
    "gtin", ["9506000134353", "", "950600013435", "95060001343 2", "٩506000134352", "+9506000134352"]
)
def test_a_gtin_with_a_wrong_check_digit_or_shape_is_refused(gtin: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        normalise_gtin(gtin)
    assert [error.pointer for error in caught.value.errors] == ["/gtin"]


@given(st.integers(0, 10**13 - 1))
def test_exactly_one_check_digit_fits(number: int) -> None:
    assert sum(valid_gtin14(f"{number:013d}{check}") for check in range(10)) == 1


@given(st.integers(0, 13), st.integers(1, 9))
def test_no_single_wrong_digit_passes(place: int, by: int) -> None:
    wrong = str((int(GTIN[place]) + by) % 10)
    assert not valid_gtin14(GTIN[:place] + wrong + GTIN[place + 1 :])


@pytest.mark.parametrize("error", ["L", "M", "Q", "H"])
@pytest.mark.parametrize(
    "payload", [f"{BASE}/q/{UNIQ}", f"{BASE}/01/{GTIN}/10/A%2F7/21/SKA000001?17=270131", f"{UNIQ}-C0001"]
)
def test_every_symbol_reads_back_as_its_payload(payload: str, error: ErrorLevel) -> None:
    assert read_back(np.array(Image.open(io.BytesIO(draw_png(payload, error=error))).convert("L"))) == payload
    assert read_back(rendered(draw_svg(payload, error=error))) == payload


def test_a_symbol_has_white_ground_and_its_quiet_zone() -> None:
    image = Image.open(io.BytesIO(draw_png("ABCDEFGHJKLM-C0001", scale=3, border=2))).convert("RGBA")
    assert image.size == ((21 + 4) * 3, (21 + 4) * 3)
    assert {image.getpixel((at, 0)) for at in range(image.width)} == {(255, 255, 255, 255)}


def test_the_same_symbol_is_the_same_bytes() -> None:
    assert draw_svg("A1", scale=2.5) == draw_svg("A1", scale=2.5)
    assert draw_png("A1") == draw_png("A1")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]:1", "0.0.0.0"]
)
def test_an_address_of_the_machine_itself_is_not_printed(host: str) -> None:
    with pytest.raises(AddressNotPublic):
        check_printable(f"http://{host}/x")


@pytest.mark.parametrize("host", ["qr.example.com", "localhost.example.com", "192.168.1.7", "[2001:db8::1]"])
def test_any_other_address_is(host: str) -> None:
    check_printable(f"https://{host}")


@pytest.mark.parametrize("lot", [".", "..", "", "a b", "x" * 21])
def test_a_lot_that_no_address_can_carry_is_refused(lot: str) -> None:
    with pytest.raises(InvalidInput):
        check_lot(lot)
    assert check_lot("L-1") == "L-1"
