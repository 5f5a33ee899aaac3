"""Checks the transactions of a settlement, and writes the text that is sent to the gateway."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from qrtrack.domain.akselgate.money import NotAnAmount, read_amount, write_amount
from qrtrack.domain.errors import NAMED_ERRORS, FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode

# More rows than this are refused at once. Real rows of a 16 MiB body are fewer; millions of zeros would each become an
# error.
MOST_ROWS = 100_000
NAMED_FIELDS = 20
DESCRIPTION_LENGTH = 100
BRANCH_LENGTH = 100
ACCOUNT = re.compile(r"[0-9]{5,34}", re.ASCII)
# ASCII only. Look-alike, invisible or combining characters would make two references for us, and one for the bank.
REFERENCE = re.compile(r"[!-~](?:[ -~]{0,13}[!-~])?")

FIELDS = frozenset(
    {
        "core",
        "branchCode",
        "branchName",
        "debitAccount",
        "creditAccount",
        "amount",
        "description",
        "referenceNumber",
    }
)


@dataclass(frozen=True, slots=True)
class Terms:
    """`amount_scale`: how many decimals the gateway reads. The others are the values of rows that do not send the
    field.
    """

    amount_scale: int
    core: str
    branch_code: str
    branch_name: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One checked row. `row_number` starts at 1."""

    row_number: int
    reference: str
    debit_account: str
    credit_account: str
    amount: Decimal
    description: str
    core: str
    branch_code: str
    branch_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError(FieldError):
    """A wrong field of one row. `reference` is the row's referenceNumber, valid or not, cut to 100 characters; None if
    it is not text.
    """

    row_number: int
    reference: str | None


class InvalidTransactions(InvalidInput):
    """Some rows of the dispatch are invalid. Nothing was sent and nothing was recorded."""

    slug = "invalid-transactions"
    title = "Transactions that cannot be sent"

    def __init__(self, errors: Sequence[FieldError], *, error_count: int | None = None) -> None:
        super().__init__(
            "Nothing was sent and nothing was recorded. Correct what `errors` lists, then dispatch again.",
            errors=errors,
            error_count=error_count,
        )


def check_transactions(rows: Sequence[Any], terms: Terms) -> list[Transaction]:
    """Checks every row. Raises InvalidTransactions with the first errors and the number of all of them."""
    if not rows:
        detail = "Send at least one transaction."
        raise InvalidTransactions([FieldError("/transactions", detail, FieldCode.TOO_FEW, {"min": 1})])
    if len(rows) > MOST_ROWS:
        detail = f"Send at most {MOST_ROWS} transactions."
        raise InvalidTransactions([FieldError("/transactions", detail, FieldCode.TOO_MANY, {"max": MOST_ROWS})])
    references = [row.get("referenceNumber") for row in rows if isinstance(row, Mapping)]
    times = Counter(reference.lower() for reference in references if isinstance(reference, str))
    errors = _Errors()
    checked = [_Row(number, row, terms, times, errors).transaction() for number, row in enumerate(rows, start=1)]
    if errors.count:
        raise InvalidTransactions(errors.named, error_count=errors.count)
    return [transaction for transaction in checked if transaction is not None]


@dataclass(slots=True)
class _Errors:
    """Keeps the first errors of a settlement and counts all: the errors of 100,000 rows would fill the memory."""

    named: list[RowError] = field(default_factory=list)
    count: int = 0


