"""What the `details` of each kind of trace event hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from pydantic import Field

from qrtrack.domain.packing.states import Completeness
from qrtrack.repositories.recalculation import CountedKind
from qrtrack.schemas.base import Instant
from qrtrack.schemas.event_details import Details, NoDetails
from qrtrack.schemas.packing.reverse_jobs import ResultSummary


class OrderDetails(Details):
    order_id: UUID


class PackDetails(Details):
    """The case after the units were added."""

    master_code: str
    case_number: int
    first_code: str | None
    last_code: str | None
    completeness: Completeness | None


class MoveDetails(Details):
    """The two cases of a move."""

    master_codes: list[str]
    from_master_code: str
    from_case_number: int
    master_code: str
    case_number: int


class CasesDetails(Details):
    master_codes: list[str] = Field(description="The cases that the units were in.")


class PossibleCasesDetails(Details):
    master_codes: list[str] = Field(
        default_factory=list, description="The cases that the units were in. Left out if they were in no case."
    )


class ForgottenDetails(Details):
    forgotten: int


class SubmittedDetails(Details):
    variant: str | None


class CompletedDetails(ResultSummary, Details):
    """The job's result."""


class CancelledDetails(Details):
    withdrawn: int


class LabelJobDetails(Details):
    """What is printed: cases, or the units that the event names."""

    label_job_id: UUID
    label_count: int
    with_root_key: bool
    first_case: int | None
    last_case: int | None


class LabelledDetails(LabelJobDetails):
    """What was printed."""

    first_prints: int = Field(description="Units that had not been printed before.")


class ReleaseDetails(Details):
    released_at: Instant


class RecallDetails(Details):
    recall_id: UUID


class PrefixDetails(Details):
    prefix: str


class MovedGtinDetails(Details):
    """A GTIN or a company prefix. `is_own`: it belongs to this organisation from then on."""

    gtin: str | None
    prefix: str | None
    is_own: bool


class PrintDetails(Details):
    """What a printer was told to print: the file of a label job, or the label of a case."""

    print_job_id: int
    printer_name: str
    label_job_id: UUID | None
    master_code: str | None
    case_number: int | None


class PrinterDetails(Details):
    """The printer as it was added or changed, or as it was before it was deleted."""

    printer_id: UUID
    printer_name: str
    address: str


class LabelFormatDetails(Details):
    name: str


class RepairedDetails(Details):
    """The counters before and after the repair."""

    kind: CountedKind
    before: dict[str, int | str]
    after: dict[str, int | str]


TRACE_DETAILS: Final[Mapping[str, type[Details]]] = MappingProxyType(
    {
        "batch.created": OrderDetails,
        "batch.imported": OrderDetails,
        "batch.failed": NoDetails,
        "batch.retried": NoDetails,
        "batch.closed": NoDetails,
        "batch.released": ReleaseDetails,
        "keys.revealed": NoDetails,
        "keys.forgotten": ForgottenDetails,
        "codes.printed": NoDetails,
        "codes.missing": NoDetails,
        "codes.checked_before_packed": NoDetails,
        "codes.readmitted": NoDetails,
        "codes.scanned": NoDetails,
        "codes.redeemed": NoDetails,
        "codes.quality_checked": NoDetails,
        "codes.voided": PossibleCasesDetails,
        "codes.unlinked": CasesDetails,
        "case.packed": PackDetails,
        "case.linked": PackDetails,
        "case.moved": MoveDetails,
        "reverse_job.submitted": SubmittedDetails,
        "reverse_job.completed": CompletedDetails,
        "reverse_job.cancelled": CancelledDetails,
        "reverse_job.retried": NoDetails,
        "label_job.submitted": LabelJobDetails,
        "label_job.completed": LabelledDetails,
        "label_job.cancelled": LabelJobDetails,
        "label_job.retried": LabelJobDetails,
        "company_prefix.claimed": PrefixDetails,
        "company_prefix.deleted": PrefixDetails,
        "gtin.moved": MovedGtinDetails,
        "recall.made": RecallDetails,
        "recall.lifted": RecallDetails,
        "print_job.ordered": PrintDetails,
        "print_job.cancelled": PrintDetails,
        "print_job.confirmed": PrintDetails,
        "printer.added": PrinterDetails,
        "printer.changed": PrinterDetails,
        "printer.deleted": PrinterDetails,
        "label_format.stored": LabelFormatDetails,
        "label_format.deleted": LabelFormatDetails,
        "counters.repaired": RepairedDetails,
    }
)
