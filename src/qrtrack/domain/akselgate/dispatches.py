"""A settlement's batch of transactions: what is refused before anything is written, and the bytes that are sent."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from qrtrack.domain.akselgate.money import NotAnAmount, read_amount, write_amount
from qrtrack.domain.errors import NAMED_ERRORS, FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode

# More than a body of 16 MiB holds in earnest. A list of nothing but zeros holds millions, each of them an error.
MOST_ROWS = 100_000
NAMED_FIELDS = 20
DESCRIPTION_LENGTH = 100
BRANCH_LENGTH = 100
ACCOUNT = re.compile(r"[0-9]{5,34}", re.ASCII)
# ASCII from end to end: look-alikes, invisible and combining characters would be another reference for us, and perhaps
# the same for the bank.
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


class TransactionType(StrEnum):
    CA_ESCROW = "CA_ESCROW"
    ESCROW_BILLER_PL = "ESCROW_BILLER_PL"


class Outcome(StrEnum):
    """What is known of an attempt. `accepted` means taken, not paid: that is what the callbacks tell."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


def status_told(outcome: str, status_code: str | None) -> str | None:
    """Of what was never sent there is no status, neither known nor unknown."""
    return None if outcome == Outcome.NOT_SENT else status_code


def stale_after(deadline_seconds: float) -> float:
    """Seconds after which an attempt still `sending` is called unknown, and after which its sender sends no more.

    One rule for both: who was stopped that long must not send what a person may have called not sent meanwhile.
    """
    return 2 * deadline_seconds


RESOLUTIONS = frozenset({Outcome.ACCEPTED, Outcome.REJECTED, Outcome.NOT_SENT})


class CallbackState(StrEnum):
    """`conflict`: the gateway reported both, or paid what it had refused. A person has to look."""

    MISSING = "missing"
    OK = "ok"
    FAILED = "failed"
    CONFLICT = "conflict"


class EventKind(StrEnum):
    """What can happen to an attempt besides its answer. `resolved` and `closed` move it, the others only tell.

    `doubted_refusal`: the gateway refused a batch with a reference that was sent before and may be paid.
    """

    CALLBACK = "callback"
    UNKNOWN_REFERENCE = "unknown_reference"
    UNREADABLE_CALLBACK = "unreadable_callback"
    CONFLICT = "conflict"
    LATE_RESPONSE = "late_response"
    DOUBTED_REFUSAL = "doubted_refusal"
    SWEPT = "swept"
    RESOLVED = "resolved"
    CLOSED = "closed"


# What a person has to look at.
ALARMING = (EventKind.CONFLICT, EventKind.UNKNOWN_REFERENCE, EventKind.UNREADABLE_CALLBACK, EventKind.LATE_RESPONSE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the gateway's account fixes: `amount_scale` is how many digits after the point it reads."""

    amount_scale: int
    core: str
    branch_code: str
    branch_name: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One checked row. Rows are numbered from 1, as people count them."""

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
    """A bad field of one row; the reference is the one that was sent, whatever it is worth."""

    row_number: int
    reference: str | None


class InvalidTransactions(InvalidInput):
    """Rows of the dispatch are wrong: nothing was sent and nothing recorded."""

    slug = "invalid-transactions"
    title = "Transactions that cannot be sent"

    def __init__(self, errors: Sequence[FieldError], *, error_count: int | None = None) -> None:
        super().__init__(
            "Nothing was sent and nothing recorded: correct the rows named in errors.",
            errors=errors,
            error_count=error_count,
        )


def check_transactions(rows: Sequence[Any], terms: Terms) -> list[Transaction]:
    """All rows or none: raises InvalidTransactions with the first errors, and with how many there are in all rows."""
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
    """The first errors of a batch, and how many there are: of 100,000 bad rows each error would take memory."""

    named: list[RowError] = field(default_factory=list)
    count: int = 0


class _Row:
    """One row under examination; it goes on after an error instead of stopping at the first."""

    def __init__(self, number: int, given: Any, terms: Terms, times: Counter[str], errors: _Errors) -> None:
        self._number = number
        self._given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self._is_object = isinstance(given, Mapping)
        self._terms = terms
        self._times = times
        self._errors = errors
        self._is_sound = True

    def transaction(self) -> Transaction | None:
        """None where the errors say why not."""
        if not self._is_object:
            self._refuse(None, "A transaction is a JSON object.", FieldCode.WRONG_TYPE, expected="object")
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
            self._refuse(name, "There is no such field: compare it with the documentation.", FieldCode.UNKNOWN_FIELD)
        if len(unknown) > NAMED_FIELDS:
            count = len(unknown) - NAMED_FIELDS
            self._refuse(None, f"{count} more fields of it do not exist.", FieldCode.UNKNOWN_FIELDS, count=count)

    def _reference(self) -> str:
        reference = self._given.get("referenceNumber")
        if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
            detail = "Give a reference of 1 to 15 printable ASCII characters, without blanks around it."
            self._refuse("referenceNumber", detail, FieldCode.BAD_REFERENCE)
            return ""
        if self._times[reference.lower()] > 1:
            detail = "This reference stands in more than one row, perhaps in another case: each row needs its own."
            self._refuse("referenceNumber", detail, FieldCode.REPEATED)
        return reference

    def _account(self, name: str) -> str:
        account = self._given.get(name)
        if isinstance(account, str) and ACCOUNT.fullmatch(account):
            return account
        self._refuse(name, "Give an account, as text of 5 to 34 digits.", FieldCode.BAD_ACCOUNT)
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
        detail = f"Give text of at most {longest} characters, without control characters."
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
    """The request as it is stored and sent, in ASCII so that text and bytes are the same; and its control sum."""
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
