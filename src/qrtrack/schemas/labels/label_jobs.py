"""Label jobs: submitting, polling, ending and retrying them, and printing one case's label at once."""

from typing import Annotated, Any, Final, Literal, Self, cast
from uuid import UUID

from pydantic import ConfigDict, Field, computed_field

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.labels.documents import FileFormat
from qrtrack.domain.labels.formats import Calibration
from qrtrack.domain.labels.label_jobs import Labelled, NewLabelJob
from qrtrack.domain.labels.zpl import Dpi
from qrtrack.models import LabelJob
from qrtrack.schemas.base import (
    DECIMAL,
    DIGITS,
    LARGEST_SEQUENCE,
    Answer,
    Body,
    Flag,
    Instant,
    ListQuery,
    Page,
    Part,
    Query,
    Reason,
    ScannedCode,
    View,
)
from qrtrack.schemas.labels.label_formats import FormatName

LABELS_PATH: Final = "/api/manufacturer/labels"

Shift = Annotated[float, Field(ge=-20, le=20, description="Millimetres; to the right or downwards is positive.")]
Ratio = Annotated[
    float,
    Field(
        ge=0.9,
        le=1.1,
        description="The length of the ruler (100 mm) divided by the length that you measured on the print.",
    ),
]
CaseNumber = Annotated[int, Field(ge=1, le=LARGEST_SEQUENCE)]
Place = Annotated[int, Field(ge=1, le=500)]


class CalibrationRequest(Part):
    """Corrects a printer: see the calibration page of the format."""

    dx: Shift = 0.0
    dy: Shift = 0.0
    scale_x: Ratio = 1.0
    scale_y: Ratio = 1.0


