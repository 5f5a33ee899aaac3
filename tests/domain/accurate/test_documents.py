import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accurate import event
from qrtrack.domain.accurate.documents import EPOCH, TYPES, Reading, read_decimal, read_event, read_timestamp
from qrtrack.domain.accurate.intake import parse

JAKARTA = ZoneInfo("Asia/Jakarta")
RECEIVED = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
DOCUMENTED = (
    " ITEM_QUANTITY SALES_INVOICE_OWING ITEM SALES_ORDER CUSTOMER STOCK_MUTATION GLACCOUNT SALES_QUOTATION"
    " DELIVERY_ORDER SALES_INVOICE SALES_RETURN SALES_RECEIPT ITEM_ADJUSTMENT JOB_ORDER ROLL_OVER"
    " MATERIAL_ADJUSTMENT WAREHOUSE ITEM_TRANSFER PURCHASE_ORDER PURCHASE_REQUISITION PURCHASE_INVOICE"
    " PURCHASE_RETURN RECEIVE_ITEM PURCHASE_PAYMENT"
)

ODD = {"ITEM_QUANTITY", "GLACCOUNT", "SALES_INVOICE_OWING"}


def read(kind: str, *rows: Any, **changes: Any) -> Reading:
    made = event(kind, **changes) | {"data": list(rows)}
    return read_event(json.dumps(made), TYPES[kind], received_at=RECEIVED, zone=JAKARTA)


def test_all_documented_types_are_known() -> None:
    assert sorted(TYPES) == sorted(DOCUMENTED.split())


def test_a_row_reports_the_state_of_one_entity() -> None:
    reading = read(
        "SALES_INVOICE",
        {"salesInvoiceId": 88020, "salesInvoiceNo": "INV/1", "salesInvoiceTotalAmount": "454000.10", "action": "WRITE"},
    )
    (state,) = reading.states
    assert (state.entity_id, state.number, state.action, state.amount, state.deleted) == (
        "88020", "INV/1", "WRITE", Decimal("454000.10"), False,
    )  # fmt: skip
    assert state.event_at == datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    assert reading.note is None


@pytest.mark.parametrize("kind", sorted({*DOCUMENTED.split()} - ODD))
def test_field_names_follow_the_type(kind: str) -> None:
    first, *others = kind.lower().split("_")
    stem = first + "".join(word.capitalize() for word in others)
    (state,) = read(kind, {f"{stem}Id": 5, f"{stem}No": "N-1", f"{stem}TotalAmount": 10.25}).states
    assert (state.entity_id, state.number, state.amount) == ("5", "N-1", Decimal("10.25"))


def test_a_quantity_belongs_to_an_item_in_one_warehouse() -> None:
    reading = read("ITEM_QUANTITY", {"itemId": 5, "warehouseId": 2, "quantity": 7}, {"itemId": 5, "warehouseId": 3})
    assert [(state.entity_id, state.amount, state.action) for state in reading.states] == [
        ("5:2", Decimal(7), None),
        ("5:3", None, None),
    ]


def test_rows_without_an_id_are_ignored_with_a_note() -> None:
    reading = read("CUSTOMER", {"customerNo": "C.1"}, {"customerId": None}, "text", {"customerId": 4})
    assert [state.entity_id for state in reading.states] == ["4"]
    assert reading.note == "3 of 4 rows have no id and are ignored"


@pytest.mark.parametrize("data", [None, [], "x", 5])
def test_an_event_without_rows_gets_a_note(data: Any) -> None:
    made = event("ITEM") | {"data": data}
    reading = read_event(json.dumps(made), TYPES["ITEM"], received_at=RECEIVED, zone=JAKARTA)
    assert (reading.states, reading.note) == ([], "it has no rows")


