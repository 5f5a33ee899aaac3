"""Label jobs: what is requested, and the reasons to refuse it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from qrtrack.domain.errors import NAMED_THINGS, Conflict, InvalidState
from qrtrack.domain.jobs import TERMINAL_JOBS
from qrtrack.domain.labels.documents import DEFAULT_DPI, FileFormat
from qrtrack.domain.labels.formats import UNCALIBRATED, Calibration
from qrtrack.domain.labels.zpl import Dpi

LABELS_IN_JOB: Final = 100_000


class Labelled(StrEnum):
    """What the labels of a job are for."""

    UNITS = "units"
    CASES = "cases"


PRESET_OF: Final[Mapping[tuple[Labelled, FileFormat], str]] = {
    (Labelled.UNITS, FileFormat.PDF): "a4-65",
    (Labelled.CASES, FileFormat.PDF): "a4-8",
    (Labelled.UNITS, FileFormat.ZPL): "roll-50x30",
    (Labelled.CASES, FileFormat.ZPL): "roll-100x150",
}
"""The format of a job whose caller names none."""


@dataclass(frozen=True, slots=True)
class NewLabelJob:
    """A request for labels. Codes select units, numbers select cases. A missing first or last one is the batch's first
    or last.
    """

    what: Labelled
    file_format: FileFormat = FileFormat.PDF
    preset: str | None = None
    start_at: int = 1
    first_code: str | None = None
    last_code: str | None = None
    first_case: int | None = None
    last_case: int | None = None
    with_root_key: bool = False
    at_tills: bool = False
    dpi: Dpi = DEFAULT_DPI
    calibration: Calibration = UNCALIBRATED
    reason: str | None = None


class AlreadyPrinted(Conflict):
    """Some of these units were printed before. A reprint needs a reason."""

    slug = "already-printed"
    title = "Printed already"

    def __init__(self, printed: Sequence[Mapping[str, Any]], *, count: int) -> None:
        super().__init__(
            f"{count} of these units were printed before. A scanner counts two labels of one unit as two units: "
            "to print one again, say why in `reason`, and destroy the first label.",
            printed=list(printed[:NAMED_THINGS]),
            printed_count=count,
        )


class LabelsReserved(Conflict):
    """Another job that is queued or running prints some of these units."""

    slug = "labels-reserved"
    title = "Another job prints these units"

    def __init__(self, label_job_id: UUID) -> None:
        super().__init__(
            "Another label job that is queued or running prints some of these units. Wait until it has ended, or "
            "cancel it.",
            label_job_id=label_job_id,
        )


class NothingToPrint(InvalidState):
    """All units of the range are void."""

    slug = "nothing-to-print"
    title = "Nothing to print"
    message = "Every unit of this range is void, so there is no label to print. Choose another range."


class RootKeysMissing(InvalidState):
    """Some of the units have no root key that can be printed."""

    slug = "root-keys-missing"
    title = "Root keys are missing"

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} of these units have no root key that can be printed. The keys were deleted, or the codes "
            "were imported without them. Print without `with_root_key`.",
        )


class FileNotReady(InvalidState):
    """The job is not completed, so it has no file."""

    slug = "label-file-not-ready"
    title = "The file is not ready"

    def __init__(self, status: str) -> None:
        advice = "Poll the job until it is completed." if status not in TERMINAL_JOBS else "Submit another label job."
        super().__init__(f"The label job is {status} and has no file. {advice}", state=status)
