"""Print jobs over HTTP: requesting, polling and listing them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import ConfigDict, Field, computed_field

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.labels.print_jobs import NewPrint, PrintStatus
from qrtrack.schemas.base import LARGEST_SEQUENCE, Answer, Body, Id, Instant, ListQuery, Page, Reason, View

PRINT_JOBS_PATH: Final = "/api/manufacturer/print-jobs"
EITHER: Final = "Send either label_job_id, or batch_id and case_number."
FIELDS: Final[Mapping[str, Any]] = {"fields": ["label_job_id", "case_number"]}


class PrintRequest(Body):
    """Either a label job that is completed, or one case."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"batch_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10", "case_number": 1}}
    )

    label_job_id: Id | None = None
    batch_id: Id | None = None
    case_number: Annotated[int, Field(ge=1, le=LARGEST_SEQUENCE)] | None = None
    reason: Reason | None = Field(
        None, description="Required if this label job of units was sent to a printer before: why it is printed again."
    )

    def new_print(self) -> NewPrint:
        """Raises InvalidInput."""
        is_of_case = self.label_job_id is None
        code = FieldCode.REQUIRED if is_of_case else FieldCode.EXACTLY_ONE_OF
        wrong = [
            FieldError(f"/{name}", EITHER, code, {} if is_of_case else FIELDS)
            for name in ("batch_id", "case_number")
            if (getattr(self, name) is None) == is_of_case
        ]
        if wrong:
            raise InvalidInput(EITHER, errors=wrong)
        return NewPrint(**self.model_dump(include={"label_job_id", "batch_id", "case_number", "reason"}))


class PrintQueued(Answer):
    """The print job, waiting. Poll `status_url`."""

    print_job_id: int
    status: PrintStatus

    @computed_field(description="The address of the job; also in the header `Location`.")  # type: ignore[prop-decorator]
    @property
    def status_url(self) -> str:
        return f"{PRINT_JOBS_PATH}/{self.print_job_id}"


class PrintJobSummary(View):
    """A print job: a label job's file, or a case's label."""

    print_job_id: int = Field(validation_alias="id")
    printer_id: UUID
    printer_name: str
    label_job_id: UUID | None
    batch_id: UUID
    case_number: int | None
    master_code: str | None
    station: str | None = Field(description="The station that packed the case; null if a person requested the label.")
    status: PrintStatus = Field(
        description="`unknown`: sending was interrupted, so the label may be printed or not. Look whether it was "
        "printed. If it was, confirm it. If not, reprint it."
    )
    error_message: str | None
    sent_bytes: int
    attempts: int
    reason: str | None
    created_by: str
    created_at: Instant
    updated_at: Instant
    next_attempt_at: Instant | None = Field(description="Null unless the job waits for another attempt.")
    started_at: Instant | None
    sending_at: Instant | None = Field(
        description="When sending began. The job is sent again only if no byte was sent; then this is null again."
    )
    finished_at: Instant | None


class PrintJobAnswer(PrintJobSummary, Answer):
    """One print job, to be polled."""


class PrintJobPage(Page):
    """Print jobs, newest first."""

    print_jobs: list[PrintJobSummary]


class PrintJobFilter(ListQuery):
    """Which print jobs to list."""

    printer_id: UUID | None = None
    status: PrintStatus | None = None


class PrintJobChanged(Answer):
    """The job as it is now."""

    print_job_id: int
    status: PrintStatus
