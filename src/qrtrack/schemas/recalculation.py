"""Recounting: what to recount, and which counters were wrong."""

from uuid import UUID

from pydantic import Field

from qrtrack.domain.errors import FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.repositories.recalculation import CountedKind
from qrtrack.schemas.base import Answer, Flag, Query, View


class RecountQuery(Query):
    """What to recount. Default: what is in progress and has not changed for five minutes."""

    batch_id: UUID | None = Field(None, description="One batch, reverse job or progress batch.")
    all: Flag = Field(default=False, description="Everything that is in progress.")

    def check(self) -> None:
        """Raises InvalidInput."""
        if self.batch_id is not None and self.all:
            fields = {"fields": ["batch_id", "all"]}
            error = FieldError("/query/all", "Leave out this one or batch_id.", FieldCode.AT_MOST_ONE_OF, fields)
            raise InvalidInput("Give batch_id or all, not both.", errors=[error])


class RecountedCounters(View):
    """The counters of one row: as stored, and as counted."""

    kind: CountedKind
    subject_id: UUID = Field(validation_alias="id", description="The id of the batch, job or progress batch.")
    is_repair: bool
    before: dict[str, int | str]
    after: dict[str, int | str]


class RecalculationAnswer(Answer):
    """The result of a recount. Normally nothing is repaired; each repair means a defect."""

    checked: int
    repaired: int
    failed: int = Field(description="Rows that could not be recounted; the log of the service says why.")
    recounts: list[RecountedCounters] = Field(description="The repaired rows; with `batch_id` also correct ones.")