class _Row:
    """Checks one row; collects all its errors instead of stopping at the first."""

    def __init__(self, number: int, given: Any, terms: Terms, times: Counter[str], errors: _Errors) -> None:
        self._number = number
        self._given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self._is_object = isinstance(given, Mapping)
        self._terms = terms
        self._times = times
        self._errors = errors
        self._is_sound = True

    def transaction(self) -> Transaction | None:
        """Returns None if the row has errors."""
        if not self._is_object:
            self._refuse(None, "Each transaction must be a JSON object.", FieldCode.WRONG_TYPE, expected="object")
            return None
        self._refuse_unknown_fields()
        terms = self._terms
        transaction = Transaction(
            row_number=self._number,
            reference=self._reference(),
            debit_account=self._account("debitAccount"),
            credit_account=self._account("creditAccount"),
            amount=self._amount(),
            description=self._text("description", DESCRIPTION_LENGTH),
            core=self._text("core", BRANCH_LENGTH, terms.core),
            branch_code=self._text("branchCode", BRANCH_LENGTH, terms.branch_code),
            branch_name=self._text("branchName", BRANCH_LENGTH, terms.branch_name),
        )
        return transaction if self._is_sound else None

    def _refuse_unknown_fields(self) -> None:
        unknown = [name for name in self._given if name not in FIELDS]
        for name in unknown[:NAMED_FIELDS]:
            self._refuse(
                name, "This field does not exist. Compare its name with the API documentation.", FieldCode.UNKNOWN_FIELD
            )
        if len(unknown) > NAMED_FIELDS:
            count = len(unknown) - NAMED_FIELDS
            self._refuse(
                None, f"{count} more fields of this transaction do not exist.", FieldCode.UNKNOWN_FIELDS, count=count
            )

    def _reference(self) -> str:
        reference = self._given.get("referenceNumber")
        if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
            detail = "Give 1 to 15 printable ASCII characters, without a space at the start or end."
            self._refuse("referenceNumber", detail, FieldCode.BAD_REFERENCE)
            return ""
        if self._times[reference.lower()] > 1:
            detail = "Another row has the same reference; case does not count. Give each row its own reference."
            self._refuse("referenceNumber", detail, FieldCode.REPEATED)
        return reference

    def _account(self, name: str) -> str:
        account = self._given.get(name)
        if isinstance(account, str) and ACCOUNT.fullmatch(account):
            return account
        self._refuse(name, "Give the account as text of 5 to 34 digits.", FieldCode.BAD_ACCOUNT)
        return ""

    def _amount(self) -> Decimal:
        try:
            return read_amount(self._given.get("amount"), scale=self._terms.amount_scale)
        except NotAnAmount as error:
            self._refuse("amount", f"{error}.", FieldCode.BAD_AMOUNT, max_decimals=self._terms.amount_scale)
            return Decimal(0)

    def _text(self, name: str, longest: int, default: str | None = None) -> str:
        text = self._given.get(name)
        text = default if text is None else text
        if isinstance(text, str) and len(text) <= longest and text.isprintable():
            return text
        detail = f"Give text of at most {longest} printable characters."
        self._refuse(name, detail, FieldCode.BAD_TEXT, max=longest)
        return ""

    def _refuse(self, name: str | None, detail: str, code: FieldCode, **params: Any) -> None:
        self._is_sound = False
        self._errors.count += 1
        if len(self._errors.named) >= NAMED_ERRORS:
            return
        step = "" if name is None else "/" + name[:100].replace("~", "~0").replace("/", "~1")
        reference = self._given.get("referenceNumber")
        shown = reference[:100] if isinstance(reference, str) else None
        pointer = f"/transactions/{self._number - 1}{step}"
        self._errors.named.append(
            RowError(
                pointer=pointer,
                detail=detail,
                code=code,
                params=params,
                row_number=self._number,
                reference=shown,
            )
        )


def payload_of(
    request_id: str, transactions: Sequence[Transaction], *, callback_url: str, amount_scale: int
) -> tuple[str, Decimal]:
    """Returns the JSON text to store and send, and its control sum. ASCII only, so the stored text equals the sent
    bytes.
    """
    data = [
        {
            "core": transaction.core,
            "branchCode": transaction.branch_code,
            "branchName": transaction.branch_name,
            "debitAccount": transaction.debit_account,
            "creditAccount": transaction.credit_account,
            "amount": write_amount(transaction.amount, scale=amount_scale),
            "description": transaction.description,
            "referenceNumber": transaction.reference,
            "callback_url": callback_url,
        }
        for transaction in transactions
    ]
    content = {"requestId": request_id, "totalTx": str(len(data)), "data": data}
    control_sum = sum((transaction.amount for transaction in transactions), Decimal(0))
    return json.dumps(content, separators=(",", ":")), control_sum
