"""Batches as a list shows them, and the filters of the list."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.packing.states import BatchStatus
from qrtrack.domain.scans import read_uniq_code
from qrtrack.repositories.packing.batch_lists import ListedBatch as Row
from qrtrack.schemas.base import Flag, ListQuery, Name, Page, scanned
from qrtrack.schemas.packing.batches import BatchSummary


class ListedBatch(BatchSummary):
    """A batch, with how many of its units are packed and how many wait in the queue."""

    packed_count: int = Field(description="Units in cases.")
    prepared_count: int = Field(description="Units that wait in the queue.")

    @classmethod
    def of_row(cls, row: Row) -> Self:
        summary = dict(BatchSummary.of(row.batch))
        return cls(**summary, packed_count=row.packed_count, prepared_count=row.prepared_count)


class BatchPage(Page):
    """Batches, newest first."""

    batches: list[ListedBatch]


class BatchFilter(ListQuery):
    """Which batches to list."""

    order_id: UUID | None = None
    status: BatchStatus | None = None
    product_name: Name | None = Field(None, description="A part of the product's name, in upper or lower case.")
    uniq_code: Annotated[Name, scanned(read_uniq_code)] | None = Field(
        None, description="The code that all units of a batch share: it finds at most one batch."
    )
    closed: Flag | None = Field(None, description="`true` lists closed batches only, `false` open ones only.")

    def selection(self) -> BatchSelection:
        return BatchSelection(**self.model_dump(exclude={"cursor", "limit"}))
