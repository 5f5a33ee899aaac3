"""Linking: packing from the queue, unit by unit, undoing it, and what the stations packed last."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from qrtrack.domain.identity import normal_user
from qrtrack.domain.imports import ROWS_LIMIT
from qrtrack.domain.states import Completeness
from qrtrack.schemas.base import Answer, Body, ListQuery, Name, Page, Reason
from qrtrack.schemas.batches import VariantName
from qrtrack.schemas.cases import CaseInfo
from qrtrack.schemas.codes import CodeList

Scan = Annotated[str, Field(min_length=1, max_length=1000)]
"""What a scanner or a person gives as one unit: its code, or the URL in its QR."""

MasterCode = Annotated[
    Name,
    # Read as unit codes are: a hand scanner may be set to small letters.
    AfterValidator(lambda code: code.upper() if code.isascii() else code),
    Field(description="The master code in the case's QR.", examples=["K7QWZ4MHT2XA-C0042"]),
]
Station = Annotated[Name, Field(description="Where it is packed: any name.", examples=["line-2"])]


class PackOrder(Body):
    """The next units of the queue, to go into one case."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "batch_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a11",
                "order_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10",
                "master_code": "K7QWZ4MHT2XA-C0042",
                "target_units": 100,
                "first_code": "SKA004101",
                "last_code": "SKA004200",
            }
        }
    )

    batch_id: UUID
    order_id: UUID
    master_code: MasterCode
    target_units: Annotated[int, Field(strict=True, ge=1, le=ROWS_LIMIT)] | None = Field(
        None, description="How many; left out, as many as the case holds."
    )
    allow_partial: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Packs what there is, at least one, where the queue holds fewer."
    )
    variant: VariantName | None = None
    first_code: Scan | None = Field(None, description="The first unit in the operator's hands: the run starts there.")
    last_code: Scan | None = Field(
        None, description="The last unit: if the run would not end there, nothing is packed."
    )
    missing_codes: CodeList = Field([], description="Units found missing: they are excluded, and the rest is packed.")
    station: Station | None = None


class PackedAnswer(Answer):
    """The case as it was packed, and its codes in serial order."""

    master_code_info: CaseInfo
    linked_codes: list[str]
    linked_count: int
    consumed_count: int
    from_queue: bool


class LinkOrder(Body):
    """Units scanned one by one into a case."""

    batch_id: UUID
    order_id: UUID
    master_code: MasterCode
    codes: CodeList
    accept_valid: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Links those that can be linked, instead of none where one cannot."
    )
    station: Station | None = None


class CodeResult(BaseModel):
    """What became of one code; `reason` is a stable word, `master_code` the case that it is in already."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    accepted: bool
    reason: str | None
    detail: str | None
    master_code: str | None


class LinkedAnswer(PackedAnswer):
    """The case as it is now, and each code's result."""

    results: list[CodeResult]


class UnlinkOrder(Body):
    """Codes to be taken out of their cases, or the case to be emptied."""

    codes: CodeList | None = None
    master_code: MasterCode | None = None
    reason: Reason = Field(examples=["Box dropped"])
    station: Station | None = None


class UnlinkedAnswer(Answer):
    """The codes that may be prepared again."""

    unlinked_codes: list[str]
    unlinked_count: int


class PackFilter(ListQuery):
    """Whose packs to list."""

    station: Name | None = None
    user: Annotated[Name, AfterValidator(normal_user)] | None = None


class PackedCaseEvent(BaseModel):
    """One case packed or added to, as it was then."""

    id: int
    occurred_at: datetime
    user: str
    station: str | None
    batch_id: UUID
    master_code: str
    case_number: int
    linked_count: int
    completeness: Completeness | None
    first_code: str | None
    last_code: str | None
    from_queue: bool

    @classmethod
    def of(cls, event: Any) -> "PackedCaseEvent":
        details = event.details
        return cls(
            id=event.id,
            occurred_at=event.occurred_at,
            user=event.actor,
            station=event.station,
            batch_id=event.batch_id,
            master_code=details["master_code"],
            case_number=details["case_number"],
            linked_count=event.unit_count,
            completeness=details["completeness"],
            first_code=details["first_code"],
            last_code=details["last_code"],
            from_queue=event.action == "case.packed",
        )


class PackPage(Page):
    """Packs, the latest first."""

    packs: list[PackedCaseEvent]
