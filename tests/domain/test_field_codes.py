"""What is wrong with a field is told by a code of the catalogue, with the params that the catalogue names."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from qrtrack.domain.akselgate.dispatches import Terms, check_transactions
from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.notifications import Channels, Notify
from qrtrack.domain.packing.case_packing import OrderMismatch
from qrtrack.domain.packing.code_lists import ListedScan, UnitOfOtherBatch, parse_code, parse_codes
from qrtrack.domain.packing.imports import read_codes
from qrtrack.domain.qr import check_lot, normalise_gtin
from qrtrack.domain.scans import read_scan

TERMS = Terms(2, "core", "001", "branch")
ROW = {
    "debitAccount": "1000000001",
    "creditAccount": "2000000001",
    "amount": "150000",
    "description": "Fee",
    "referenceNumber": "R1",
}
NO_CHANNELS = Channels(mail=False, hosts=frozenset())


def raises(refusal: InvalidInput) -> None:
    raise refusal


def pasted(*elements: str) -> Callable[[], object]:
    return lambda: parse_codes(elements, field="codes", limit=100)


def imported(text: str | bytes) -> Callable[[], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda: raises(read_codes(io.BytesIO(data)).refusal([]))


def sent(*rows: Any) -> Callable[[], object]:
    return lambda: check_transactions(rows, TERMS)


REFUSALS: list[tuple[Callable[[], object], str, Mapping[str, Any]]] = [
    (pasted("SKA!"), "not_a_code", {"value": "SKA!"}),
    (pasted("SKÄ1"), "not_a_code", {"value": "SKÄ1"}),
    (pasted("x" * 500), "too_long", {"max": 400}),
    (pasted("https://x.example/q/ABCDEFGHJKLM"), "batch_qr", {"value": "https://x.example/q/ABCDEFGHJKLM"}),
    (pasted("https://x.example/"), "not_a_unit_qr", {"value": "https://x.example/"}),
    (pasted("SKA000001-SKB000002"), "range_of_two_prefixes", {"value": "SKA000001-SKB000002"}),
    (pasted("SKA000002-SKA000001"), "range_backwards", {"value": "SKA000002-SKA000001"}),
    (pasted("SKA000001-SKA000101"), "range_too_long", {"value": "SKA000001-SKA000101", "max": 100}),
    (pasted(*(f"A{number}" for number in range(101))), "too_many", {"max": 100}),
    (lambda: parse_code(" ", field="first_code"), "required", {}),
    (lambda: parse_code("A1 B2", field="first_code"), "too_many", {"max": 1}),
    (
        lambda: raises(UnitOfOtherBatch([ListedScan("/codes/0", "A1", read_scan("A1"))])),
        "of_other_batch",
        {"value": "A1"},
    ),
    (lambda: raises(OrderMismatch()), "of_other_order", {}),
    (lambda: normalise_gtin("1"), "bad_gtin", {}),
    (lambda: check_lot("a b"), "bad_lot", {}),
    (lambda: NO_CHANNELS.check(Notify(email="a@b.example")), "email_not_set_up", {}),
    (lambda: NO_CHANNELS.check(Notify(url="https://a.example/")), "host_not_allowed", {}),
    (imported("kode\nA1\n"), "bad_header", {}),
    (imported("code\n"), "too_few", {"min": 1}),
    (imported("code\nA1,B\n"), "too_many_cells", {"line": 2}),
    (imported("code\nA 1\n"), "bad_code_cell", {"line": 2}),
    (imported("code,root_key\nA1,AB\n"), "bad_root_key_cell", {"line": 2}),
    (imported(f"code,root_key,variant\nA1,,{'x' * 65}\n"), "bad_variant_cell", {"line": 2}),
    (imported("code\nA1\nA1\n"), "repeated_cell", {"line": 3, "first_line": 2}),
    (imported("code,root_key,variant\nA1,,x\nA2,,\n"), "variant_missing", {}),
    (imported(b"code\n\xff\n"), "not_utf8", {}),
    (imported('code\n"A1\n'), "not_csv", {"line": 2}),
    (
        lambda: raises(read_codes(io.BytesIO(b"code\nA1\n")).refusal(["A1"])),
        "code_exists",
        {"line": 2, "value": "A1"},
    ),
    (sent(), "too_few", {"min": 1}),
    (sent("x"), "wrong_type", {"expected": "object"}),
    (sent(ROW | {"colour": "red"}), "unknown_field", {}),
    (sent(ROW | {"debitAccount": "1"}), "bad_account", {}),
    (sent(ROW | {"amount": "1.005"}), "bad_amount", {"max_decimals": 2}),
    (sent(ROW | {"description": "x" * 101}), "bad_text", {"max": 100}),
    (sent(ROW | {"referenceNumber": ""}), "bad_reference", {}),
    (sent(ROW, ROW), "repeated", {}),
]


@pytest.mark.parametrize(("refuse", "code", "params"), REFUSALS, ids=[code for _, code, _ in REFUSALS])
def test_a_bad_field_has_a_code_and_the_params_of_its_code(
    refuse: Callable[[], object], code: str, params: Mapping[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse()
    error: FieldError = caught.value.errors[0]
    assert (error.code, dict(error.params)) == (code, dict(params))
    assert all(set(error.params) == set(error.code.params) for error in caught.value.errors)
