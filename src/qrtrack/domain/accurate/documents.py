"""Reads Accurate's events: the table of document types, and the state of each entity that an event reports."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from qrtrack.domain.accurate.intake import parse, stored_text, without_mark

# `strptime` takes more time than all other steps of reading an event, so timestamps are read without it.
TIMESTAMP: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{1,2}):(\d{1,2})", re.ASCII)
# Numbers from here on are milliseconds since 1970. Smaller numbers are seconds (up to the year 5138).
MILLISECONDS_FROM: Final = 10**11
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
TIMESTAMP_LENGTH: Final = 100
# Milliseconds in the year 9999 have 15 digits. A larger exponent would cost memory and time for its digits.
TIMESTAMP_DIGITS: Final = 20
# A number with more digits than this is not read as an amount: its digits would cost memory and time.
AMOUNT_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class DocumentType:
    """The fields of a row that hold its entity's id (one field for each part), its number and its amount.

    A field can have several names, which are tried in the order of this list.
    """

    ids: Sequence[Sequence[str]]
    number: Sequence[str]
    amount: Sequence[str]


def _named(stem: str) -> DocumentType:
    """Returns a document type whose field names follow the type: `salesInvoiceId`, `salesInvoiceNo`,
    `salesInvoiceTotalAmount`.
    """
    return DocumentType(((f"{stem}Id", "id"),), (f"{stem}No", "number"), (f"{stem}TotalAmount", "totalAmount"))


TYPES: Final[Mapping[str, DocumentType]] = {
    "ITEM_QUANTITY": DocumentType((("itemId",), ("warehouseId",)), ("itemNo",), ("quantity", "itemQuantity")),
    "SALES_INVOICE_OWING": DocumentType(
        (("salesInvoiceId", "salesInvoiceOwingId", "id"),),
        ("salesInvoiceNo", "number"),
        ("salesInvoiceOwing", "salesInvoiceOwingAmount", "owing"),
    ),
    "ITEM": _named("item"),
    "SALES_ORDER": _named("salesOrder"),
    "CUSTOMER": _named("customer"),
    "STOCK_MUTATION": _named("stockMutation"),
    "GLACCOUNT": DocumentType(
        (("glAccountId", "glaccountId", "id"),), ("glAccountNo", "glaccountNo", "no"), ("glAccountTotalAmount",)
    ),
    "SALES_QUOTATION": _named("salesQuotation"),
    "DELIVERY_ORDER": _named("deliveryOrder"),
    "SALES_INVOICE": _named("salesInvoice"),
    "SALES_RETURN": _named("salesReturn"),
    "SALES_RECEIPT": _named("salesReceipt"),
    "ITEM_ADJUSTMENT": _named("itemAdjustment"),
    "JOB_ORDER": _named("jobOrder"),
    "ROLL_OVER": _named("rollOver"),
    "MATERIAL_ADJUSTMENT": _named("materialAdjustment"),
    "WAREHOUSE": _named("warehouse"),
    "ITEM_TRANSFER": _named("itemTransfer"),
    "PURCHASE_ORDER": _named("purchaseOrder"),
    "PURCHASE_REQUISITION": _named("purchaseRequisition"),
    "PURCHASE_INVOICE": _named("purchaseInvoice"),
    "PURCHASE_RETURN": _named("purchaseReturn"),
    "RECEIVE_ITEM": _named("receiveItem"),
    "PURCHASE_PAYMENT": _named("purchasePayment"),
}


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What one row reports about its entity."""

    entity_id: str
    number: str | None
    action: str | None
    amount: Decimal | None
    event_at: datetime
    deleted: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What one event reports: for each entity the state of its last row. `note` says what was missing or ignored."""

    states: Sequence[DocumentState]
    note: str | None


def read_event(payload: str, kind: DocumentType, *, received_at: datetime, zone: ZoneInfo) -> Reading:
    """Uses the time of receipt if the event has no usable timestamp. Raises ValueError or RecursionError."""
    event = parse(payload)
    notes = []
    event_at = read_timestamp(event.get("timestamp"), zone)
    if event_at is None:
        notes.append("its timestamp is missing or unreadable: the time of receipt is used")
    rows = _rows(event.get("data"))
    found = [state for row in rows if (state := _state(row, kind, event_at or received_at)) is not None]
    without_id = len(rows) - len(found)
    if without_id or not rows:
        notes.append(f"{without_id} of {len(rows)} rows have no id and are ignored" if rows else "it has no rows")
    return Reading(list({state.entity_id: state for state in found}.values()), "; ".join(notes) or None)


def _rows(data: object) -> Sequence[Any]:
    if isinstance(data, list):
        return data
    return [data] if isinstance(data, dict) else []


def _state(row: Any, kind: DocumentType, event_at: datetime) -> DocumentState | None:
    entity_id = _entity_id(row, kind)
    if entity_id is None:
        return None
    action = stored_text(row.get("action"))
    return DocumentState(
        entity_id=entity_id,
        number=_first_text(row, kind.number),
        action=action,
        amount=next((read_decimal(row[name]) for name in kind.amount if name in row), None),
        event_at=event_at,
        deleted=action is not None and action.upper() == "DELETE",
    )


def _entity_id(row: Any, kind: DocumentType) -> str | None:
    """Returns the ids of all parts, joined by colons, or None if one is missing."""
    if not isinstance(row, dict):
        return None
    parts = [_first_text(row, names) for names in kind.ids]
    return ":".join(part for part in parts if part) if all(parts) else None


def _first_text(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        if text := stored_text(without_mark(row.get(name))):
            return text
    return None


def read_timestamp(value: object, zone: ZoneInfo) -> datetime | None:
    """Reads `dd/MM/yyyy HH:mm:ss` in the zone, or seconds or milliseconds since 1970 in any notation of JSON, also as
    text. Returns None for anything else.
    """
    text = without_mark(value)
    if not isinstance(text, str) or len(text) > TIMESTAMP_LENGTH:
        return None
    text = text.strip()
    try:
        return _from_number(text) if NUMBER.fullmatch(text) else _from_text(text, zone)
    except (ArithmeticError, ValueError):
        return None


def _from_number(text: str) -> datetime | None:
    """Raises ArithmeticError beyond the year 9999."""
    number = Decimal(text)
    if number.is_signed() or number.adjusted() > TIMESTAMP_DIGITS:
        return None
    seconds = number / 1000 if number >= MILLISECONDS_FROM else number
    return EPOCH + timedelta(microseconds=int(seconds * 1_000_000))


def _from_text(text: str, zone: ZoneInfo) -> datetime | None:
    """Raises ValueError or OverflowError for a date or time that does not exist."""
    parts = TIMESTAMP.fullmatch(text)
    if parts is None:
        return None
    day, month, year, hour, minute, second = map(int, parts.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)


def read_decimal(value: object) -> Decimal | None:
    """Returns the exact amount of a JSON number or text, without converting it to a float. Returns None for anything
    else.
    """
    text = without_mark(value)
    if not isinstance(text, str) or len(text) > AMOUNT_DIGITS or "_" in text:
        return None
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount.adjusted()) <= AMOUNT_DIGITS else None
