"""Packs a case from the queue. The batch lock decides which request is next."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from qrtrack.database import Database
from qrtrack.domain.errors import Conflict, invalid_field
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Caller
from qrtrack.domain.packing.case_packing import (
    CaseAlreadyPacked,
    CaseOfOtherBatch,
    PackCase,
    QueueRow,
    Run,
    Skipped,
    VariantMismatch,
    choose_run,
)
from qrtrack.domain.packing.code_lists import refuse_foreign
from qrtrack.domain.packing.code_ranges import as_ranges
from qrtrack.domain.packing.states import CaseStatus
from qrtrack.repositories import Repositories
from qrtrack.repositories.packing.case_packing import FilledCase, PackingContext
from qrtrack.repositories.packing.cases import FoundCase
from qrtrack.services.packing.check_scans import CODES_LIMIT, CheckScans, find_scans, refuse_crossing

log = structlog.get_logger()

# How many rows are read in addition to the case's units, so that a few unpackable rows need no second query.
WINDOW_SPARE = 32
# A consumer's scan can change a code between the query and the write. Three times in a row is not a coincidence.
TRIES = 3


@dataclass(frozen=True, slots=True)
class PackedCase:
    """The packed case. `skipped`: units that wait in the queue before a scanned first unit. `left_queue`: units that
    were not packed, because a consumer had checked them.
    """

    master_code_info: FoundCase
    linked_codes: Sequence[str]
    left_queue: Sequence[str]
    skipped: Skipped | None
    from_queue: bool = True

    @property
    def linked_count(self) -> int:
        return len(self.linked_codes)

    @property
    def consumed_count(self) -> int:
        return len(self.linked_codes)


class CodeTakenMeanwhile(Conflict):
    """Another request took one of the units at this moment. Nothing was changed: send the request again."""

    slug = "code-taken-meanwhile"
    title = "A unit was taken in the meantime"
    message = "Another request took one of the units at this moment. Nothing was changed: send the request again."


async def pack_case(database: Database, *, caller: Caller, request: PackCase) -> PackedCase:
    """Packs the next units of the queue, one run in serial order, into the case. All of them are packed, or none.

    Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed, CaseOfOtherBatch, CaseAlreadyPacked, VariantMismatch,
    UnitOfOtherBatch, FirstCodeNotPrepared, NotEnoughPrepared, CountDrift, InvalidInput, InvalidState,
    CodeTakenMeanwhile.
    """
    for _ in range(TRIES):
        try:
            async with database.write(
                tenant=caller.organisation_id, batch_lock=request.batch_id, by_keys=True
            ) as repositories:
                context = await _fetch_context(repositories, request)
                case = context.case
                target = _target(case.expected_units, request.target_units)
                scans = await find_scans(repositories, request, case.variant)
                run, skipped = await _choose_run(repositories, request, context, target=target, scans=scans)
                await _exclude_missing(repositories, caller, request, scans.missing)
                left = [row for row in run.stale if row.checked]
                await _record_checked(repositories, caller, request, left)
                await _pack(repositories, caller, request, context, run)
                return repositories.answer(_packed(case, run, skipped, left))
        except CodeTakenMeanwhile:
            continue
    raise CodeTakenMeanwhile


async def _fetch_context(repositories: Repositories, request: PackCase) -> PackingContext:
    """Reads the open case, and the head of the queue, from which it is most likely packed."""
    context = await repositories.case_packing.fetch_context(
        request.batch_id,
        request.order_id,
        request.master_code,
        units=request.target_units,
        spare=WINDOW_SPARE + len(request.missing_codes),
    )
    if context.batch_id != request.batch_id:
        raise CaseOfOtherBatch(master_code=request.master_code)
    if context.status != CaseStatus.OPEN:
        raise CaseAlreadyPacked(context.case.members())
    if request.variant is not None and request.variant != context.variant:
        raise VariantMismatch(master_code=request.master_code, variant=context.variant)
    refuse_foreign(request.scans, context)
    return context


def _target(expected: int, requested: int | None) -> int:
    if requested is None:
        return expected
    if not 1 <= requested <= expected:
        detail = f"The case holds {expected} units, not {requested}. Send a number from 1 to {expected}."
        raise invalid_field("/target_units", detail, FieldCode.OUT_OF_RANGE, min=1, max=expected)
    return requested


async def _choose_run(
    repositories: Repositories, request: PackCase, context: PackingContext, *, target: int, scans: CheckScans
) -> tuple[Run, Skipped | None]:
    queue, skipped = await _read_queue(repositories, context, target=target, scans=scans)
    not_queued: Sequence[str] = ()
    if scans.last is not None and queue:
        end = scans.last.sequence_number
        not_queued = await repositories.prepared_codes.codes_not_queued(
            request.batch_id, min(queue[0].sequence_number, end), end, limit=CODES_LIMIT
        )
    run = choose_run(
        queue,
        target=target,
        allow_partial=request.allow_partial,
        first=scans.first,
        last=scans.last,
        missing=scans.missing,
        not_queued=not_queued,
    )
    if scans.first is not None or scans.last is not None:
        await refuse_crossing(repositories, request, run, scans)
    return run, skipped


async def _read_queue(
    repositories: Repositories, context: PackingContext, *, target: int, scans: CheckScans
) -> tuple[list[QueueRow], Skipped | None]:
    """Reads the queue from the first scanned unit, at least up to the target-th packable row or to the queue's end.
    Reads on to the last scanned unit, but not beyond about ten times the target.

    Packing is the hot path, so the same query counts the units that the first scanned unit skips.
    """
    queue, skipped = context.queue, None
    limit = target + len(scans.missing) + WINDOW_SPARE
    packing, batch_id, last = repositories.case_packing, context.batch_id, context.last_sequence
    if scans.first is not None and (not queue or queue[0].sequence_number != scans.first.sequence_number):
        first, head = scans.first.sequence_number, max(context.queue_head, context.first_sequence)
        queue, skipped = await packing.fetch_window_and_skipped(batch_id, first, last, head=head, limit=limit)
    while len(queue) >= limit:
        takable = sum(row.packable and row.sequence_number not in scans.missing for row in queue)
        reached = scans.last is None or queue[-1].sequence_number >= scans.last.sequence_number
        if takable >= target and (reached or limit >= 10 * target + WINDOW_SPARE):
            break
        limit *= 2
        queue = await packing.fetch_window(batch_id, queue[0].sequence_number, last, limit=limit)
    return queue, skipped


async def _exclude_missing(
    repositories: Repositories, caller: Caller, request: PackCase, missing: frozenset[int]
) -> None:
    if not missing:
        return
    sequences = sorted(missing)
    await repositories.codes.exclude(
        request.batch_id, sequences, organisation_id=caller.organisation_id, user_id=caller.user_id, job_id=None
    )
    await repositories.prepared_codes.invalidate(request.batch_id, sequences)
    await repositories.trace.add(
        "codes.missing",
        caller=caller,
        batch_id=request.batch_id,
        station=request.station,
        reason=f"Found missing while packing {request.master_code}",
        ranges=as_ranges(sequences),
    )


async def _record_checked(
    repositories: Repositories, caller: Caller, request: PackCase, rows: Sequence[QueueRow]
) -> None:
    """Records units that a consumer had checked before they left the plant: perhaps a label or a box was lost."""
    if not rows:
        return
    log.warning("checked-before-packed", batch_id=str(request.batch_id), codes=[row.code for row in rows])
    await repositories.trace.add(
        "codes.checked_before_packed",
        caller=caller,
        batch_id=request.batch_id,
        station=request.station,
        reason=f"A consumer had checked them before {request.master_code} was packed",
        ranges=as_ranges(row.sequence_number for row in rows),
    )


async def _pack(
    repositories: Repositories, caller: Caller, request: PackCase, context: PackingContext, run: Run
) -> None:
    """Raises CodeTakenMeanwhile."""
    rows, case = run.rows, context.case
    after_run = rows[-1].sequence_number + 1
    from_head = request.first_code is None or rows[0].sequence_number <= context.queue_head
    filled = FilledCase(
        batch_id=request.batch_id,
        organisation_id=caller.organisation_id,
        case_id=case.id,
        master_code=case.master_code,
        case_number=case.case_number,
        code_ids=[row.code_id for row in rows],
        prepared_ids=[row.prepared_id for row in rows],
        sequences=[row.sequence_number for row in rows],
        stale_ids=[row.prepared_id for row in run.stale],
        first_code=rows[0].code,
        last_code=rows[-1].code,
        completeness=run.completeness,
        variant_first=context.first_sequence,
        queue_head=min(after_run, context.filling_from or after_run) if from_head else context.queue_head,
        user_id=caller.user_id,
        station=request.station,
    )
    if not await repositories.case_packing.pack(filled):
        raise CodeTakenMeanwhile


def _packed(case: FoundCase, run: Run, skipped: Skipped | None, left: Sequence[QueueRow]) -> PackedCase:
    rows = run.rows
    return PackedCase(
        master_code_info=case._replace(
            actual_units=len(rows),
            completeness=run.completeness,
            first_code=rows[0].code,
            last_code=rows[-1].code,
        ),
        linked_codes=[row.code for row in rows],
        left_queue=[row.code for row in left],
        skipped=skipped,
    )