def test_the_last_row_of_an_entity_wins() -> None:
    reading = read("ITEM", {"itemId": 1, "action": "WRITE"}, {"itemId": "1", "action": "delete"})
    assert [(state.entity_id, state.deleted) for state in reading.states] == [("1", True)]


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("21/11/2026 10:00:00", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (1795230000, datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (1795230000500, datetime(2026, 11, 21, 3, 0, 0, 500_000, tzinfo=UTC)),
        ("1795230000", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (" 1/2/2026 9:08:07 ", datetime(2026, 2, 1, 2, 8, 7, tzinfo=UTC)), ("21/11/2026 24:00:00", None),
        ("21/11/2026 10:00", None), ("21/11/2026 10:00:00 WIB", None), ("٢1/11/2026 10:00:00", None),
        ("2026-11-21 10:00:00", None), ("31/02/2026 10:00:00", None), ("", None), (None, None), (True, None),
        (-5, None), (-1.5, None), (10**30, None), ("-1795230000", None), ("+1795230000", None), ("1_795_230_000", None),
        ("NaN", None), ("Infinity", None), ("1.795230000,5", None), ("0x6B", None), ([], None),
        (1.5, EPOCH + timedelta(seconds=1.5)), ("٣", None), ("01/01/0001 00:00:00", None),
    ],
)  # fmt: skip
def test_timestamps_are_local_text_or_numbers(value: Any, instant: datetime | None) -> None:
    parsed = parse(json.dumps({"t": value}))["t"]
    assert read_timestamp(parsed, JAKARTA) == instant


@pytest.mark.parametrize(
    "number",
    [
        "1795600002", "1795600002.0", "1795600002000", "1795600002000.0", "1.795600002E12", "1.795600002e+9",
        "17956000020000E-1", "1795600002000.000000000000000000000000000000000", "1795600002.0000000000000000000001",
    ],
)  # fmt: skip
def test_a_timestamp_is_the_same_in_every_notation_of_json(number: str) -> None:
    for written in (number, f'"{number}"'):
        assert read_timestamp(parse(written), JAKARTA) == datetime(2026, 11, 25, 9, 46, 42, tzinfo=UTC)


def test_a_timestamp_is_exact_to_the_microsecond() -> None:
    read = [read_timestamp(parse(number), JAKARTA) for number in ("1795600002.123456", "1795600002123.456")]
    assert read == [datetime(2026, 11, 25, 9, 46, 42, 123_456, tzinfo=UTC)] * 2


@pytest.mark.parametrize(
    "number",
    [
        "1e999999999", "1e99999999999999999999", "9e20", "253402300800000", "-1e-5", "-0.0", "0e99999999999999999999",
        "1" * 99, "1" * 100_000, "1e-99999999999999999999999",
    ],
)  # fmt: skip
def test_an_unusable_number_falls_back_to_the_time_of_receipt_with_a_note(number: str) -> None:
    made = json.dumps(event("ITEM", {"itemId": 1}) | {"timestamp": 0}).replace(
        '"timestamp": 0', f'"timestamp": {number}'
    )
    reading = read_event(made, TYPES["ITEM"], received_at=RECEIVED, zone=JAKARTA)
    assert reading.states[0].event_at == RECEIVED
    assert "time of receipt" in (reading.note or "")


def test_a_tiny_number_costs_nothing() -> None:
    assert read_timestamp(parse("1e-999999999"), JAKARTA) == EPOCH


@given(st.floats(min_value=0, max_value=250_000_000_000_000) | st.integers(0, 250_000_000_000_000))
def test_every_float_that_json_writes_is_an_instant(number: float) -> None:
    assert read_timestamp(parse(json.dumps(number)), JAKARTA) is not None


def test_an_event_without_a_timestamp_takes_the_time_of_receipt() -> None:
    reading = read("ITEM", {"itemId": 1}, timestamp=None)
    assert reading.states[0].event_at == RECEIVED
    assert "time of receipt" in (reading.note or "")


@pytest.mark.parametrize(
    "value",
    ["1e1000000", "NaN", "Infinity", "-Infinity", "1.000,50", "", "abc", True, None, [], "1_000", "9" * 100_000],
)
def test_unusable_amounts_are_none(value: Any) -> None:
    assert read_decimal(parse(json.dumps(value))) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20))
def test_amounts_are_exact_from_numbers_and_from_text(amount: Decimal) -> None:
    text = f"{amount:f}"
    assert read_decimal(parse(text)) == read_decimal(parse(json.dumps(text))) == amount


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
MEMBERS = st.sampled_from(["itemId", "itemNo", "action", "itemTotalAmount"])


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(MEMBERS, inner)))
def test_any_rows_can_be_read(data: Any) -> None:
    made = json.dumps(event("ITEM") | {"data": data, "timestamp": data}).replace("NaN", "1").replace("-Infinity", "1")
    read_event(made.replace("Infinity", "1"), TYPES["ITEM"], received_at=RECEIVED, zone=JAKARTA)
