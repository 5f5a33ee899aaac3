"""Recalls batches, cases and codes, and lifts recalls. Public verification reads the rows: a recall works at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, Conflict, InvalidState
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import PastedCodes, UnitOfOtherBatch, UnknownCodes, foreign_scans
from qrtrack.domain.packing.states import CodeStatus
from qrtrack.repositories import Repositories
from qrtrack.repositories.verification.recalls import CaseToRecall, NewRecall, RecallCount, RecalledRange, RecallRow


class AlreadyRecalled(Conflict):
    """The batch or the case is under recall for the same reason."""

    slug = "already-recalled"
    title = "Recalled already"

    def __init__(self, recall_id: UUID) -> None:
        super().__init__(
            f"The recall {recall_id} covers this already, for the same reason. To change its texts, recall with "
            "another reason, then lift the first recall.",
            recall_id=recall_id,
        )


class RecallTexts(NamedTuple):
    """Consumers read the two texts. `reason` is for the organisation only."""

    reason: str
    text_en: str
    text_id: str


async def recall_batch(database: Database, *, caller: Caller, batch_id: UUID, texts: RecallTexts) -> RecallRow:
    """Stores the recall as one row, whatever the quantity of the batch. Raises NotFound, and AlreadyRecalled for a
    second recall with the same reason.
    """
    new = _new(caller, texts)
    async with database.write(tenant=caller.organisation_id) as repositories:
        await repositories.releases.get(batch_id)
        while not await repositories.recalls.add_of_batch(new, batch_id):
            await _refuse_repeat(repositories, texts.reason, batch_id=batch_id)
        return await _recalled(repositories, caller, new)


async def recall_case(database: Database, *, caller: Caller, master_code: str, texts: RecallTexts) -> RecallRow:
    """Covers the units that are in the case now, also after they leave it, and those that are put into it while the
    recall is in force.

    Raises NotFound, InvalidState for an empty case, AlreadyRecalled.
    """
    new = _new(caller, texts)
    async with database.write(tenant=caller.organisation_id) as repositories:
        while True:
            case = await _get_filled_case(repositories, master_code)
            if await repositories.recalls.add_of_case(new, case.id):
                return await _recalled(repositories, caller, new)
            await _refuse_repeat(repositories, texts.reason, case_id=case.id)


async def recall_codes(database: Database, *, caller: Caller, pasted: PastedCodes, texts: RecallTexts) -> RecallRow:
    """Recalls all codes of the list or none; they may be of several batches. Raises UnknownCodes, UnitOfOtherBatch."""
    new = _new(caller, texts)
    organisation_id = caller.organisation_id
    async with database.write(tenant=organisation_id) as repositories:
        if unknown := await repositories.recalls.add_of_codes(new, pasted.codes, organisation_id=organisation_id):
            raise UnknownCodes(unknown, place="in your organisation")
        await _refuse_foreign(repositories, caller, pasted)
        return await _recalled(repositories, caller, new)


async def count_recall_of_batch(database: Database, *, caller: Caller, batch_id: UUID, reason: str) -> RecallCount:
    """Counts the units that `recall_batch` would recall. Raises what it would raise, and changes nothing."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.releases.get(batch_id)
        await _refuse_repeat(repositories, reason, batch_id=batch_id)
        return await repositories.recalls.count_of_batch(batch_id)


async def count_recall_of_case(database: Database, *, caller: Caller, master_code: str, reason: str) -> RecallCount:
    """Counts the units that `recall_case` would recall. Raises what it would raise, and changes nothing."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        case = await _get_filled_case(repositories, master_code)
        await _refuse_repeat(repositories, reason, case_id=case.id)
        return await repositories.recalls.count_of_case(case.id)


async def count_recall_of_codes(database: Database, *, caller: Caller, pasted: PastedCodes) -> RecallCount:
    """Counts the units that `recall_codes` would recall. Raises what it would raise, and changes nothing."""
    organisation_id = caller.organisation_id
    async with database.read(tenant=organisation_id) as repositories:
        if unknown := await repositories.recalls.list_unknown(pasted.codes, organisation_id=organisation_id):
            raise UnknownCodes(unknown, place="in your organisation")
        await _refuse_foreign(repositories, caller, pasted)
        return await repositories.recalls.count_of_codes(pasted.codes, organisation_id=organisation_id)


async def _get_filled_case(repositories: Repositories, master_code: str) -> CaseToRecall:
    """Raises NotFound, InvalidState."""
    case = await repositories.recalls.get_case(master_code)
    if not case.actual_units:
        raise InvalidState(f"The case {master_code} is empty: there is nothing to recall.")
    return case


def _new(caller: Caller, texts: RecallTexts) -> NewRecall:
    return NewRecall(uuid7(), *texts, actor=caller.user_id)


async def _refuse_repeat(
    repositories: Repositories, reason: str, *, batch_id: UUID | None = None, case_id: int | None = None
) -> None:
    """Raises AlreadyRecalled with the recall that is in force. Returns if that recall was lifted in the meantime."""
    existing = await repositories.recalls.find_in_force(reason, batch_id=batch_id, case_id=case_id)
    if existing is not None:
        raise AlreadyRecalled(existing)


async def _refuse_foreign(repositories: Repositories, caller: Caller, pasted: PastedCodes) -> None:
    """Raises UnitOfOtherBatch for a scanned unit whose QR names another batch than the one that its code belongs to."""
    scanned = list({scan.code for scan in pasted.scans})
    rows = await repositories.recalls.list_batches_of(scanned, organisation_id=caller.organisation_id)
    batches = {row.code: row for row in rows}
    if foreign := [scan for scan in pasted.scans if foreign_scans([scan], batches[scan.code])]:
        raise UnitOfOtherBatch(foreign)


async def _recalled(repositories: Repositories, caller: Caller, new: NewRecall) -> RecallRow:
    await repositories.trace.add_of_recall("recall.made", caller=caller, recall_id=new.recall_id, reason=new.reason)
    return repositories.answer(await repositories.recalls.get(new.recall_id))


async def lift_recall(database: Database, *, caller: Caller, recall_id: UUID, reason: str) -> RecallRow:
    """Ends the recall: checks of its units answer as before, unless another recall covers the unit. Raises NotFound,
    InvalidState.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        is_lifted = await repositories.recalls.lift(recall_id, actor=caller.user_id)
        recall = await repositories.recalls.get(recall_id)
        if not is_lifted:
            raise InvalidState(
                f"This recall was lifted already, on {recall.lifted_at:%Y-%m-%d %H:%M} UTC. To stop the sale again, "
                "make a new recall."
            )
        await repositories.trace.add_of_recall("recall.lifted", caller=caller, recall_id=recall_id, reason=reason)
        return repositories.answer(recall)


@dataclass(frozen=True, slots=True)
class RecallDetails:
    """A recall, its units counted by state, and the first ranges of its units."""

    recall: RecallRow
    by_status: Mapping[CodeStatus, int]
    ranges: Sequence[RecalledRange]


async def describe_recall(database: Database, *, caller: Caller, recall_id: UUID) -> RecallDetails:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        recall = await repositories.recalls.get(recall_id)
        counted = await repositories.recalls.count_by_status(recall_id)
        ranges = await repositories.recalls.list_ranges(recall_id, limit=NAMED_THINGS)
    counts = {CodeStatus(row.status): row.units for row in counted}
    return RecallDetails(recall, dict.fromkeys(CodeStatus, 0) | counts, ranges)
