"""Links units that were scanned one by one, and unlinks units. The batch lock decides the order of requests."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from itertools import islice
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NAMED_THINGS, Conflict, InvalidState, NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import CaseOfOtherBatch
from qrtrack.domain.packing.code_lists import ListedScan, foreign_scans, refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges, code_ranges
from qrtrack.domain.packing.states import AVAILABLE, CodeStatus, LinkRefusal
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.cases import FoundCase
from qrtrack.repositories.packing.codes import FoundCode
from qrtrack.services.packing.case_packing import CodeTakenMeanwhile
from qrtrack.services.packing.codes import cases_of, unknown_among, without_repeats


@dataclass(frozen=True, slots=True)
class LinkCodes:
    """Units that were scanned one by one into a case (mode A)."""

    batch_id: UUID
    order_id: UUID
    master_code: str
    codes: Sequence[str]
    scans: Sequence[ListedScan] = ()
    accept_valid: bool = False
    station: str | None = None


@dataclass(frozen=True, slots=True)
class CodeResult:
    """The result for one code. `reason`, `detail`: why it was refused. `master_code`: the case that contains it."""

    code: str
    accepted: bool
    reason: LinkRefusal | None = None
    detail: str | None = None
    master_code: str | None = None


@dataclass(frozen=True, slots=True)
class LinkedCodes:
    master_code_info: FoundCase
    results: Sequence[CodeResult]
    linked_codes: Sequence[str]
    consumed_count: int
    from_queue: bool = False

    @property
    def linked_count(self) -> int:
        return len(self.linked_codes)


class CodesNotLinkable(Conflict):
    """Some of the codes cannot be linked, so none of them was linked."""

    slug = "codes-not-linkable"
    title = "Some codes cannot be linked"

    def __init__(self, results: Sequence[CodeResult]) -> None:
        refused = [result for result in results if not result.accepted]
        others = ", or send accept_valid to link the others" if len(refused) < len(results) else ""
        super().__init__(
            f"{len(refused)} of {len(results)} codes cannot be linked, so none was linked. Take them out of the box "
            f"and the list{others}.",
            results=[asdict(result) for result in results[:NAMED_THINGS]],
            result_count=len(results),
        )


async def link_codes(database: Database, *, caller: Caller, request: LinkCodes) -> LinkedCodes:
    """Adds the scanned units to the case, up to its expected units. The case may contain units already.

    All are added, or none, unless `accept_valid` is set. Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed,
    CaseOfOtherBatch, CodesNotLinkable, CodeTakenMeanwhile.
    """
    async with database.write(tenant=caller.organisation_id, batch_lock=request.batch_id) as repositories:
        batch = await repositories.batches.get_packable(request.batch_id, request.order_id)
        case = await repositories.cases.get(request.master_code)
        if case.batch_id != request.batch_id:
            raise CaseOfOtherBatch(master_code=request.master_code)
        listed = without_repeats(request.codes)
        foreign = {scan.code for scan in foreign_scans(request.scans, batch)}
        results: list[CodeResult] = []
        accepted: list[FoundCode] = []
        async for codes, rows in repositories.codes.find_in_parts(listed):
            found = {row.code: row for row in rows}
            judged = _judge(codes, found, case, foreign, room=case.expected_units - case.actual_units - len(accepted))
            accepted += [found[result.code] for result in judged if result.accepted]
            results += judged
        if len(accepted) < len(results) and (not request.accept_valid or not accepted):
            raise CodesNotLinkable(results)
        filled, consumed = await _link(repositories, caller, request, case, accepted)
        return repositories.answer(
            LinkedCodes(filled, results, linked_codes=[row.code for row in accepted], consumed_count=consumed)
        )


async def _link(
    repositories: Repositories, caller: Caller, request: LinkCodes, case: FoundCase, rows: Sequence[FoundCode]
) -> tuple[FoundCase, int]:
    """Links the units. Returns the case afterwards, and how many of the units were in the queue. Orders the label if
    the case is now full.
    """
    sequences = [row.sequence_number for row in rows]
    if not await repositories.prepared_codes.link(
        case.id, [row.id for row in rows], sequences, user_id=caller.user_id, station=request.station
    ):
        raise CodeTakenMeanwhile
    consumed = await repositories.prepared_codes.consume(request.batch_id, sequences)
    filled = await repositories.cases.get(request.master_code)
    if filled.actual_units == filled.expected_units:
        await repositories.case_prints.order(caller, request.batch_id, case.id, station=request.station)
    await repositories.trace.add(
        "case.linked",
        caller=caller,
        batch_id=request.batch_id,
        case_id=case.id,
        station=request.station,
        ranges=as_ranges(sequences),
        details={
            "master_code": case.master_code,
            "case_number": case.case_number,
            "first_code": filled.first_code,
            "last_code": filled.last_code,
            "completeness": filled.completeness,
        },
    )
    return filled, consumed


def _judge(
    codes: Sequence[str], found: Mapping[str, FoundCode], case: FoundCase, foreign: AbstractSet[str], *, room: int
) -> list[CodeResult]:
    results = []
    for code in codes:
        row = found.get(code)
        if row is None:
            result = _refuse(code, LinkRefusal.UNKNOWN_CODE, f"{code} is not a code of your organisation.")
        else:
            result = _check(row, case, is_foreign=code in foreign)
        if result.accepted and room <= 0:
            result = _refuse(code, LinkRefusal.CASE_FULL, f"The case holds only {case.expected_units} units.")
        room -= result.accepted
        results.append(result)
    return results


def _check(row: FoundCode, case: FoundCase, *, is_foreign: bool) -> CodeResult:
    """Returns the first reason to refuse the code, if any."""
    code = row.code
    if row.batch_id != case.batch_id or is_foreign:
        detail = f"The QR of {code} names another batch." if is_foreign else f"{code} belongs to another batch."
        return _refuse(code, LinkRefusal.OTHER_BATCH, detail)
    if row.master_code_id is not None:
        detail = f"{code} is in case {row.master_code}; unlink it there first."
        return _refuse(code, LinkRefusal.ALREADY_IN_CASE, detail, row.master_code)
    if row.status not in AVAILABLE:
        return _refuse(code, LinkRefusal(f"code-{row.status}"), f"{code} is {row.status}.")
    if row.variant != case.variant:
        return _refuse(
            code, LinkRefusal.VARIANT_MISMATCH, f"{code} is of variant {row.variant}, the case of {case.variant}."
        )
    if row.excluded:
        return _refuse(code, LinkRefusal.EXCLUDED, f"{code} was listed as damaged or missing; readmit it first.")
    return CodeResult(code, accepted=True)


def _refuse(code: str, reason: LinkRefusal, detail: str, master_code: str | None = None) -> CodeResult:
    return CodeResult(code, accepted=False, reason=reason, detail=detail, master_code=master_code)


@dataclass(frozen=True, slots=True)
class UnlinkedCodes:
    """The unlinked codes. `requeued`: how many of them wait in the queue again."""

    unlinked_codes: Sequence[str]
    requeued: int

    @property
    def unlinked_count(self) -> int:
        return len(self.unlinked_codes)

    @property
    def left_out(self) -> int:
        return self.unlinked_count - self.requeued


class CodesNotPacked(InvalidState):
    """Only packed codes can be unlinked, and some of these codes are not packed. Nothing was unlinked."""

    slug = "codes-not-packed"
    title = "Only packed codes can be unlinked"

    def __init__(self, states: Mapping[str, str]) -> None:
        code, state = next(iter(states.items()))
        super().__init__(
            f"{len(states)} of the codes are not packed, such as {code}, which is {state}. Nothing was unlinked: take "
            "these codes off the list.",
            codes=[{"code": code, "state": state} for code, state in islice(states.items(), NAMED_THINGS)],
            code_count=len(states),
        )


async def unlink_codes(
    database: Database,
    *,
    caller: Caller,
    codes: Sequence[str] | None,
    scans: Sequence[ListedScan] = (),
    master_code: str | None,
    reason: str,
    station: str | None = None,
    requeue: bool = True,
) -> UnlinkedCodes:
    """Takes the codes, or all codes of the case, out of their cases. The codes return to their state before packing.

    All are unlinked, or none. With `requeue`, codes that came from the queue return to their places there. Raises
    InvalidInput, NotFound, BatchClosed, UnitOfOtherBatch, CodesNotPacked, InvalidState, CodeTakenMeanwhile.
    """
    named = without_repeats(codes or ()) if master_code is None else master_code
    async with database.write(tenant=caller.organisation_id) as repositories:
        await _lock_batches_of(repositories, named)
        rows = await _find_codes(repositories, named)
        await _refuse_foreign(repositories, rows, scans)
        wrong = {row.code: row.status for row in rows if row.status != CodeStatus.PACKED}
        if wrong:
            raise CodesNotPacked(wrong)
        requeued = 0
        for batch_id in sorted({row.batch_id for row in rows}):
            of_batch = [row for row in rows if row.batch_id == batch_id]
            requeued += await _unpack(repositories, batch_id, of_batch, requeue=requeue)
            cases = cases_of(of_batch)
            await repositories.trace.add(
                "codes.unlinked",
                caller=caller,
                batch_id=batch_id,
                case_id=next(iter(cases)) if len(cases) == 1 else None,
                station=station,
                reason=reason,
                ranges=as_ranges(row.sequence_number for row in of_batch),
                details={"master_codes": sorted(cases.values())},
            )
        return repositories.answer(UnlinkedCodes([row.code for row in rows], requeued))


async def _unpack(repositories: Repositories, batch_id: UUID, rows: Sequence[FoundCode], *, requeue: bool) -> int:
    """Unlinks the codes. Returns how many of them wait in the queue afterwards."""
    ids, sequences = [row.id for row in rows], [row.sequence_number for row in rows]
    if requeue:
        await repositories.prepared_codes.requeue(batch_id, sequences)
    if await repositories.codes.unpack(ids, sorted(cases_of(rows))) < len(rows):
        raise CodeTakenMeanwhile
    waiting = await repositories.prepared_codes.count_waiting(batch_id, sequences)
    if waiting:
        await repositories.prepared_codes.lower_queue_head(batch_id, min(sequences), max(sequences))
    return waiting


async def _lock_batches_of(repositories: Repositories, named: list[str] | str) -> None:
    """Locks the batches of `named`: codes, or a master code. Raises NotFound, BatchNotReady, BatchClosed."""
    if isinstance(named, str):
        batches = {(await repositories.cases.get(named)).batch_id}
    else:
        rows = await repositories.codes.find(named)
        if unknown := unknown_among(named, rows):
            detail = f"There is no code {unknown[0]} in your organisation. Check the list."
            raise NotFound(detail, codes=code_ranges(unknown))
        batches = {row.batch_id for row in rows}
    await repositories.lock_batches(list(batches))
    for batch_id in sorted(batches):
        await repositories.batches.get_packable(batch_id)


async def _refuse_foreign(repositories: Repositories, rows: Sequence[FoundCode], scans: Sequence[ListedScan]) -> None:
    """Raises UnitOfOtherBatch. The list may name codes of several batches, so each scan is compared with the batch of
    its code.
    """
    batch_of = {row.code: row.batch_id for row in rows}
    for batch_id in sorted({batch_of[scan.code] for scan in scans}):
        of_batch = [scan for scan in scans if batch_of[scan.code] == batch_id]
        refuse_foreign(of_batch, await repositories.batches.get(batch_id))


async def _find_codes(repositories: Repositories, named: list[str] | str) -> Sequence[FoundCode]:
    if not isinstance(named, str):
        return await repositories.codes.find(named)
    case = await repositories.cases.get(named)
    rows = await repositories.codes.list_of_case(case.id, limit=case.expected_units)
    if not rows:
        raise InvalidState(f"Case {case.master_code} is empty: there is nothing to unlink.", state=case.status)
    return rows