class LabelRequest(Body):
    """What to print, on what, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "what": "units", "format": "pdf", "preset": "a4-65", "start_at": 1, "first_code": "SKA000001",
                "last_code": "SKA000100",
            }
        }
    )  # fmt: skip

    what: Literal["units", "cases"]
    format: Literal["pdf", "zpl"] = "pdf"
    preset: FormatName | None = Field(
        None,
        description="A preset, or a label format of your organisation. Default for PDF: `a4-65` (units) or `a4-8` "
        "(cases). Default for ZPL: `roll-50x30` (units) or `roll-100x150` (cases).",
    )
    start_at: Place = Field(
        1, description="For a sheet that is partly used: the place of the first label, counted from 1 along the rows."
    )
    first_code: ScannedCode | None = Field(
        None, description="For labels of units: the first code. Default: the first code of the batch."
    )
    last_code: ScannedCode | None = Field(
        None, description="For labels of units: the last code. Default: the last code of the batch."
    )
    first_case: CaseNumber | None = Field(
        None, description="For labels of cases: the number of the first case. Default: 1."
    )
    last_case: CaseNumber | None = Field(
        None, description="For labels of cases: the number of the last case. Default: the last case of the batch."
    )
    with_root_key: bool = Field(default=False, description="Prints each unit's root key, under a scratch layer.")
    pos: bool = Field(default=False, description="For tills: modules of at least 0.396 mm (GS1).")
    dpi: Literal[203, 300, 600] = Field(203, description="The resolution of the ZPL printer.")
    calibration: CalibrationRequest | None = None
    reason: Reason | None = Field(None, description="Why units are printed again. Required for a reprint.")

    dry_run: bool = Field(default=False, description="Returns what would be printed or refused, and changes nothing.")

    def new_label_job(self) -> NewLabelJob:
        """Raises InvalidInput for a field of the other kind of labels. If a range were ignored, the job would print
        more than the caller meant.
        """
        others = ("first_case", "last_case") if self.what == "units" else ("first_code", "last_code", "with_root_key")
        if wrong := [name for name in others if getattr(self, name)]:
            other_kind = "cases" if self.what == "units" else "units"
            advice = f"is for labels of {other_kind}. Leave it out, or send `what` as `{other_kind}`."
            raise InvalidInput(
                f"{wrong[0]} {advice}",
                errors=[FieldError(f"/{name}", f"{name} {advice}", FieldCode.INVALID) for name in wrong],
            )
        return NewLabelJob(
            what=Labelled(self.what),
            file_format=FileFormat(self.format),
            at_tills=self.pos,
            calibration=Calibration(**(self.calibration or CalibrationRequest()).model_dump()),
            first_code=self.first_code,
            last_code=self.last_code,
            **self.model_dump(
                include={"preset", "start_at", "first_case", "last_case", "with_root_key", "dpi", "reason"}
            ),
        )


class LabelJobSubmitted(Answer):
    """The queued job. Poll `status_url`."""

    label_job_id: UUID
    status: JobStatus
    label_count: int

    @computed_field(description="The address of the job; also in the header `Location`.")  # type: ignore[prop-decorator]
    @property
    def status_url(self) -> str:
        return f"{LABELS_PATH}/{self.label_job_id}"


class LabelJobDryRun(Answer):
    """What the label job would print if it were submitted now."""

    dry_run: Literal[True] = True
    label_count: int
    void_count: int = Field(description="Void units in the range. They get no label.")
    page_count: int = Field(description="How many sheets are needed, or how many rows of a roll.")


class LabelJobSummary(View):
    """A label job as lists show it."""

    label_job_id: UUID = Field(validation_alias="id")
    batch_id: UUID
    what: Labelled
    format: FileFormat = Field(validation_alias="file_format")
    preset: str
    status: JobStatus
    progress: int = Field(ge=0, le=100)
    first_number: int = Field(description="The first unit's sequence number, or the first case's number.")
    last_number: int
    label_count: int = Field(description="Units that were not void when the job was submitted, or cases.")
    drawn_count: int
    void_count: int | None = Field(
        description="Units that were skipped because they are void; null unless the job is completed."
    )
    with_root_key: bool
    reason: str | None
    error_message: str | None
    file_url: str | None = Field(
        description="Null until the job is completed, and after its file was deleted with the root keys."
    )
    file_bytes: int
    attempts: int
    created_by: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    finished_at: Instant | None

    @classmethod
    def of(cls, job: LabelJob) -> Self:
        return cls.model_validate({**_columns(job), "void_count": _void(job), "file_url": _file_url(job)})


def _columns(job: LabelJob) -> dict[str, Any]:
    names = ("id", *(LabelJobSummary.model_fields.keys() - {"label_job_id", "format", "void_count", "file_url"}))
    return {name: getattr(job, name) for name in (*names, "file_format")}


def _void(job: LabelJob) -> int | None:
    is_completed = job.status == JobStatus.COMPLETED
    return job.last_number - job.first_number + 1 - job.drawn_count if is_completed else None


def _file_url(job: LabelJob) -> str | None:
    """Returns None also if the file showed root keys that were deleted later."""
    has_file = job.status == JobStatus.COMPLETED and job.part_count > 0
    return f"{LABELS_PATH}/{job.id}/file" if has_file else None


class LabelJobAnswer(LabelJobSummary, Answer):
    """One label job. Poll it every few seconds."""


class LabelJobPage(Page):
    """Label jobs, newest first."""

    label_jobs: list[LabelJobSummary]


class LabelJobFilter(ListQuery):
    """Which label jobs to list."""

    batch_id: UUID | None = None
    status: JobStatus | None = None


class LabelJobChanged(Answer):
    """The job as it is now."""

    label_job_id: UUID
    status: JobStatus


class CaseLabelQuery(Query):
    """How the label of one case is printed."""

    preset: FormatName | None = Field(None, description="Left out: `roll-100x150`.")
    start_at: Annotated[Place, DIGITS] = 1
    pos: Flag = False
    dx: Annotated[Shift, DECIMAL] = 0.0
    dy: Annotated[Shift, DECIMAL] = 0.0
    scale_x: Annotated[Ratio, DECIMAL] = 1.0
    scale_y: Annotated[Ratio, DECIMAL] = 1.0

    def new_label_job(self, file_format: FileFormat) -> NewLabelJob:
        return NewLabelJob(
            what=Labelled.CASES,
            file_format=file_format,
            preset=self.preset,
            start_at=self.start_at,
            at_tills=self.pos,
            dpi=self._dpi(),
            calibration=Calibration(self.dx, self.dy, self.scale_x, self.scale_y),
        )

    def _dpi(self) -> Dpi:
        return 203


class CaseLabelZplQuery(CaseLabelQuery):
    """How the label of one case is printed as ZPL."""

    dpi: Literal["203", "300", "600"] = Field("203", description="Of the printer.")

    def _dpi(self) -> Dpi:
        return cast("Dpi", int(self.dpi))
