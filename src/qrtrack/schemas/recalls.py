"""Recalls of batches, cases and codes."""

from collections.abc import Mapping
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from qrtrack.domain.packing.states import CodeStatus
from qrtrack.domain.verification.recalls import RecallScope
from qrtrack.schemas.base import MANY_LINES, Answer, Body, Flag, Id, Instant, ListQuery, Name, Page, Reason, View
from qrtrack.schemas.packing.codes import CodeList
from qrtrack.services.recalls import RecallTexts

PublicText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=MANY_LINES)]


class RecallRequest(Body):
    """Exactly one of `batch_id`, `master_code` and `codes` says what is recalled."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "batch_id": "01939c3e-7d2f-7c44-9a53-0c8f2b1f6a10", "reason": "Glass in lot 7",
                "text_en": "Do not use it. Bring it back to the shop.",
                "text_id": "Jangan digunakan. Kembalikan ke toko.",
            }
        }
    )  # fmt: skip

    batch_id: Id | None = None
    master_code: Name | None = None
    codes: CodeList | None = None
    reason: Reason = Field(description="For your own records. Consumers do not see it.")
    text_en: PublicText = Field(description="What consumers read, in English. Say what to do with the product.")
    text_id: PublicText = Field(description="The same in Indonesian.")
    dry_run: bool = Field(default=False, description="Returns what would be recalled or refused, and changes nothing.")

    @property
    def texts(self) -> RecallTexts:
        return RecallTexts(self.reason, self.text_en, self.text_id)


class LiftRequest(Body):
    """Which recall ends, and why."""

    recall_id: Id
    reason: Reason = Field(examples=["The laboratory found nothing"])


class RecallView(View):
    """A recall. It is in force until `lifted_at`. `unit_count`: how many units it covered when it was made."""

    recall_id: UUID
    scope: RecallScope
    batch_id: UUID | None = Field(description="Null for a list of codes, which may be of several batches.")
    master_code: str | None
    unit_count: int
    reason: str
    text_en: str
    text_id: str
    recalled_at: Instant
    recalled_by: str
    lifted_at: Instant | None
    lifted_by: str | None


class RecallAnswer(RecallView, Answer):
    """The recall as it is now."""


class RecallMade(RecallAnswer):
    """The new recall, in force from now on."""

    dry_run: Literal[False] = False


class RecallDryRun(Answer):
    """What the recall would cover now."""

    dry_run: Literal[True] = True
    unit_count: int
    with_consumers: int = Field(description="How many of these units a consumer has checked or redeemed.")


class RecallFilter(ListQuery):
    """Which recalls to list."""

    batch_id: UUID | None = Field(None, description="Lists the recalls of this batch, of its cases and of its codes.")
    in_force: Flag | None = None


class RecallPage(Page):
    """Newest first."""

    recalls: list[RecallView]


class RecalledRange(View):
    """Units with consecutive sequence numbers."""

    batch_id: UUID
    first_code: str
    last_code: str
    units: int


class RecallDetail(RecallView):
    """A recall with its units."""

    by_status: Mapping[CodeStatus, int] = Field(description="`scanned` and `redeemed` units are with consumers.")
    ranges: list[RecalledRange] = Field(description="The recalled units as ranges, at most the first 1,000.")


class RecallDetailAnswer(Answer):
    """One recall."""

    recall: RecallDetail
