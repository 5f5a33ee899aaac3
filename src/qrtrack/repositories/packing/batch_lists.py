"""The list of batches, with how many units of each are packed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, literal, select
from sqlalchemy.orm import aliased

from qrtrack.domain.batches import no_such_batch
from qrtrack.domain.matching import MOST_COUNTED
from qrtrack.domain.packing.selections import BatchSelection
from qrtrack.domain.packing.states import PreparedStatus
from qrtrack.models import Batch, Case, PreparedCode
from qrtrack.repositories.base import Repository


class PackedBatch(NamedTuple):
    """A batch with the number of its units in cases."""

    batch: Batch
    packed_count: int


class ListedBatch(NamedTuple):
    """A batch with the number of its units in cases (`packed_count`) and in the queue (`prepared_count`)."""

    batch: Batch
    packed_count: int
    prepared_count: int


class BatchListRepository(Repository):
    """Lists batches, newest first. Units are counted only for the batches of the page, without reading their codes."""

    async def list(self, selection: BatchSelection, *, before: UUID | None, limit: int) -> Sequence[PackedBatch]:
        """Returns a page of batches without the counts of their queues: counting the queues of 50 batches of 1,000,000
        codes takes seconds.
        """
        batch = _page(selection, before, limit)
        rows = await self._session.execute(select(batch, _packed(batch)).order_by(batch.id.desc()))
        return [PackedBatch(*row) for row in rows]

    async def get(self, batch_id: UUID) -> ListedBatch:
        """Returns the batch with the counts. The count of the queue stops at one more than MOST_COUNTED. Raises
        NotFound.
        """
        found = await self.list_with_queues(
            BatchSelection(id=batch_id), before=None, limit=1, counted_to=MOST_COUNTED + 1
        )
        if not found:
            raise no_such_batch(batch_id)
        return found[0]

    async def product_names(self, batch_ids: Collection[UUID]) -> Mapping[UUID, str]:
        rows = await self._session.execute(select(Batch.id, Batch.product_name).where(Batch.id.in_(batch_ids)))
        return {row.id: row.product_name for row in rows}

    async def list_with_queues(
        self, selection: BatchSelection, *, before: UUID | None, limit: int, counted_to: int | None = None
    ) -> Sequence[ListedBatch]:
        """Returns a page of batches with the counts of their queues. A count stops at `counted_to`: counting a million
        rows takes 100 ms, too long for a page that polls.
        """
        batch = _page(selection, before, limit)
        # The order of the rows makes the planner read the index of the queue. A scan of the table would also read the
        # rows of other batches.
        queue = (
            select(literal(1))
            .where(PreparedCode.batch_id == batch.id, PreparedCode.status == PreparedStatus.PREPARED)
            .correlate(batch)
            .order_by(PreparedCode.sequence_number)
            .limit(counted_to)
            .subquery()
        )
        prepared = select(func.count()).select_from(queue)
        rows = await self._session.execute(
            select(batch, _packed(batch), prepared.scalar_subquery()).order_by(batch.id.desc())
        )
        return [ListedBatch(*row) for row in rows]


def _page(selection: BatchSelection, before: UUID | None, limit: int) -> type[Batch]:
    return aliased(Batch, _matching(selection, before).order_by(Batch.id.desc()).limit(limit).subquery())


def _packed(batch: type[Batch]) -> ScalarSelect[int]:
    """Returns SQL that sums the packed units. Its condition `> 0` lets PostgreSQL use the partial index."""
    units = select(func.coalesce(func.sum(Case.actual_units), 0))
    return units.where(Case.batch_id == batch.id, Case.actual_units > 0).scalar_subquery()


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
