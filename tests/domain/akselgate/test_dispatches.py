import json
from decimal import Decimal
from typing import Any

import pytest

from qrtrack.domain.akselgate.dispatches import (
    MOST_ROWS,
    InvalidTransactions,
    RowError,
    Terms,
    check_transactions,
    payload_of,
)
from qrtrack.domain.errors import NAMED_ERRORS

TERMS = Terms(amount_scale=0, core="K1", branch_code="001", branch_name="Main")


def row(**changes: Any) -> dict[str, Any]:
    given = {
        "debitAccount": "1000000001",
        "creditAccount": "2000000001",
        "amount": "150000",
        "description": "Escrow",
        "referenceNumber": "REF1",
    }
    return {name: value for name, value in (given | changes).items() if value is not ...}


def errors_of(*rows: Any, terms: Terms = TERMS) -> list[RowError]:
    with pytest.raises(InvalidTransactions) as refusal:
        check_transactions(rows, terms)
    return [error for error in refusal.value.errors if isinstance(error, RowError)]


def test_a_row_without_a_branch_gets_that_of_the_settings() -> None:
    first, second = check_transactions([row(), row(referenceNumber="REF2", core="K2", amount=7)], TERMS)
    assert (first.row_number, first.core, first.branch_code, first.branch_name) == (1, "K1", "001", "Main")
    assert (second.row_number, second.core, second.amount) == (2, "K2", Decimal(7))


def test_every_error_of_every_row_is_named_with_pointer_row_and_reference() -> None:
    errors = errors_of(
        row(),
        row(referenceNumber="REF2", amount="1e3", debitAccount="12"),
        "no object",
        row(referenceNumber="X" * 16),
    )
    assert [(error.pointer, error.row_number, error.reference) for error in errors] == [
        ("/transactions/1/debitAccount", 2, "REF2"),
        ("/transactions/1/amount", 2, "REF2"),
        ("/transactions/2", 3, None),
        ("/transactions/3/referenceNumber", 4, "X" * 16),
    ]


def test_the_first_hundred_of_ten_thousand_errors_are_named_and_all_are_counted() -> None:
    rows = [row(referenceNumber=f"R{number}", amount=1.5, description=None) for number in range(10_000)]
    with pytest.raises(InvalidTransactions) as refusal:
        check_transactions(rows, TERMS)
    assert (len(refusal.value.errors), refusal.value.error_count) == (NAMED_ERRORS, 20_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("debitAccount", ...),
        ("debitAccount", "1234"),
        ("creditAccount", 1000000001),
        ("creditAccount", "12345x"),
        ("creditAccount", "１２３４５"),
        ("amount", ...),
        ("amount", 150000.0),
        ("description", ...),
        ("description", "x" * 101),
        ("description", "line\nbreak"),
        ("description", "\ud800"),
        ("referenceNumber", ...),
        ("referenceNumber", ""),
        ("referenceNumber", " REF1"),
        ("referenceNumber", "a\0b"),
        ("referenceNumber", 1),
        ("core", 5),
        *[
            ("referenceNumber", reference)
            for reference in ("R1É", "R1E\u0301", "Ｒ1", "R\u200b1", "R1\u00a0", "R1 ", "R\t1")
        ],
        ("branchName", "x" * 101),
        ("debit_account", "1000000001"),
        ("callback_url", "https://elsewhere.example"),
    ],
)
def test_a_bad_or_mistyped_field_is_refused(field: str, value: Any) -> None:
    assert [error.pointer for error in errors_of(row(**{field: value}))] == [f"/transactions/0/{field}"]


@pytest.mark.parametrize(
    ("field", "longest"),
    [("debitAccount", "1" * 34), ("creditAccount", "00001"), ("referenceNumber", "x" * 15), ("referenceNumber", "1"),
     ("description", "x" * 100), ("description", ""), ("branchName", "x" * 100)],
)  # fmt: skip
def test_values_at_the_limits_are_accepted(field: str, longest: str) -> None:
    assert len(check_transactions([row(**{field: longest})], TERMS)) == 1


def test_a_reference_in_two_rows_is_refused_in_both() -> None:
    assert [error.row_number for error in errors_of(row(), row(referenceNumber="REF2"), row())] == [1, 3]


def test_references_that_differ_only_in_case_are_the_same() -> None:
    rows = (row(referenceNumber="Ref-A"), row(referenceNumber="rEF-a"), row(referenceNumber="REF-B"))
    assert [error.row_number for error in errors_of(*rows)] == [1, 2]


def test_a_null_branch_gets_the_default() -> None:
    (checked,) = check_transactions([row(core=None, branchCode=None, branchName=None)], TERMS)
    assert (checked.core, checked.branch_code, checked.branch_name) == ("K1", "001", "Main")


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InvalidTransactions, match="Nothing was sent"):
        check_transactions([], TERMS)


def test_too_many_rows_or_fields_give_few_errors() -> None:
    with pytest.raises(InvalidTransactions) as refusal:
        check_transactions([0] * (MOST_ROWS + 1), TERMS)
    assert [error.pointer for error in refusal.value.errors] == ["/transactions"]
    errors = errors_of(row(**{f"x{number}": 1 for number in range(1000)}))
    assert [error.pointer for error in errors[-2:]] == ["/transactions/0/x19", "/transactions/0"]
    assert len(errors) == 21
    assert "980 more" in errors[-1].detail


def test_no_error_quotes_an_account() -> None:
    errors = errors_of(row(debitAccount="98765432109876543210987654321098765", creditAccount="13579x"))
    assert all("9876" not in error.detail and "1357" not in error.detail for error in errors)


def test_the_payload_holds_strings_and_the_sum_is_that_of_its_amounts() -> None:
    transactions = check_transactions(
        [row(amount="0.1"), row(referenceNumber="R 2", amount="0.2", description="é")], Terms(2, "", "", "")
    )
    text, control_sum = payload_of("17", transactions, callback_url="https://x.example/cb", amount_scale=2)
    content = json.loads(text)
    assert text.isascii()
    assert (content["requestId"], content["totalTx"]) == ("17", "2")
    assert content["data"][1] == {
        "core": "",
        "branchCode": "",
        "branchName": "",
        "debitAccount": "1000000001",
        "creditAccount": "2000000001",
        "amount": "0.20",
        "description": "é",
        "referenceNumber": "R 2",
        "callback_url": "https://x.example/cb",
    }
    assert control_sum == Decimal("0.3") == sum(Decimal(entry["amount"]) for entry in content["data"])
