"""Attempts to send a settlement: lists, one attempt, and its resolution."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from qrtrack.domain.akselgate.attempts import AttemptOutcome, TransactionType, shown_status
from qrtrack.domain.akselgate.callbacks import CallbackState
from qrtrack.domain.masking import masked, without_tokens
from qrtrack.schemas.akselgate.attempt_details import ATTEMPT_DETAILS
from qrtrack.schemas.akselgate.callbacks import ReceivedCallback
from qrtrack.schemas.akselgate.dispatches import Settlement
from qrtrack.schemas.base import DIGITS, Answer, Body, Instant, ListQuery, Money, Page, Reason, View
from qrtrack.schemas.event_details import ShownAs, event_kinds

WithoutTokens = Annotated[str, AfterValidator(without_tokens)]
"""Text as it was sent or received, except that the tokens in callback addresses are hidden."""


def _without_tokens(details: dict[str, Any]) -> dict[str, Any]:
    return {name: without_tokens(value) if isinstance(value, str) else value for name, value in details.items()}


class ListedAttempt(View):
    """An attempt without its payloads. Long numbers in `message` are masked."""

    log_id: int = Field(validation_alias="id")
    kd_settle: str
    transaction_type: TransactionType
    request_id: str
    attempt_number: int
    total_transactions: int = Field(validation_alias="total_transaksi")
    control_sum: Money
    outcome: AttemptOutcome
    status_code: str | None = Field(
        validation_alias="status_code_res",
        description="The gateway's HTTP status; `unknown` if none came, null while the attempt is `sending` and if "
        "nothing was sent.",
    )
    response_code: str | None
    message: Annotated[str, AfterValidator(masked)] | None = Field(validation_alias="response_message")
    is_success: int | None
    is_latest: int
    is_open: bool = Field(description="Whether the attempt blocks the next dispatch of its settlement.")
    sent_by: str
    sent_at: Instant
    updated_at: Instant

    @field_validator("status_code")
    @classmethod
    def _show_status(cls, status_code: str | None, checked: ValidationInfo) -> str | None:
        return shown_status(checked.data["outcome"], status_code)


class AttemptQuery(ListQuery):
    kd_settle: Settlement | None = None
    transaction_type: TransactionType | None = None
    outcome: AttemptOutcome | None = None
    is_latest: Annotated[int, DIGITS, Field(ge=0, le=1)] | None = None


class AttemptPage(Page):
    """Newest first."""

    attempts: list[ListedAttempt]


class SentRow(View):
    """One transaction as it was sent, and what the gateway reported about it."""

    row_number: int
    reference_number: str
    debit_account: str
    credit_account: str
    amount: Money
    description: str
    callback_state: CallbackState
    callback_at: Instant | None
    locked: bool = Field(description="Whether the reference may not be sent again.")


class ListedEventBase(View):
    """An event of the attempt."""

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    actor: str
    outcome: AttemptOutcome | None
    note: str | None
    reference_number: str | None
    result_code: str | None = Field(validation_alias="result")
    result_reference: str | None


class ListedEvent(ListedEventBase):
    """One event of an attempt. The kind decides what `details` contain: see schemas/akselgate/attempt_details.py."""

    kind: str
    details: Annotated[dict[str, Any], AfterValidator(_without_tokens)]


ListedEventKinds = event_kinds(ListedEventBase, "kind", ATTEMPT_DETAILS, prefix="Attempt")


class FullAttempt(ListedAttempt):
    """One attempt, with account numbers unmasked. The two payloads come with the first page of rows."""

    message: WithoutTokens | None = Field(validation_alias="response_message")
    payload_sha256: str = Field(
        description="The hash of the sent bytes, with the tokens in callback addresses that `request_payload` hides."
    )
    request_payload: WithoutTokens | None = None
    response_payload: WithoutTokens | None = None


class RowQuery(ListQuery):
    """A page of the attempt's rows."""


class AttemptAnswer(Page):
    """An attempt with a page of its rows, their callbacks, and its events."""

    attempt: FullAttempt
    rows: list[SentRow]
    callbacks: list[ReceivedCallback]
    events: list[Annotated[ListedEvent, ShownAs(ListedEventKinds)]]


class Resolution(Body):
    """What an administrator learned about an unknown attempt."""

    outcome: Literal["accepted", "rejected", "not_sent"]
    note: Reason = Field(description="How you know this: who at the bank said it, and when.")


class ResolvedAnswer(Answer):
    log_id: int
    outcome: AttemptOutcome
    resolved_by: str
    note: str
