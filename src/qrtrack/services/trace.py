"""Looking back: where a code or a case has been, and what the stations packed last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.selections import PackSelection
from qrtrack.models import Batch


@dataclass(frozen=True, slots=True)
class TracePlace:
    """Where a page begins: behind this event, and behind this sequence number of the units in the case."""

    event_id: int = 0
    sequence_number: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A code or a master case, with what it belongs to, and a page of its units and of what happened, oldest first.

    `exclusions` are those that hold the code out of the queue now.
    """

    batch: Batch
    code: Any | None
    case: Any | None
    codes: Sequence[Any]
    events: Sequence[Any]
    exclusions: Sequence[Any] = ()


async def trace_code(
    database: Database, *, caller: Caller, code: str, after: TracePlace = TracePlace(), limit: int
) -> Trace:
    """From a unit up to its case, batch and order; from a master code down to its units. Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        unit = (await repositories.codes.find([code]))[0]
        if unit.id is not None:
            batch = await repositories.batches.get(unit.batch_id)
            box = await repositories.cases.find(unit.master_code) if unit.master_code else None
            events = await repositories.trace.of_code(
                unit.batch_id, unit.sequence_number, after=after.event_id, limit=limit
            )
            exclusions = await repositories.codes.exclusions(unit.batch_id, unit.sequence_number, limit=limit)
            return Trace(batch, unit, box, (), events, exclusions)
        box = await repositories.cases.find(code)
        if box is None:
            raise NotFound(f"Neither a code nor a master case {code} is known in your organisation.")
        batch = await repositories.batches.get(box.batch_id)
        inside = await repositories.codes.of_case(box.id, after=after.sequence_number, limit=limit)
        events = await repositories.trace.of_case(
            box.batch_id, box.id, box.master_code, after=after.event_id, limit=limit
        )
        return Trace(batch, None, box, inside, events)


async def list_packs(
    database: Database, *, caller: Caller, selection: PackSelection, before: int | None, limit: int
) -> Sequence[Any]:
    """The latest cases packed, newest first, with what was taken out of them again."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        return await repositories.trace.packs(selection, before=before, limit=limit)
