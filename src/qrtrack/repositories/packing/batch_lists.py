"""The list of batches, with how far each is packed."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import aliased

from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.packing.states import PreparedStatus
from qrtrack.models import Batch, Case, PreparedCode
from qrtrack.repositories.base import Repository


class ListedBatch(NamedTuple):
    """`packed_count`: units in cases. `prepared_count`: units that wait in the queue."""

    batch: Batch
    packed_count: int
    prepared_count: int


class BatchListRepository(Repository):
    async def page(self, selection: BatchSelection, *, before: UUID | None, limit: int) -> Sequence[ListedBatch]:
        """Newest first. One statement: it counts for the batches of the page only.

        Cases know how many units they hold, and the queue has an index by batch: no code is read.
        """
        page = _narrowed(select(Batch), selection, before).order_by(Batch.id.desc()).limit(limit).subquery()
        batch = aliased(Batch, page)
        packed = select(func.coalesce(func.sum(Case.actual_units), 0)).where(Case.batch_id == batch.id)
        prepared = select(func.count()).where(
            PreparedCode.batch_id == batch.id, PreparedCode.status == PreparedStatus.PREPARED
        )
        rows = await self._session.execute(
            select(batch, packed.scalar_subquery(), prepared.scalar_subquery()).order_by(batch.id.desc())
        )
        return [ListedBatch(*row) for row in rows]


def _narrowed(query: Select[tuple[Batch]], selection: BatchSelection, before: UUID | None) -> Select[tuple[Batch]]:
    conditions: list[ColumnElement[bool]] = []
    if selection.order_id is not None:
        conditions.append(Batch.order_id == selection.order_id)
    if selection.status is not None:
        conditions.append(Batch.status == selection.status)
    if selection.product_name is not None:
        conditions.append(Batch.product_name.icontains(selection.product_name, autoescape=True))
    if selection.uniq_code is not None:
        conditions.append(Batch.uniq_code == selection.uniq_code)
    if selection.closed is not None:
        conditions.append(Batch.closed_at.is_not(None) if selection.closed else Batch.closed_at.is_(None))
    if before is not None:
        conditions.append(Batch.id < before)
    return query.where(*conditions)
