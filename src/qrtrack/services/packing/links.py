"""Linking units that were scanned one by one, and undoing any linking. One lock per batch decides who is next."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, Conflict, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import CaseOfOtherBatch
from qrtrack.domain.packing.code_lists import Scan, foreign_scans, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, code_ranges
from qrtrack.domain.packing.states import AVAILABLE, CodeStatus, LinkRefusal
from qrtrack.repositories import Repositories
from qrtrack.services.packing.case_packing import CaseInfo, CodeTakenMeanwhile
from qrtrack.services.packing.codes import named_once


@dataclass(frozen=True, slots=True)
class LinkCodes:
    """Units scanned one by one into a case (mode A)."""

    batch_id: UUID
    order_id: UUID
    master_code: str
    codes: Sequence[str]
    scans: Sequence[Scan] = ()
    accept_valid: bool = False
    station: str | None = None


@dataclass(frozen=True, slots=True)
class CodeResult:
    """`reason` and `detail` where the code was not accepted; `master_code` is the case that it is in."""

    code: str
    accepted: bool
    reason: LinkRefusal | None = None
    detail: str | None = None
    master_code: str | None = None


@dataclass(frozen=True, slots=True)
class LinkedCodes:
    master_code_info: CaseInfo
    results: Sequence[CodeResult]
    linked_codes: Sequence[str]
    linked_count: int
    consumed_count: int
    from_queue: bool = False


class CodesNotLinkable(Conflict):
    """Some of the codes cannot be linked, so none was."""

    slug = "codes-not-linkable"
    title = "Some codes cannot be linked"

    def __init__(self, results: Sequence[CodeResult]) -> None:
        refused = [result for result in results if not result.accepted]
        super().__init__(
            f"{len(refused)} of {len(results)} codes cannot be linked, so none was. Take them out of the box and the "
            "list, or send accept_valid to link the others.",
            results=[asdict(result) for result in results[:NAMED_THINGS]],
            result_count=len(results),
        )


async def link_codes(database: Database, *, caller: Caller, order: LinkCodes) -> LinkedCodes:
    """Adds the scanned units to the case, which may be packed already, up to its expected units.

    All or nothing unless `accept_valid`. Raises NotFound, OrderMismatch, CaseOfOtherBatch, CodesNotLinkable.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=order.batch_id) as repositories:
        batch = await repositories.batches.get_packable(order.batch_id, order.order_id)
        box = await repositories.cases.get(order.master_code)
        if box.batch_id != order.batch_id:
            raise CaseOfOtherBatch(master_code=order.master_code)
        rows = await repositories.codes.find(named_once(order.codes))
        foreign = {scan.code for scan in foreign_scans(order.scans, batch)}
        results = _judge(rows, box, order.batch_id, foreign)
        taken = [row for row, result in zip(rows, results, strict=True) if result.accepted]
        if len(taken) < len(results) and (not order.accept_valid or not taken):
            raise CodesNotLinkable(results)
        if not await repositories.prepared_codes.link(box.id, taken, actor=caller.user_id, station=order.station):
            raise CodeTakenMeanwhile
        sequences = sorted(row.sequence_number for row in taken)
        consumed = await repositories.prepared_codes.close(order.batch_id, sequences, consumed=True)
        filled = await repositories.cases.get(order.master_code)
        await repositories.trace.add(
            "case.linked",
            organisation_id=caller.organisation_id,
            actor=caller.user_id,
            batch_id=order.batch_id,
            case_id=box.id,
            station=order.station,
            ranges=as_ranges(sequences),
            details={
                "master_code": box.master_code,
                "case_number": box.case_number,
                "first_code": filled.first_code,
                "last_code": filled.last_code,
                "completeness": filled.completeness,
            },
        )
        return repositories.answer(
            LinkedCodes(
                master_code_info=CaseInfo(**{name: getattr(filled, name) for name in CaseInfo.__slots__}),
                results=results,
                linked_codes=[row.code for row in taken],
                linked_count=len(taken),
                consumed_count=consumed,
            )
        )


def _judge(rows: Sequence[Any], box: Any, batch_id: UUID, foreign: AbstractSet[str]) -> list[CodeResult]:
    room = box.expected_units - box.actual_units
    results = []
    for row in rows:
        refusal = next(_refusals(row, box, batch_id, foreign), None)
        if refusal is None and room <= 0:
            refusal = (LinkRefusal.CASE_FULL, f"The case holds {box.expected_units} units already.")
        if refusal is None:
            room -= 1
            results.append(CodeResult(row.code, accepted=True))
        else:
            inside = row.master_code if refusal[0] == LinkRefusal.ALREADY_IN_CASE else None
            results.append(
                CodeResult(row.code, accepted=False, reason=refusal[0], detail=refusal[1], master_code=inside)
            )
    return results


def _refusals(row: Any, box: Any, batch_id: UUID, foreign: AbstractSet[str]) -> Iterator[tuple[LinkRefusal, str]]:
    """Each reason with a sentence, the one to be told first."""
    if row.id is None:
        yield LinkRefusal.UNKNOWN_CODE, f"{row.code} is no code of your organisation."
    if row.batch_id != batch_id or row.code in foreign:
        yield LinkRefusal.OTHER_BATCH, f"{row.code} belongs to another batch."
    if row.master_code_id is not None:
        yield LinkRefusal.ALREADY_IN_CASE, f"{row.code} is in case {row.master_code}; unlink it there first."
    if row.status not in AVAILABLE:
        yield LinkRefusal(f"code-{row.status}"), f"{row.code} is {row.status}."
    if row.variant != box.variant:
        yield LinkRefusal.VARIANT_MISMATCH, f"{row.code} is of variant {row.variant}, the case of {box.variant}."
    if row.excluded:
        yield LinkRefusal.EXCLUDED, f"{row.code} was listed as damaged or missing; readmit it first."


