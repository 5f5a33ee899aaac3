"""Dispatching a settlement: the request, and the members of an attempt in answers and problems."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, WithJsonSchema

from qrtrack.domain.akselgate.attempts import AttemptOutcome, TransactionType
from qrtrack.domain.akselgate.dispatches import BRANCH_LENGTH, MOST_ROWS
from qrtrack.schemas.base import ACCOUNT_PATTERN, REFERENCE_PATTERN, SETTLEMENT_PATTERN, Answer, Body, View

Settlement = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, pattern=SETTLEMENT_PATTERN)
]


class TransactionFields(BaseModel):
    """One transaction. A refusal lists the errors of all transactions at once."""

    debitAccount: str = Field(pattern=ACCOUNT_PATTERN, description="5 to 34 digits.", examples=["1000000001"])  # noqa: N815
    creditAccount: str = Field(pattern=ACCOUNT_PATTERN, description="5 to 34 digits.", examples=["2000000001"])  # noqa: N815
    amount: Annotated[str, Field(max_length=32)] | int = Field(
        description="Decimal text such as `1000.50`, or a whole number; above 0.", examples=["150000"]
    )
    description: str = Field(max_length=100)
    referenceNumber: str = Field(  # noqa: N815
        max_length=15,
        pattern=REFERENCE_PATTERN,
        description="A new one, or one whose earlier payment was refused, has failed, or was not sent.",
    )
    core: str | None = Field(None, max_length=BRANCH_LENGTH, description="Default: the server's setting.")
    branchCode: str | None = Field(None, max_length=BRANCH_LENGTH)  # noqa: N815
    branchName: str | None = Field(None, max_length=BRANCH_LENGTH)  # noqa: N815


class DispatchBody(Body):
    """The transactions of one settlement and one type. All are sent, or none."""

    transaction_type: Annotated[TransactionType, Field(strict=False)]
    kd_settle: Settlement = Field(description="The settlement.", examples=["STL20251122"])
    # The domain checks the rows, and names each error with row number and reference.
    transactions: Annotated[
        list[Any],
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": TransactionFields.model_json_schema()}
        ),
    ]


class AttemptMembers(View):
    """The attempt in question."""

    log_id: int
    request_id: str
    attempt_number: int
    outcome: AttemptOutcome
    total_transactions: int
    status_code: str | None
    response_code: str | None
    message: str | None = Field(
        description="The gateway's message, or why there is no answer of the gateway. Account numbers are masked."
    )


class DispatchAnswer(AttemptMembers, Answer):
    """The gateway has taken the settlement. Callbacks report later which payments it made."""
