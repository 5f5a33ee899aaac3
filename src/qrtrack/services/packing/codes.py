"""Codes: printed, void, readmitted. Each is one step for a whole list, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, FieldError, InvalidInput, InvalidState
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.batches import BatchNotReady
from qrtrack.domain.packing.code_lists import Scan, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, not_in_batch
from qrtrack.domain.packing.states import CodeStatus, sources
from qrtrack.models import Batch
from qrtrack.repositories import Repositories


class UnknownCodes(InvalidInput):
    """Some of the codes are not in the batch: nothing was changed."""

    slug = "unknown-codes"
    title = "Codes that are not in the batch"

    def __init__(self, codes: Sequence[str]) -> None:
        super().__init__(
            f"{len(codes)} of the codes are not in this batch. Nothing was changed: correct the list.",
            **not_in_batch(codes, field="codes"),
        )


class IllegalTransition(InvalidState):
    """Some of the codes are in a state that does not allow this step: nothing was changed."""

    slug = "illegal-transition"
    title = "Not possible in this state"

    def __init__(self, target: str, rows: Sequence[Any]) -> None:
        super().__init__(
            f"{len(rows)} of the codes cannot become {target}: {rows[0].code} is {rows[0].status}. Nothing changed.",
            codes=[{"code": row.code, "state": row.status} for row in rows[:NAMED_THINGS]],
            code_count=len(rows),
        )


@dataclass(frozen=True, slots=True)
class ChangedCodes:
    batch_id: UUID
    changed: int


async def void_codes(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    codes: Sequence[str],
    scans: Sequence[Scan] = (),
    reason: str,
) -> ChangedCodes:
    """Damaged or withdrawn units: out of their case, out of the queue, void.

    Raises UnitOfOtherBatch, UnknownCodes, IllegalTransition.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        rows = await _codes_of(repositories, batch_id, codes, scans)
        _refuse_illegal(rows, CodeStatus.VOID)
        boxes = {row.master_code_id: row.master_code for row in rows if row.master_code_id is not None}
        if await repositories.codes.mark_void([row.id for row in rows], list(boxes), reason) < len(rows):
            raise InvalidState("One of the codes was redeemed just now. Nothing was changed: look at the list again.")
        sequences = sorted(row.sequence_number for row in rows)
        await repositories.prepared_codes.close(batch_id, sequences, consumed=False)
        await repositories.trace.add(
            "codes.voided",
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            batch_id=batch_id,
            case_id=next(iter(boxes)) if len(boxes) == 1 else None,
            reason=reason,
            ranges=as_ranges(sequences),
            details={"master_codes": sorted(boxes.values())} if boxes else None,
        )
        return repositories.answer(ChangedCodes(batch_id, len(rows)))


async def mark_printed(
    database: Database, *, caller: Caller, batch_id: UUID, codes: Sequence[str] | None, scans: Sequence[Scan] = ()
) -> ChangedCodes:
    """None marks every code that is not printed yet. A code that is printed already stays so, and is not counted.

    Raises NotFound, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownCodes, IllegalTransition.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        await repositories.batches.get_packable(batch_id, None)
        ids = None
        if codes is not None:
            rows = await _codes_of(repositories, batch_id, codes, scans)
            _refuse_illegal([row for row in rows if row.status != CodeStatus.PRINTED], CodeStatus.PRINTED)
            ids = [row.id for row in rows]
        printed = await repositories.codes.mark_printed(batch_id, ids)
        if printed.codes:
            await repositories.trace.add(
                "codes.printed",
                organisation_id=caller.organisation_id,
                actor=caller.user_id,
                batch_id=batch_id,
                ranges=list(zip(printed.lows, printed.highs, strict=True)),
            )
        return repositories.answer(ChangedCodes(batch_id, printed.codes))


@dataclass(frozen=True, slots=True)
class ReadmittedCodes:
    batch_id: UUID
    readmitted: int
    not_excluded: Sequence[str]


async def readmit_codes(
    database: Database, *, caller: Caller, batch_id: UUID, codes: Sequence[str], scans: Sequence[Scan] = ()
) -> ReadmittedCodes:
    """Ends the exclusion of units that are good after all; the next reverse job prepares them.

    Raises NotFound, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownCodes.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        await repositories.batches.get_packable(batch_id, None)
        rows = await _codes_of(repositories, batch_id, codes, scans)
        readmitted = await repositories.codes.readmit(batch_id, [row.sequence_number for row in rows])
        if readmitted:
            await repositories.trace.add(
                "codes.readmitted",
                organisation_id=caller.organisation_id,
                actor=caller.user_id,
                batch_id=batch_id,
                ranges=as_ranges(readmitted),
            )
        ended = set(readmitted)
        others = [row.code for row in rows if row.sequence_number not in ended]
        return repositories.answer(ReadmittedCodes(batch_id, len(readmitted), others))


async def _existing(repositories: Repositories, batch_id: UUID) -> Batch:
    batch = await repositories.batches.get(batch_id)
    if batch.codes_created_at is None:
        raise BatchNotReady(batch.status)
    return batch


def named_once(codes: Sequence[str]) -> list[str]:
    """The list without its repeats; InvalidInput for one that names no code."""
    if not codes:
        error = FieldError("/codes", "At least one code.", FieldCode.TOO_FEW, {"min": 1})
        raise InvalidInput("The list names no code.", errors=[error])
    return list(dict.fromkeys(codes))


async def _codes_of(
    repositories: Repositories, batch_id: UUID, codes: Sequence[str], scans: Sequence[Scan]
) -> Sequence[Any]:
    refuse_foreign(scans, await _existing(repositories, batch_id))
    rows = await repositories.codes.find(named_once(codes), batch_id=batch_id)
    unknown = [row.code for row in rows if row.id is None]
    if unknown:
        raise UnknownCodes(unknown)
    return rows


def _refuse_illegal(rows: Sequence[Any], target: CodeStatus) -> None:
    allowed = sources(target)
    wrong = [row for row in rows if row.status not in allowed]
    if wrong:
        raise IllegalTransition(target, wrong)
