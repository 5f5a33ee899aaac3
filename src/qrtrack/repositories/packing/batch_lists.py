"""The list of batches, and how far each is packed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select
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
    async def list(
        self, selection: BatchSelection, *, before: UUID | None, limit: int, counted_to: int | None = None
    ) -> Sequence[ListedBatch]:
        """Returns batches, newest first. Counts only the batches of this page, and reads no codes for it.

        With `counted_to`, counting the queue stops there: a million rows take 100 ms, which is too long for what is
        polled.
        """
        page = _matching(selection, before).order_by(Batch.id.desc()).limit(limit).subquery()
        batch = aliased(Batch, page)
        packed = select(func.coalesce(func.sum(Case.actual_units), 0)).where(Case.batch_id == batch.id)
        queue = (
            select(literal(1))
            .where(PreparedCode.batch_id == batch.id, PreparedCode.status == PreparedStatus.PREPARED)
            .correlate(batch)
            .limit(counted_to)
            .subquery()
        )
        prepared = select(func.count()).select_from(queue)
        rows = await self._session.execute(
            select(batch, packed.scalar_subquery(), prepared.scalar_subquery()).order_by(batch.id.desc())
        )
        return [ListedBatch(*row) for row in rows]


def _matching(selection: BatchSelection, before: UUID | None) -> Select[Batch]:
    wanted = {name: value for name, value in asdict(selection).items() if value is not None}
    product_name, closed = wanted.pop("product_name", None), wanted.pop("closed", None)
    conditions: list[ColumnElement[bool]] = []
    if product_name is not None:
        conditions.append(Batch.product_name.icontains(product_name, autoescape=True))
    if closed is not None:
        conditions.append(Batch.closed_at.is_not(None) if closed else Batch.closed_at.is_(None))
    if before is not None:
        conditions.append(Batch.id < before)
    return select(Batch).filter_by(**wanted).where(*conditions)
