"""Codes: listing, revealing, marking as printed, voiding, readmitting. A change applies to the whole list, or to none
of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, InvalidState, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.code_lists import ListedScan, UnknownCodes, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges
from qrtrack.domain.packing.states import CodeStatus, sources
from qrtrack.domain.root_keys import KeyRing
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.codes import FoundCode, ListedCode


class IllegalTransition(InvalidState):
    """Some of the codes are in a state that does not allow this step. Nothing was changed. `codes` has the first of
    them, `code_count` counts all.
    """

    slug = "illegal-transition"
    title = "Not possible in this state"

    def __init__(self, target: str, rows: Sequence[FoundCode]) -> None:
        super().__init__(
            f"{len(rows)} of the codes cannot become {target}: {rows[0].code} is {rows[0].status}. Nothing was "
            "changed: take these codes off the list.",
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
    scans: Sequence[ListedScan] = (),
    reason: str,
) -> ChangedCodes:
    """Takes damaged or withdrawn units out of their cases and out of the queue, for good.

    Raises NotFound, BatchNotReady, UnitOfOtherBatch, UnknownCodes, IllegalTransition, InvalidState.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        rows = await _find_codes(repositories, batch_id, codes, scans)
        _refuse_illegal(rows, CodeStatus.VOID)
        cases = cases_of(rows)
        if await repositories.codes.mark_void([row.id for row in rows], list(cases), reason) < len(rows):
            raise InvalidState(
                "A consumer redeemed one of the codes at this moment. Nothing was changed: check the list again."
            )
        sequences = [row.sequence_number for row in rows]
        await repositories.prepared_codes.invalidate(batch_id, sequences)
        await repositories.trace.add(
            "codes.voided",
            caller=caller,
            batch_id=batch_id,
            case_id=next(iter(cases)) if len(cases) == 1 else None,
            reason=reason,
            ranges=as_ranges(sequences),
            details={"master_codes": sorted(cases.values())} if cases else None,
        )
        return repositories.answer(ChangedCodes(batch_id, len(rows)))


async def mark_printed(
    database: Database, *, caller: Caller, batch_id: UUID, codes: Sequence[str] | None, scans: Sequence[ListedScan] = ()
) -> ChangedCodes:
    """Marks codes as printed; if `codes` is None, every code of the batch in the status `generated`. Codes that are
    already marked stay marked and are not counted.

    Raises NotFound, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownCodes, IllegalTransition.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        await repositories.batches.get_packable(batch_id)
        if codes is None:
            printed = await repositories.codes.mark_all_printed(batch_id)
        else:
            rows = await _find_codes(repositories, batch_id, codes, scans)
            _refuse_illegal([row for row in rows if row.status != CodeStatus.PRINTED], CodeStatus.PRINTED)
            printed = await repositories.codes.mark_printed([row.id for row in rows])
        if printed.codes:
            await repositories.trace.add("codes.printed", caller=caller, batch_id=batch_id, ranges=printed.ranges)
        return repositories.answer(ChangedCodes(batch_id, printed.codes))


@dataclass(frozen=True, slots=True)
class ReadmittedCodes:
    batch_id: UUID
    readmitted: int
    not_excluded: Sequence[str]


async def readmit_codes(
    database: Database, *, caller: Caller, batch_id: UUID, codes: Sequence[str], scans: Sequence[ListedScan] = ()
) -> ReadmittedCodes:
    """Ends the exclusion of units that turned out to be good. The next reverse job prepares them.

    Raises NotFound, BatchNotReady, BatchClosed, UnitOfOtherBatch, UnknownCodes.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=batch_id) as repositories:
        await repositories.batches.get_packable(batch_id)
        rows = await _find_codes(repositories, batch_id, codes, scans)
        readmitted = await repositories.codes.readmit(batch_id, [row.sequence_number for row in rows])
        if readmitted:
            await repositories.trace.add(
                "codes.readmitted", caller=caller, batch_id=batch_id, ranges=as_ranges(readmitted)
            )
        ended = set(readmitted)
        others = [row.code for row in rows if row.sequence_number not in ended]
        return repositories.answer(ReadmittedCodes(batch_id, len(readmitted), others))


def without_repeats(codes: Sequence[str]) -> list[str]:
    """Raises InvalidInput for an empty list."""
    if not codes:
        raise invalid_field("/codes", "The list names no code. Name at least one.", FieldCode.TOO_FEW, min=1)
    return list(dict.fromkeys(codes))


def unknown_among(codes: Sequence[str], rows: Sequence[FoundCode]) -> list[str]:
    """Returns the listed codes that were not found."""
    found = {row.code for row in rows}
    return [code for code in codes if code not in found]


def cases_of(rows: Sequence[FoundCode]) -> dict[int, str]:
    """Returns the master codes of the cases that contain the codes, by the cases' ids."""
    return {row.master_code_id: row.master_code or "" for row in rows if row.master_code_id is not None}


async def _find_codes(
    repositories: Repositories, batch_id: UUID, codes: Sequence[str], scans: Sequence[ListedScan]
) -> Sequence[FoundCode]:
    refuse_foreign(scans, await repositories.batches.get_created(batch_id))
    listed = without_repeats(codes)
    rows = await repositories.codes.find(listed, batch_id=batch_id)
    if unknown := unknown_among(listed, rows):
        raise UnknownCodes(unknown)
    return rows


def _refuse_illegal(rows: Sequence[FoundCode], target: CodeStatus) -> None:
    allowed = sources(target)
    wrong = [row for row in rows if row.status not in allowed]
    if wrong:
        raise IllegalTransition(target, wrong)


async def list_codes(
    database: Database,
    *,
    caller: Caller,
    batch_id: UUID,
    status: str | None = None,
    prefix: str | None = None,
    after: int,
    limit: int,
) -> Sequence[ListedCode]:
    """Raises NotFound."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get(batch_id)
        return await repositories.codes.list_of_batch(
            batch_id, status=status, prefix=prefix, after=after, limit=limit, with_keys=False
        )


class RevealedCode(NamedTuple):
    """A code with its clear root key. `root_key` is None if it was deleted, or if the import had none."""

    code: str
    sequence_number: int
    uniq_code: str
    variant: str | None
    status: str
    is_excluded: bool
    is_prepared: bool
    master_code: str | None
    case_number: int | None
    root_key: str | None


async def reveal_codes(
    database: Database,
    *,
    caller: Caller,
    keys: KeyRing,
    batch_id: UUID,
    status: str | None = None,
    prefix: str | None = None,
    after: int,
    limit: int,
) -> Sequence[RevealedCode]:
    """Returns the codes with their clear root keys. A trace event records who saw which. Raises NotFound,
    SealBroken.
    """
    async with database.write(tenant=caller.organisation_id) as repositories:
        await repositories.batches.get(batch_id)
        rows = await repositories.codes.list_of_batch(
            batch_id, status=status, prefix=prefix, after=after, limit=limit, with_keys=True
        )
        if rows:
            await repositories.trace.add(
                "keys.revealed",
                caller=caller,
                batch_id=batch_id,
                ranges=as_ranges(row.sequence_number for row in rows),
            )
    return [RevealedCode(*row[:-1], root_key=_root_key(keys, batch_id, row)) for row in rows]


def _root_key(keys: KeyRing, batch_id: UUID, row: ListedCode) -> str | None:
    if row.root_key_sealed is None:
        return None
    return keys.unseal(batch_id, row.sequence_number, row.root_key_sealed)
