"""Linking: packing from the queue, linking scanned units, unlinking, moving, and the latest packs."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from qrtrack.domain.identity import normal_user
from qrtrack.domain.packing.imports import ROWS_LIMIT
from qrtrack.domain.packing.selections import PackSelection
from qrtrack.domain.packing.states import Completeness
from qrtrack.schemas.base import Answer, Body, Id, Instant, ListQuery, MasterCode, Name, Page, Reason, View
from qrtrack.schemas.packing.batches import VariantName
from qrtrack.schemas.packing.cases import CaseInfo
from qrtrack.schemas.packing.codes import CodeList, CodeResult

UnitCode = Annotated[str, Field(min_length=1, max_length=1000)]
"""One unit as it is scanned or typed: its code, or what its QR says."""

Station = Annotated[Name, Field(description="The packing place: any name.", examples=["line-2"])]


class PackRequest(Body):
    """The next units of the queue are packed into one case."""

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

    batch_id: Id
    order_id: Id
    master_code: MasterCode
    target_units: Annotated[int, Field(ge=1, le=ROWS_LIMIT)] | None = Field(
        None, description="How many units; if left out, as many as the case holds."
    )
    allow_partial: bool = Field(default=False, description="If the queue holds fewer units, packs these; at least one.")
    variant: VariantName | None = None
    first_code: UnitCode | None = Field(None, description="The first unit in the box. The run starts there.")
    last_code: UnitCode | None = Field(
        None, description="The last unit in the box. If the run does not end there, nothing is packed."
    )
    missing_codes: CodeList = Field([], description="Units that are not in the box: they are excluded.")
    station: Station | None = None


class FilledAnswer(Answer):
    """The case, and the codes that were linked to it."""

    master_code_info: CaseInfo
    linked_codes: list[str]
    linked_count: int
    consumed_count: int
    from_queue: bool


class SkippedUnits(View):
    """Units that wait in the queue before the scanned first unit. They stay there."""

    count: int
    first_code: str
    last_code: str
    more: bool = Field(description="Whether there are more units than `count`. Counting stops at 1,000.")


class PackedAnswer(FilledAnswer):
    """The case as it was packed, and its codes in serial order."""

    skipped: SkippedUnits | None = Field(
        description="Units before this case that stay in the queue. Null if the case took the first ones of the queue."
    )
    left_queue: list[str] = Field(
        description="Units that a consumer had checked before packing. They were not packed: find out how the "
        "consumer got them. Usually empty."
    )


class LinkRequest(Body):
    """Units that were scanned one by one into a case."""

    batch_id: Id
    order_id: Id
    master_code: MasterCode
    codes: CodeList
    accept_valid: bool = Field(default=False, description="Links the codes that can be linked, even if others cannot.")
    station: Station | None = None


class LinkedAnswer(FilledAnswer):
    """The case as it is now, and each code's result."""

    results: list[CodeResult]


class UnlinkRequest(Body):
    """Codes to take out of their cases, or the case to empty."""

    codes: CodeList | None = None
    master_code: MasterCode | None = None
    reason: Reason = Field(examples=["Box dropped"])
    station: Station | None = None
    requeue: bool = Field(
        default=True,
        description="Returns the units to their places in the queue, so that the next case takes them again. With "
        "`false` they need a new reverse job.",
    )


class UnlinkedAnswer(Answer):
    """The unlinked codes. `unlinked_count` is the sum of `requeued` and `left_out`."""

    unlinked_codes: list[str]
    unlinked_count: int
    requeued: int = Field(description="How many wait in the queue again, each in its place by serial order.")
    left_out: int = Field(
        description="How many do not wait in the queue: no job had prepared them, they are excluded, their job was "
        "cancelled, their old entry in the queue was deleted, or `requeue` was `false`. A new reverse job prepares "
        "those that are not excluded."
    )


class MoveRequest(Body):
    """The case that was scanned by mistake, and the case that the units are really in."""

    from_master_code: MasterCode
    to_master_code: MasterCode
    reason: Reason = Field(examples=["Wrong case scanned"])
    station: Station | None = None


class MovedAnswer(Answer):
    """The case that now contains the units."""

    master_code_info: CaseInfo
    moved_count: int


class PackFilter(ListQuery):
    """Which packs to list."""

    batch_id: UUID | None = None
    station: Name | None = None
    user: Annotated[Name, AfterValidator(normal_user)] | None = Field(
        None, description="The user who packed: `actor` in the answer."
    )

    def selection(self) -> PackSelection:
        return PackSelection(self.batch_id, self.station, self.user)


class PackedCaseEvent(View):
    """One case that was packed or added to, as it was then, and how much of that was undone later."""

    event_id: int
    occurred_at: Instant
    actor: str
    station: str | None
    batch_id: UUID
    master_code: str
    case_number: int
    linked_count: int
    completeness: Completeness | None
    first_code: str | None
    last_code: str | None
    from_queue: bool
    undone_at: Instant | None = Field(
        description="When the first of its units was taken out of its case; null if none was. A move takes none out."
    )
    undone_count: int = Field(description="How many of its units were taken out of their case.")
    moved_to: str | None = Field(
        description="The master code of the case that the units were moved to; null if they were not moved."
    )


class PackPage(Page):
    """Packs, the latest first."""

    packs: list[PackedCaseEvent]
