"""Settlements sent to the bank gateway: what comes in, and how attempts are shown."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from qrtrack.domain.akselgate.dispatches import (
    BRANCH_LENGTH,
    MOST_ROWS,
    CallbackState,
    Outcome,
    TransactionType,
    status_told,
)
from qrtrack.domain.masking import masked, without_tokens
from qrtrack.schemas.akselgate.attempt_details import ATTEMPT_DETAILS
from qrtrack.schemas.base import (
    ACCOUNT_PATTERN,
    DIGITS,
    REFERENCE_PATTERN,
    SETTLEMENT_PATTERN,
    Answer,
    Body,
    Day,
    Instant,
    ListQuery,
    Money,
    Page,
    Query,
    Reason,
)
from qrtrack.schemas.event_details import ShownAs, event_kinds

Settlement = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, pattern=SETTLEMENT_PATTERN)
]

Shown = Annotated[str, AfterValidator(without_tokens)]
"""What was sent or came back, to the byte but for the token of the callback address."""


def _shown(details: dict[str, Any]) -> dict[str, Any]:
    return {name: without_tokens(value) if isinstance(value, str) else value for name, value in details.items()}


class TransactionFields(BaseModel):
    """One transaction. What is wrong with any of them is answered for all of them at once."""

    debitAccount: str = Field(pattern=ACCOUNT_PATTERN, description="5 to 34 digits.", examples=["1000000001"])  # noqa: N815
    creditAccount: str = Field(pattern=ACCOUNT_PATTERN, description="5 to 34 digits.", examples=["2000000001"])  # noqa: N815
    amount: Annotated[str, Field(max_length=32)] | int = Field(
        description="Canonical decimal text, or a whole number; above 0.", examples=["150000"]
    )
    description: str = Field(max_length=100)
    referenceNumber: str = Field(max_length=15, pattern=REFERENCE_PATTERN, description="Once in all batches.")  # noqa: N815
    core: str | None = Field(None, max_length=BRANCH_LENGTH, description="As set on the server, unless given.")
    branchCode: str | None = Field(None, max_length=BRANCH_LENGTH)  # noqa: N815
    branchName: str | None = Field(None, max_length=BRANCH_LENGTH)  # noqa: N815


class DispatchBody(Body):
    """A batch of transactions of one settlement and one type: all of it is sent, or nothing."""

    transaction_type: Annotated[TransactionType, Field(strict=False)]
    kd_settle: Settlement = Field(description="The settlement.", examples=["STL20251122"])
    # The rows are checked by the domain, which names every error of every row with its number and reference.
    transactions: Annotated[
        list[Any],
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": TransactionFields.model_json_schema()}
        ),
    ]


class DispatchAnswer(Answer):
    """The gateway has taken the batch. Whether it pays, its callbacks tell."""

    log_id: int
    request_id: str
    attempt_number: int
    outcome: Outcome
    total_transactions: int
    status_code: str | None
    response_code: str | None
    message: str | None


class ListedAttempt(BaseModel):
    """An attempt without what it carried; long numbers in the gateway's message are masked."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    log_id: int = Field(validation_alias="id")
    kd_settle: str
    transaction_type: TransactionType
    request_id: str
    attempt_number: int
    total_transactions: int = Field(validation_alias="total_transaksi")
    control_sum: Money
    outcome: Outcome
    status_code: str | None = Field(
        validation_alias="status_code_res",
        description="The gateway's HTTP status; `unknown` where none came, null where nothing was sent.",
    )
    response_code: str | None
    message: str | None = Field(validation_alias="response_message")
    is_success: int | None
    is_latest: int
    is_open: bool = Field(description="Whether it keeps the settlement from being dispatched again.")
    sent_by: str
    sent_at: Instant
    updated_at: Instant

    @field_validator("status_code")
    @classmethod
    def _tell_status(cls, status_code: str | None, checked: ValidationInfo) -> str | None:
        return status_told(checked.data["outcome"], status_code)


class AttemptQuery(ListQuery):
    kd_settle: Settlement | None = None
    transaction_type: TransactionType | None = None
    outcome: Outcome | None = None
    is_latest: Annotated[int, DIGITS, Field(ge=0, le=1)] | None = None


