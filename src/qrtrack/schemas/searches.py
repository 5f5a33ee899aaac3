"""The results of a search: units, cases, jobs and batches, each with links to more about it."""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import Field

from qrtrack.domain.jobs import JobStatus
from qrtrack.domain.packing.states import BatchStatus, CaseStatus, CodeStatus
from qrtrack.domain.scans import ScanKind
from qrtrack.repositories.searches import FoundThing
from qrtrack.schemas.base import Answer, Instant, Query, View
from qrtrack.schemas.labels.label_jobs import LABELS_PATH
from qrtrack.schemas.packing.batches import BATCHES_PATH
from qrtrack.services.searches import Result, SearchResults

MANUFACTURER: Final = "/api/manufacturer"
LONGEST_QUERY: Final = 1000


class SearchQuery(Query):
    """What to search for."""

    q: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)] = Field(
        description="A code, a master code, a uniq code, the content of a QR or GS1 symbol, the id of a job, batch or "
        "order, or a part of a product's name.",
        examples=["SKA000001"],
    )


class FoundBase(View):
    """Every result belongs to one batch."""

    batch_id: UUID
    order_id: UUID
    product_name: str
    links: dict[str, str] = Field(description="Addresses of this API with more about the result.")


class FoundUnit(FoundBase):
    """A unit, and the case that it is in."""

    kind: Literal["unit"]
    code: str
    variant: str | None
    status: CodeStatus
    is_excluded: bool
    is_prepared: bool = Field(description="Whether the unit waits in the queue.")
    master_code: str | None
    case_number: int | None
    names_other_batch: bool = Field(
        description="The scanned symbol names another batch than this unit's: the label is not from this service, or "
        "another batch has a unit with the same code."
    )


class FoundCase(FoundBase):
    """A master case."""

    kind: Literal["case"]
    master_code: str
    case_number: int
    variant: str | None
    status: CaseStatus
    expected_units: int
    actual_units: int
    packed_at: Instant | None
    station: str | None


class FoundReverseJob(FoundBase):
    """A reverse job."""

    kind: Literal["reverse_job"]
    job_id: UUID
    status: JobStatus
    progress: int = Field(ge=0, le=100)


class FoundLabelJob(FoundBase):
    """A label job."""

    kind: Literal["label_job"]
    label_job_id: UUID = Field(validation_alias="job_id")
    status: JobStatus
    progress: int = Field(ge=0, le=100)


class FoundBatch(FoundBase):
    """A batch, found by its id, uniq code, order, GTIN or product."""

    kind: Literal["batch"]
    uniq_code: str
    gtin: str | None
    lot: str | None
    quantity: int
    status: BatchStatus
    created_at: Instant
    closed_at: Instant | None


Found = Annotated[FoundUnit | FoundCase | FoundReverseJob | FoundLabelJob | FoundBatch, Field(discriminator="kind")]
MODELS: Final[Mapping[str, type[Found]]] = {
    "unit": FoundUnit,
    "case": FoundCase,
    "reverse_job": FoundReverseJob,
    "label_job": FoundLabelJob,
    "batch": FoundBatch,
}
LINKS: Final[Mapping[str, Callable[[FoundThing], Mapping[str, str]]]] = {
    "unit": lambda unit: {
        "trace": f"{MANUFACTURER}/trace/{unit.code}",
        "symbol": f"{BATCHES_PATH}/{unit.batch_id}/codes/{unit.code}/qr.svg",
    },
    "case": lambda box: {
        "trace": f"{MANUFACTURER}/trace/{box.master_code}",
        "symbol": f"{BATCHES_PATH}/{box.batch_id}/cases/{box.case_number}/qr.svg",
        "label": f"{BATCHES_PATH}/{box.batch_id}/cases/{box.case_number}/label.pdf",
    },
    "reverse_job": lambda job: {"status": f"{MANUFACTURER}/reverse-job/status?job_id={job.job_id}"},
    "label_job": lambda job: {"status": f"{LABELS_PATH}/{job.job_id}"},
    "batch": lambda batch: {
        "codes": f"{BATCHES_PATH}/{batch.batch_id}/codes",
        "cases": f"{BATCHES_PATH}/{batch.batch_id}/cases",
        "reconciliation": f"{BATCHES_PATH}/{batch.batch_id}/reconciliation",
    },
}


def found_of(result: Result) -> Found:
    thing = result.found
    links = {**LINKS[thing.kind](thing), "batch": f"{BATCHES_PATH}/{thing.batch_id}"}
    members = {**thing._asdict(), "links": links, "names_other_batch": result.names_other_batch}
    return MODELS[thing.kind].model_validate(members)


class SearchAnswer(Answer):
    """The results, best first, at most 20."""

    read_as: ScanKind = Field(description="What the text was taken for.")
    results: list[Found]
    hint: str | None = Field(description="Says what can be searched; null if something was found.")

    @classmethod
    def of(cls, found: SearchResults) -> Self:
        return cls(read_as=found.read_as, results=[found_of(result) for result in found.results], hint=found.hint)
