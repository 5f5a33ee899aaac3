"""Shows where a code or a case has been."""

from collections.abc import Sequence
from dataclasses import dataclass

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.models import Batch
from qrtrack.repositories.packing.cases import FoundCase
from qrtrack.repositories.packing.codes import Exclusion, FoundCode
from qrtrack.repositories.trace import TraceEvent


@dataclass(frozen=True, slots=True)
class TracePosition:
    """Where a page of a trace begins: after the event `event_id`, and in a case after the unit with this
    `sequence_number`.
    """

    event_id: int = 0
    sequence_number: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A code with its case, or a case with a page of its codes; and a page of their events, oldest first.

    `exclusions` are those that keep the code out of the queue now.
    """

    batch: Batch
    code: FoundCode | None
    case: FoundCase | None
    codes: Sequence[FoundCode]
    events: Sequence[TraceEvent]
    exclusions: Sequence[Exclusion] = ()


async def trace_code(
    database: Database, *, caller: Caller, code: str, after: TracePosition = TracePosition(), limit: int
) -> Trace:
    """Traces the code of a unit, or a master code. Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        for unit in await repositories.codes.find([code]):
            return Trace(
                batch=await repositories.batches.get(unit.batch_id),
                code=unit,
                case=await repositories.cases.find(unit.master_code) if unit.master_code else None,
                codes=(),
                events=await repositories.trace.list_of_code(
                    unit.batch_id, unit.sequence_number, after=after.event_id, limit=limit
                ),
                exclusions=await repositories.codes.exclusions(unit.batch_id, unit.sequence_number, limit=limit),
            )
        case = await repositories.cases.find(code)
        if case is None:
            raise NotFound(f"There is no code and no master case {code} in your organisation. Check what was scanned.")
        return Trace(
            batch=await repositories.batches.get(case.batch_id),
            code=None,
            case=case,
            codes=await repositories.codes.list_of_case(case.id, after=after.sequence_number, limit=limit),
            events=await repositories.trace.list_of_case(
                case.batch_id, case.id, case.master_code, after=after.event_id, limit=limit
            ),
        )
