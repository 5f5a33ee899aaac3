"""Moves all units of a case to another case, after the wrong case was scanned for a box."""

from dataclasses import dataclass

from qrtrack.database import Database
from qrtrack.domain.errors import Conflict, InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import CaseAlreadyPacked, CaseOfOtherBatch, VariantMismatch
from qrtrack.domain.packing.states import CaseStatus
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.cases import ChangedRanges, FoundCase
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile


@dataclass(frozen=True, slots=True)
class MovedCase:
    """The moved units. `master_code_info` is the case that now contains them."""

    master_code_info: FoundCase
    moved_count: int


class CaseTooSmall(Conflict):
    """The units to be moved do not fit into the case."""

    slug = "case-too-small"
    title = "The case is too small"

    def __init__(self, *, master_code: str, expected_units: int, units: int) -> None:
        super().__init__(
            f"Case {master_code} takes {expected_units} units, and {units} are to be moved. Nothing was changed: scan "
            "a larger case, or unlink some units first.",
            expected_units=expected_units,
            units=units,
        )


async def move_case(
    database: Database,
    *,
    caller: Caller,
    from_master_code: str,
    to_master_code: str,
    reason: str,
    station: str | None = None,
) -> MovedCase:
    """Moves all units of the case, also scanned and redeemed ones, with the time, operator and station of packing.

    The station that packed the box prints the label of the target case. A label of the source case that still waits is
    cancelled.
    The queue does not change: unlinking the new case later returns to the queue what the old case took from it. Both
    cases are of one batch, whose lock decides which of two moves comes first.
    Raises InvalidInput, NotFound, BatchNotReady, BatchClosed, InvalidState, CaseOfOtherBatch, VariantMismatch,
    CaseAlreadyPacked, CaseTooSmall, CodeTakenMeanwhile.
    """
    if from_master_code == to_master_code:
        detail = "You scanned the same case twice. Scan the case that the units belong in."
        raise invalid_field("/to_master_code", detail, FieldCode.SAME_CASE)
    async with database.write(tenant=caller.organisation_id) as repositories:
        batch_id = (await repositories.cases.get(from_master_code)).batch_id
        await repositories.lock_batch(batch_id)
        source = await repositories.cases.get(from_master_code)
        target = await repositories.cases.get(to_master_code)
        await repositories.batches.get_packable(batch_id)
        _refuse_misfit(source, target)
        moved = await _move(repositories, caller, source, target)
        await repositories.trace.add(
            "case.moved",
            caller=caller,
            batch_id=batch_id,
            case_id=target.id,
            station=station,
            reason=reason,
            ranges=moved.ranges,
            details=_details(source, target),
        )
        return repositories.answer(MovedCase(await repositories.cases.get(to_master_code), moved.codes))


async def _move(repositories: Repositories, caller: Caller, source: FoundCase, target: FoundCase) -> ChangedRanges:
    """Moves the units, and with them the label that is to be printed."""
    moved = await repositories.cases.move(source.id, target.id)
    if moved.codes != source.actual_units:
        raise CodeTakenMeanwhile
    await repositories.case_prints.withdraw([source.id])
    await repositories.case_prints.order(caller, target.batch_id, target.id, station=source.station)
    return moved


def _details(source: FoundCase, target: FoundCase) -> dict[str, object]:
    return {
        "master_codes": [source.master_code, target.master_code],
        "from_master_code": source.master_code,
        "from_case_number": source.case_number,
        "master_code": target.master_code,
        "case_number": target.case_number,
    }


def _refuse_misfit(source: FoundCase, target: FoundCase) -> None:
    if target.batch_id != source.batch_id:
        raise CaseOfOtherBatch(master_code=target.master_code)
    if target.variant != source.variant:
        raise VariantMismatch(master_code=target.master_code, variant=target.variant)
    if source.status != CaseStatus.PACKED:
        raise InvalidState(f"Case {source.master_code} is empty: there is nothing to move.", state=source.status)
    if target.status != CaseStatus.OPEN:
        raise CaseAlreadyPacked(
            target.members(),
            remedy=f"and nothing was moved: scan the right case, or unlink the units of {target.master_code} first.",
        )
    if target.expected_units < source.actual_units:
        raise CaseTooSmall(
            master_code=target.master_code, expected_units=target.expected_units, units=source.actual_units
        )
