"""Print jobs: a label or a label file that is sent to a printer at most once."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from qrtrack.domain.errors import Unavailable
from qrtrack.domain.labels.documents import FileFormat

LOOK_THEN_REPRINT: Final = "Look whether the label was printed. If not, reprint it."
TOO_LATE_HOURS: Final = 24
"""A print job that waits longer than this for its printer fails."""


class PrintStatus(StrEnum):
    """`unknown`: sending began and did not end normally, so the label may be printed. No worker sends it again."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


def printer_kind(file_format: str, dpi: int) -> str:
    """Returns `pdf`, or for ZPL also the resolution: `zpl 203`. A printer prints only files of its own kind."""
    return f"{file_format} {dpi}" if file_format == FileFormat.ZPL else file_format


ENDED_PRINTS = frozenset(PrintStatus) - {PrintStatus.QUEUED, PrintStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class NewPrint:
    """A request to print the file of a label job or the label of a case. `reason` says why units are printed again."""

    label_job_id: UUID | None = None
    batch_id: UUID | None = None
    case_number: int | None = None
    reason: str | None = None


class PrinterNotReached(Unavailable):
    """Nothing was sent: the printer could not be reached, or it refused or closed the connection."""

    slug = "printer-not-reached"
    title = "The printer was not reached"


class PrinterNotReady(Unavailable):
    """Nothing was sent: the printer says that it cannot print."""

    slug = "printer-not-ready"
    title = "The printer is not ready"


class PrintBroken(Exception):
    """The connection broke while the label was sent. If any byte was sent, the label may be printed. The message says
    what happened.
    """
