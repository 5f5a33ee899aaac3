"""The checks, reports and alerts of a batch."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from qrtrack.domain.verification.alerts import AlertKind
from qrtrack.domain.verification.checks import Purpose, Result
from qrtrack.domain.verification.reports import ReportReason
from qrtrack.repositories.verification.records import Shown
from qrtrack.schemas.base import Instant, ListQuery, Page, View


class RecordFilter(ListQuery):
    """Which records of the batch to list."""

    show: Shown = Field("checks", description="`checks`, `reports` of consumers, or `alerts`.")


class CheckRecord(View):
    """A check with the right root key. Repeated checks of one browser within 30 minutes are one check."""

    check_id: int = Field(validation_alias="id")
    code: str
    sequence_number: int
    purpose: Purpose = Field(description="`qc`: by the plant's own staff. It does not count.")
    result: Result
    checked_at: Instant
    actor: str | None = Field(description="Who made a `qc` check.")


class ReportRecord(View):
    """What a consumer reported."""

    report_id: int = Field(validation_alias="id")
    code: str | None = Field(description="As the consumer entered it. Possibly no unit has this code.")
    reason: ReportReason
    message: str | None
    reported_at: Instant


class AlertRecord(View):
    """Raised at most once a day for each kind and unit, or for each kind and batch. `code` is null if the alert is
    about the whole batch.
    """

    alert_id: int = Field(validation_alias="id")
    kind: AlertKind
    code: str | None
    sequence_number: int | None
    raised_at: Instant


class CheckPage(Page):
    """Checks, newest first."""

    show: Literal["checks"]
    checks: list[CheckRecord]


class ReportPage(Page):
    """Reports, newest first."""

    show: Literal["reports"]
    reports: list[ReportRecord]


class AlertPage(Page):
    """Alerts, newest first."""

    show: Literal["alerts"]
    alerts: list[AlertRecord]


RecordPage = Annotated[CheckPage | ReportPage | AlertPage, Field(discriminator="show")]
RECORD_PAGE: TypeAdapter[CheckPage | ReportPage | AlertPage] = TypeAdapter(RecordPage)