class AttemptPage(Page):
    """Newest first."""

    attempts: list[ListedAttempt]

    @staticmethod
    def listed(attempts: list[Any]) -> list[ListedAttempt]:
        """The rows of the page, masked."""
        return [_masked(ListedAttempt.model_validate(attempt)) for attempt in attempts]


def _masked(attempt: ListedAttempt) -> ListedAttempt:
    said = attempt.message
    return attempt.model_copy(update={"message": said and masked(said)})


class SentRow(BaseModel):
    """One transaction as it was sent, and what the gateway reported of it."""

    model_config = ConfigDict(from_attributes=True)

    row_number: int
    reference_number: str
    debit_account: str
    credit_account: str
    amount: Money
    description: str
    callback_state: CallbackState
    callback_at: Instant | None
    locked: bool = Field(description="Whether the reference may not be sent again.")


class ReceivedCallback(BaseModel):
    """One report of the gateway."""

    model_config = ConfigDict(from_attributes=True)

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    reference_number: str
    result_code: str = Field(validation_alias="result", description="`rescore`; `00` is success.")
    result_reference: str = Field(description="`rescoreref`.")


class ListedEventBase(BaseModel):
    """What else happened to the attempt."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    event_id: int = Field(validation_alias="id")
    occurred_at: Instant
    actor: str
    outcome: Outcome | None
    note: str | None
    reference_number: str | None
    result_code: str | None = Field(validation_alias="result")
    result_reference: str | None


class ListedEvent(ListedEventBase):
    """`details` are those of the kind: see schemas/akselgate/attempt_details.py."""

    kind: str
    details: Annotated[dict[str, Any], AfterValidator(_shown)]


ListedEventKinds = event_kinds(ListedEventBase, "kind", ATTEMPT_DETAILS, prefix="Attempt")


class FullAttempt(ListedAttempt):
    """The attempt's own page: no account is masked here. The two payloads come with the first page of rows."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    message: Shown | None = Field(validation_alias="response_message")
    payload_sha256: str = Field(description="Of the bytes that were sent, the token in them included.")
    request_payload: Shown | None = None
    response_payload: Shown | None = None


class RowQuery(ListQuery):
    """A page of the attempt's rows."""


class AttemptAnswer(Page):
    """An attempt with a page of its rows, their callbacks, and its events."""

    attempt: FullAttempt
    rows: list[SentRow]
    callbacks: list[ReceivedCallback]
    events: list[Annotated[ListedEvent, ShownAs(ListedEventKinds)]]


class Resolution(Body):
    """What a person found out of an unknown attempt."""

    outcome: Literal["accepted", "rejected", "not_sent"]
    note: Reason = Field(description="How it is known: who at the bank said so, and when.")


class ResolvedAnswer(Answer):
    log_id: int
    outcome: Outcome
    resolved_by: str
    note: str


class ReportQuery(Query):
    date: Day


class UnknownByAge(BaseModel):
    under_1_hour: int
    under_1_day: int
    older: int


class ReportFigures(BaseModel):
    """Attempts, callbacks and money of a day. A callback is missing where an attempt was accepted or is unknown."""

    sent: int = Field(description="Attempts, whatever came of them.")
    accepted: int
    rejected: int
    not_sent: int
    sending: int
    unknown: int
    unknown_by_age: UnknownByAge
    callbacks_ok: int
    callbacks_failed: int
    callbacks_missing: int
    callbacks_conflict: int
    sum_in: Money = Field(description="Of the rows as they were asked for, without what was rejected or not sent.")
    sum_out: Money = Field(description="Of the bytes as they were sent, without what was rejected or not sent.")
    sums_agree: bool
    sum_accepted: Money
    sum_unknown: Money
    sum_sending: Money
    sum_rejected: Money
    sum_not_sent: Money
    sum_paid: Money = Field(description="What callbacks have reported as paid.")


class SettlementReport(ReportFigures):
    """A day of one settlement, in its latest spelling, and one type."""

    kd_settle: str
    transaction_type: TransactionType


class ReportAnswer(Answer):
    date: date
    timezone: str
    settlements: list[SettlementReport]
    totals: ReportFigures = Field(description="Of all settlements of the day.")


class CallbackAnswer(Answer):
    """The report is stored."""
