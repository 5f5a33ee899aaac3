"""The report of a day's dispatches."""

from datetime import date

from pydantic import Field

from qrtrack.domain.akselgate.attempts import TransactionType
from qrtrack.schemas.base import Answer, Day, Money, Query, View


class ReportQuery(Query):
    date: Day


class UnknownByAge(View):
    under_1_hour: int
    under_1_day: int
    older: int


class ReportFigures(View):
    """Attempts, callbacks and money. `callbacks_missing` counts rows of accepted and unknown attempts only."""

    sent: int = Field(description="Attempts of any outcome.")
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
    sum_in: Money = Field(description="Sum of the requested rows, without rejected and unsent attempts.")
    sum_out: Money = Field(
        description="Sum read from the bytes sent, without rejected and unsent attempts. Of imported attempts, the sum "
        "of the rows."
    )
    sums_agree: bool
    sum_accepted: Money
    sum_unknown: Money
    sum_sending: Money
    sum_rejected: Money
    sum_not_sent: Money
    sum_paid: Money = Field(
        description="Sum of the rows that callbacks have reported as paid, without rows in conflict."
    )


class SettlementReport(ReportFigures):
    """One settlement and one type. Letter case does not distinguish settlements: `kd_settle` is the latest spelling."""

    kd_settle: str
    transaction_type: TransactionType


class ReportAnswer(Answer):
    date: date
    timezone: str
    settlements: list[SettlementReport]
    totals: ReportFigures = Field(description="Sums over all settlements of the day.")