@dataclass(frozen=True, slots=True)
class UnlinkedCodes:
    """`requeued` of the codes wait in the queue again, `left_out` are available for a new reverse job."""

    unlinked_codes: Sequence[str]
    unlinked_count: int
    requeued: int
    left_out: int


class CodesNotPacked(InvalidState):
    """Only packed codes can be unlinked, and some of these are not: nothing was unlinked."""

    slug = "codes-not-packed"
    title = "Only packed codes can be unlinked"

    def __init__(self, states: Mapping[str, str]) -> None:
        code, state = next(iter(states.items()))
        super().__init__(
            f"{len(states)} of the codes are not packed, such as {code}, which is {state}. Nothing was unlinked.",
            codes=[{"code": code, "state": state} for code, state in islice(states.items(), NAMED_THINGS)],
            code_count=len(states),
        )


async def unlink_codes(
    database: Database,
    *,
    caller: Caller,
    codes: Sequence[str] | None,
    scans: Sequence[Scan] = (),
    master_code: str | None,
    reason: str,
    station: str | None = None,
    requeue: bool = True,
) -> UnlinkedCodes:
    """Takes codes (or a whole case's) out of their cases, back to what they were before. All or nothing.

    With `requeue` what their cases took from the queue returns to its place there, in the same transaction.
    Raises InvalidInput, NotFound, BatchClosed, UnitOfOtherBatch, CodesNotPacked.
    """
    codes = named_once(codes or ()) if master_code is None else None
    async with database.write(tenant=caller.organisation_id) as repositories:
        await _lock_batches_of(repositories, codes, master_code)
        rows = await _to_unlink(repositories, codes, master_code)
        await _refuse_foreign(repositories, rows, scans)
        wrong = {row.code: row.status for row in rows if row.status != CodeStatus.PACKED}
        if wrong:
            raise CodesNotPacked(wrong)
        requeued = 0
        for batch_id in sorted({row.batch_id for row in rows}):
            of_batch = [row for row in rows if row.batch_id == batch_id]
            requeued += await _unpack(repositories, batch_id, of_batch, requeue=requeue)
            boxes = {row.master_code_id: row.master_code for row in of_batch}
            await repositories.trace.add(
                "codes.unlinked",
                organisation_id=caller.organisation_id,
                actor=caller.user_id,
                batch_id=batch_id,
                case_id=next(iter(boxes)) if len(boxes) == 1 else None,
                station=station,
                reason=reason,
                ranges=as_ranges(sorted(row.sequence_number for row in of_batch)),
                details={"master_codes": sorted(boxes.values())},
            )
        return repositories.answer(UnlinkedCodes([row.code for row in rows], len(rows), requeued, len(rows) - requeued))


async def _unpack(repositories: Repositories, batch_id: UUID, rows: Sequence[Any], *, requeue: bool) -> int:
    """How many of the codes wait in the queue then."""
    ids, sequences = [row.id for row in rows], [row.sequence_number for row in rows]
    if requeue:
        await repositories.prepared_codes.requeue(batch_id, sequences)
    if await repositories.codes.unpack(ids, sorted({row.master_code_id for row in rows})) < len(rows):
        raise CodeTakenMeanwhile
    waiting = await repositories.reverse_jobs.queued_among(batch_id, sequences)
    if waiting:
        await repositories.reverse_jobs.lower_queue_head(batch_id, min(sequences), max(sequences))
    return waiting


async def _lock_batches_of(repositories: Repositories, codes: Sequence[str] | None, master_code: str | None) -> None:
    """In the order of ids, so that two requests over the same batches cannot deadlock. Raises NotFound, BatchClosed."""
    if master_code is not None:
        batches = {(await repositories.cases.get(master_code)).batch_id}
    else:
        rows = await repositories.codes.find(codes or ())
        unknown = [row.code for row in rows if row.id is None]
        if unknown:
            detail = f"There is no code {unknown[0]} in your organisation. Check the list."
            raise NotFound(detail, codes=code_ranges(unknown)[:NAMED_THINGS])
        batches = {row.batch_id for row in rows}
    for batch_id in sorted(batches):
        await repositories.lock_batch(batch_id)
        await repositories.batches.get_packable(batch_id, None)


async def _refuse_foreign(repositories: Repositories, rows: Sequence[Any], scans: Sequence[Scan]) -> None:
    """The list may be of several batches: each scan is held against the batch that its code is of."""
    batch_of = {row.code: row.batch_id for row in rows}
    for batch_id in sorted({batch_of[scan.code] for scan in scans}):
        of_batch = [scan for scan in scans if batch_of[scan.code] == batch_id]
        refuse_foreign(of_batch, await repositories.batches.get(batch_id))


async def _to_unlink(repositories: Repositories, codes: Sequence[str] | None, master_code: str | None) -> Sequence[Any]:
    if master_code is None:
        return await repositories.codes.find(codes or ())
    box = await repositories.cases.get(master_code)
    inside = await repositories.codes.of_case(box.id, limit=box.expected_units)
    if not inside:
        raise InvalidState(f"Case {master_code} is empty: there is nothing to unlink.", state=box.status)
    return await repositories.codes.find([row.code for row in inside])
